"""Federated training of convolutional networks with differential privacy."""

__version__ = "0.1.0"
