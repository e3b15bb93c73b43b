"""Federated algorithms: one file each, built from TFF's four slots."""

from tff_cnn.core.registry import Registry

ALGORITHMS = Registry(
    "algorithm", {"fedavg": "tff_cnn.algorithms.fedavg:build_fedavg"}
)
