"""Which clients take part in a round: (round, seed) -> client ids."""

from tff_cnn.core.registry import Registry

SAMPLERS = Registry(
    "sampling",
    {
        "poisson": "tff_cnn.selection.samplers:PoissonSampler",
        "fixed_size": "tff_cnn.selection.samplers:FixedSizeSampler",
        "shuffled_epochs": "tff_cnn.selection.samplers:ShuffledEpochs",
        "full": "tff_cnn.selection.samplers:FullParticipation",
    },
)
