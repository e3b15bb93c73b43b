"""Federated algorithms: one file each, built from TFF's four slots.

Entries stand in `synchronous_entries.py`, `stateful_entries.py`,
`engine_entries.py` and `optimizer_entries.py`.
"""

from tff_cnn.core.registry import Registry

# An algorithm's builder gets a `local_training.Parts` and its options, and
# returns a TFF learning process or a `rule_process.RuleProcess`, as
# `fedavg.build_with` makes of a rule. Facts:
#   engine       where rounds are made of anything else: "module:function" of
#                what builds it (`training.engines`)
#   measures_uploads  False where its rows have not what aggregators measure of
#                clients' bytes
#   local_steps  where clients do not make all their local steps in each round:
#                "module:function" of (options, seed, round, client, all steps)
#                -> how many it makes, as `fedprox.local_steps`
#   in_round     what its rule is told of the round (`Step.in_round`):
#                "module:function" of (options, round) -> a number, or None in
#                all rounds where there is nothing to tell
#   client_speed of a run which names none, where there is no round without a
#                clock
#   note         how its model is to be read, which the summary of a run says
# and for the table of algorithms: `paper`; what travels `down` and `up`, and
# what a client `keeps`, in the paper's symbols.
ALGORITHMS = Registry("algorithm")

# Of clients and of the server. An optimizer's builder gets its options and
# returns a `tff.learning.optimizers.Optimizer`: a pure function, so that its
# state is part of what a process returns and a checkpoint keeps.
OPTIMIZERS = Registry("optimizer")

# Of clients and of the server. A schedule is built by a function of (round,
# rounds) and its options, and returns a factor of the learning rate. Fact
# `depends_on_rounds`: whether it does.
SCHEDULES = Registry("schedule")

from tff_cnn.algorithms.optimizer_entries import (  # noqa: E402 (Entries need registries.)
    Adagrad,
    Adam,
    Constant,
    Cosine,
    Exponential,
    InverseSqrt,
    Linear,
    Sgd,
    StepDecay,
    Yogi,
)

# isort: split
from tff_cnn.algorithms.synchronous_entries import (  # noqa: E402
    Adversarial,
    FedAvg,
    FedProx,
    FedSgd,
    MimeLite,
)

# isort: split
from tff_cnn.algorithms.stateful_entries import (  # noqa: E402
    Ditto,
    FedAdmm,
    FedDyn,
    FedPer,
    Scaffold,
)

# isort: split
from tff_cnn.algorithms.engine_entries import (  # noqa: E402
    FedBuff,
    FedDf,
    FedMd,
    Hierarchical,
    PublicData,
)

__all__ = [
    "ALGORITHMS",
    "OPTIMIZERS",
    "SCHEDULES",
    "Adagrad",
    "Adam",
    "Adversarial",
    "Constant",
    "Cosine",
    "Ditto",
    "Exponential",
    "FedAdmm",
    "FedAvg",
    "FedBuff",
    "FedDf",
    "FedDyn",
    "FedMd",
    "FedPer",
    "FedProx",
    "FedSgd",
    "Hierarchical",
    "InverseSqrt",
    "Linear",
    "MimeLite",
    "PublicData",
    "Scaffold",
    "Sgd",
    "StepDecay",
    "Yogi",
]
