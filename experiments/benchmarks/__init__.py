"""Benchmarks: ratios measured side by side, written as JSON."""
