"""Weights and data to metrics."""
