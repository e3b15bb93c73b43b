"""What components need of one another.

A component states the traits that it offers and those that it needs, each with
the reason. Who decides whether a trait is there is another choice of the run,
`decided_by`: where what was chosen there does not offer the trait, the pair is
refused before anything is built (`RunConfig.check`).
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Trait:
    """Something that one choice gives and another may need.

    Attributes:
      name: For people who read an entry.
      decided_by: The field of `RunConfig` whose choice offers it or does not.
    """

    name: str
    decided_by: str


UNIFORM_WEIGHTS = Trait("each client counts the same", "client_weighting")
SEPARATED_ROUNDS = Trait("a client's rounds lie far apart", "sampling")
KNOWN_COHORTS = Trait("privacy knows how cohorts are drawn", "sampling")
FIXED_COHORT = Trait("cohorts have the expected size", "sampling")
FULL_PRECISION = Trait("local training in float32", "compute_dtype")
# The aggregate is a sum over clients, and nothing else is computed of updates.
ONLY_A_SUM = Trait("the aggregate is a sum", "aggregator")
# Of all that each client sends, as it sends it.
PLAIN_MEAN = Trait("the aggregate is the mean", "aggregator")
SINGLE_UPDATES = Trait("the server sees single updates", "dp")
# What a client sends follows from its data and from what it was sent: from no
# state of its own that outlives the round.
STATELESS_CLIENTS = Trait("updates know nothing of past rounds", "algorithm")
# A local step reads its examples in the base gradient that a rule is given
# (`algorithms.local_rule`), and nowhere else.
GUARDED_EXAMPLES = Trait("steps see examples by their gradient", "algorithm")
UNIFORM_DRAWS = Trait("clients are drawn without preference", "sampling")
