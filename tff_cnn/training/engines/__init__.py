"""Engines: what a round of the loop is made of, one process each."""
