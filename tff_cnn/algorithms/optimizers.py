"""Client and server optimizers: TFF's own, by name.

TFF's optimizers are pure functions of (state, weights, gradients), so their
state is part of what a process returns and a checkpoint keeps.
"""

from tff_cnn.core.registry import Registry

OPTIMIZERS = Registry(
    "optimizer",
    {
        "sgd": "tensorflow_federated:learning.optimizers.build_sgdm",
        "adam": "tensorflow_federated:learning.optimizers.build_adam",
    },
)
