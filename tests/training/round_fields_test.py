import collections

import numpy as np
import pytest
import tensorflow as tf

from tff_cnn.algorithms import Adversarial, Exponential, local_rule, schedules
from tff_cnn.config import RunConfig
from tff_cnn.data import preprocessing
from tff_cnn.training import round_fields

SPEC = preprocessing.element_spec((2, 2, 1))
ELEMENT = collections.OrderedDict(seed=1)
NO_WARMUP = RunConfig(algorithm=Adversarial())


@pytest.mark.parametrize("config", [RunConfig().resolved(), NO_WARMUP])
def test_where_rounds_are_alike_nothing_is_added(config):
    assert round_fields.with_specs(config, SPEC) == SPEC
    assert round_fields.with_values(config, ELEMENT, 3) == ELEMENT


def test_a_client_s_element_has_the_fields_of_its_round():
    config = RunConfig(
        algorithm=Adversarial(adversarial_warmup_rounds=7),
        client_schedule=Exponential(0, 0.5),
        rounds=2,
    )
    specs = round_fields.with_specs(config, SPEC)
    names = [schedules.FIELD, local_rule.IN_ROUND]
    assert list(specs) == [*SPEC, *names]
    element = round_fields.with_values(config, ELEMENT, 4)
    assert list(element) == ["seed", *names]
    assert element[schedules.FIELD] == 0.125
    assert element[local_rule.IN_ROUND] == 0.5
    for name in names:
        assert element[name].dtype == np.float32
        assert specs[name] == tf.TensorSpec([], tf.float32)
