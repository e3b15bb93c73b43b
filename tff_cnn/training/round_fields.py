"""What a client's element says of the round that it is for.

Elements of runs in which no round differs from another have no such fields, and
all that is compiled of them stays as it is.
"""

import collections

import numpy as np
import tensorflow as tf

from tff_cnn.algorithms import (
    ALGORITHMS,
    local_rule,
    local_training,
    schedules,
)
from tff_cnn.config import RunConfig
from tff_cnn.core import registry
from tff_cnn.training import learning_rates


def with_specs(
    config: RunConfig, spec: collections.OrderedDict
) -> collections.OrderedDict:
    """Specs of a client's element, with those of `with_values`."""
    added = {
        name: tf.TensorSpec([], value.dtype)
        for name, value in _values(config, 1).items()
    }
    return collections.OrderedDict(spec, **added)


def with_values(
    config: RunConfig, element: collections.OrderedDict, number: int
) -> collections.OrderedDict:
    """A client's element of a round, with the round's fields."""
    return collections.OrderedDict(element, **_values(config, number))


def _values(config: RunConfig, number: int) -> dict[str, np.float32]:
    """By the field's name; the same names in all rounds."""
    found = {}
    if learning_rates.is_scheduled(config, learning_rates.CLIENT):
        found[schedules.FIELD] = np.float32(
            learning_rates.factor(config, learning_rates.CLIENT, number)
        )
    in_round = ALGORITHMS.entry_of(config.algorithm).facts.get("in_round")
    value = in_round and registry.load(in_round)(config.algorithm, number)
    if value is not None:
        found[local_rule.IN_ROUND] = np.float32(value)
    if getattr(config.aggregator, "secure_dropout", 0):
        # Of whom it is 1 is known with the whole cohort (`secure_rounds`).
        found[local_training.DROPPED] = np.float32(0)
    return found
