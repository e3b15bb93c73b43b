"""Every optimizer and schedule is built from its default options."""

import inspect

import pytest
import tensorflow_federated as tff

from tff_cnn.algorithms import OPTIMIZERS, SCHEDULES


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_is_tffs(name):
    options = OPTIMIZERS.find(name).options(learning_rate=0.5)
    optimizer = OPTIMIZERS.build(options)
    assert isinstance(optimizer, tff.learning.optimizers.Optimizer)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_says_whether_the_end_of_the_run_matters(name):
    entry = SCHEDULES.find(name)
    factor = SCHEDULES.builder(entry.options())
    found = [
        [float(factor(number, rounds)) for number in range(1, 11)]
        for rounds in (10, 20)
    ]
    assert all(0 <= f <= 1 for f in found[0])
    matters = entry.facts.get("depends_on_rounds", False)
    assert (found[0] != found[1]) == matters
    assert len(inspect.signature(entry.load()).parameters) >= 2
