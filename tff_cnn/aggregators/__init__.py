"""TFF aggregation factories and the order in which they wrap one another."""
