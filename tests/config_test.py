"""What a notebook writes: components as objects or names, and what is wrong."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tff_cnn import components
from tff_cnn.algorithms import FedAvg, Sgd
from tff_cnn.config import GROUPS, RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.data import Digits, Dirichlet, Mnist, Shards
from tff_cnn.privacy import DpSgd, FixedClip, LocalLaplace, Tree
from tff_cnn.runtime import InProcess
from tff_cnn.selection import FullParticipation, ShuffledEpochs

CHOICES = [leaf for leaf in RunConfig.leaves().values() if leaf.is_choice]


def test_a_component_is_given_as_options_name_or_class():
    for given_as in (FedAvg(), "fedavg", FedAvg):
        assert RunConfig(algorithm=given_as).algorithm == FedAvg()
    assert RunConfig(dp="none").dp is None
    assert RunConfig(partition="dirichlet").partition == Dirichlet()


@pytest.mark.parametrize("leaf", CHOICES, ids=lambda leaf: leaf.flag)
def test_what_is_no_component_is_refused_by_its_field(leaf):
    values = [3, object(), "nothing", b"", RunConfig, FixedClip.__mro__[1]]
    # Of a function that builds a model it is seen when it is called.
    for value in values[: -2 if leaf.known.adopt else None]:
        with pytest.raises(UsageError) as error:
            RunConfig(**{leaf.path: value})
        assert leaf.path in str(error.value) and "--" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"rounds": 0}, "rounds=0 must be at least 1"),
        ({"rounds": "3"}, "rounds='3' must be an integer, not str"),
        ({"num_clients": 2.5}, "num_clients=2.5 must be an integer"),
        ({"algorithm": None}, "algorithm=None is no algorithm: give a name"),
        ({"partition": Dirichlet(0.0)}, "partition.alpha=0.0 must be positive"),
        ({"dp": FixedClip(epsilon=-1)}, "dp.epsilon=-1 must be positive"),
        ({"client_optimizer": Sgd(0)}, "client_optimizer.learning_rate=0"),
        ({"runtime": InProcess(devices="TPU")}, "runtime.devices=TPU must be"),
        ({"evaluate_on": "train"}, "valid are test, validation"),
    ],
)
def test_values_are_checked_when_it_is_made(changes, part):
    with pytest.raises(UsageError) as error:
        RunConfig(**changes)
    assert part in str(error.value)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"dp": FixedClip()}, "neither of dp.noise_multiplier and dp.epsilon"),
        (
            {"dp": Tree(noise_multiplier=1.0), "sampling": "poisson"},
            "sampling=poisson does not fit dp=tree: its noise is correlated",
        ),
        (
            {"example_dp": DpSgd(epsilon=1.0), "compute_dtype": "float16"},
            "use compute_dtype=float32",
        ),
        (
            {"holdout_clients": 0.1, "evaluate_on": "validation"},
            "holdout_clients=0.1 would be ignored: it needs evaluate_on=test",
        ),
        (
            {"personalize_epochs": 1},
            "personalize_epochs=1 would be ignored: it needs client_holdout",
        ),
        (
            {
                "personalize_steps": 1,
                "client_holdout": 0.1,
                "evaluate_clients": "no",
            },
            "and evaluate_clients=yes",
        ),
        (
            {
                "personalize_steps": 1,
                "personalize_epochs": 1,
                "client_holdout": 0.1,
            },
            "both say how long clients train",
        ),
        (
            {"dp": FixedClip(noise_multiplier=1.0), "client_eval_every": 3},
            "client_eval_every=3 would be ignored: it needs evaluate_clients=",
        ),
        (
            {"target_accuracy": 0.5, "eval_every": 0},
            "target_accuracy=0.5 would be ignored: it needs eval_every > 0",
        ),
        (
            {"test_only_deterministic_noise": True},
            "test_only_deterministic_noise=True would be ignored",
        ),
        ({"num_clients": 5}, "clients_per_round=10 is more than num_clients=5"),
        (
            {"deadline": 3.0},
            "deadline=3.0 would be ignored: it needs a client_s",
        ),
        ({"over_selection": 1.0}, "over_selection=1.0 would be ignored: it ne"),
        (
            {
                "deadline": 3.0,
                "client_speed": "equal",
                "local_randomizer": "gaussian",
            },
            "local_randomizer=gaussian does not go with deadline=3.0: nothing",
        ),
        (
            {"deadline": 3.0, "client_speed": "equal", "dp": FixedClip()},
            "dp=fixed_clip does not go with deadline=3.0: nothing accounts",
        ),
        (
            {
                "over_selection": 1.5,
                "client_speed": "equal",
                "example_dp": DpSgd(),
            },
            "example_dp=dp_sgd does not go with over_selection=1.5: nothing",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_built(
    changes, part
):
    config = RunConfig(**changes)
    with pytest.raises(UsageError) as error:
        config.resolved()
    assert part in str(error.value) and "--" not in str(error.value)


def test_what_follows_from_other_fields_is_filled_in():
    config = RunConfig(dataset=Mnist(), sampling=FullParticipation()).resolved()
    found = config.flat()
    assert found["model"] == "mcmahan_cnn"
    assert found["clients_per_round"] == 100
    assert found["client_learning_rate"] == 0.1
    assert found["server_learning_rate"] == 1.0
    assert found["client_weighting"] == "examples"
    noised = RunConfig(local_randomizer=LocalLaplace(epsilon=1.0)).resolved()
    assert noised.client_weighting == "uniform"
    # And again: nothing follows from it that did not before.
    assert noised.resolved() == noised
    # A choice that is taken back takes nothing with it.
    plain = RunConfig(dp=FixedClip(epsilon=1.0))
    assert dataclasses.replace(plain, dp=None).resolved() == (
        RunConfig().resolved()
    )


CONFIGS = st.builds(
    RunConfig,
    dataset=st.sampled_from([Digits(), Mnist("/x", True)]),
    partition=st.one_of(
        st.just("iid"),
        st.builds(Dirichlet, st.floats(1e-3, 1e3)),
        st.builds(Shards, st.integers(1, 9)),
    ),
    client_optimizer=st.builds(Sgd, st.floats(1e-3, 1e3), st.floats(0, 0.9)),
    sampling=st.sampled_from(
        [None, "poisson", "full", ShuffledEpochs(), ShuffledEpochs(3)]
    ),
    dp=st.one_of(
        st.none(),
        st.builds(FixedClip, st.floats(0.1, 9), st.floats(0.1, 9)),
        st.builds(Tree, epsilon=st.floats(0.1, 9), single_tree=st.booleans()),
    ),
    seed=st.integers(0, 2**62),
    target_accuracy=st.one_of(st.none(), st.floats(0.1, 1)),
)


@given(CONFIGS)
def test_files_and_objects_say_the_same(config):
    assert RunConfig.from_flat(config.flat()) == config
    filled = components.filled_in(config)
    assert RunConfig.from_flat(filled.flat()) == filled


@pytest.mark.parametrize(
    "changes",
    [
        {"rounds": "x"},
        {"dataset": 3},
        {"dp": "nothing"},
        {"dp_clip_norm": [1]},
        {"algorithm": "no_such_module:Thing"},
    ],
)
def test_files_that_describe_no_run_are_refused(changes):
    flat = RunConfig(dp=FixedClip(epsilon=1.0)).flat()
    with pytest.raises(UsageError):
        RunConfig.from_flat({**flat, **changes})


def test_every_leaf_stands_under_a_heading():
    leaves = RunConfig.leaves().values()
    assert {leaf.group for leaf in leaves} == set(GROUPS)
    assert len({leaf.key for leaf in leaves}) == len(leaves)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "no"),
        ({"evaluate_clients": "yes"}, "yes"),
        ({"client_holdout": 0.1}, "yes"),
        ({"holdout_clients": 0.1}, "yes"),
        ({"evaluate_on": "validation"}, "yes"),
        (
            {"dp": FixedClip(noise_multiplier=1.0), "holdout_clients": 0.1},
            "no",
        ),
        (
            {"example_dp": DpSgd(noise_multiplier=1.0), "client_holdout": 0.1},
            "no",
        ),
        (
            {
                "dp": FixedClip(noise_multiplier=1.0),
                "evaluate_clients": "yes",
                "client_eval_every": 3,
            },
            "yes",
        ),
        ({"client_holdout": 0.1, "evaluate_clients": "no"}, "no"),
    ],
)
def test_clients_are_evaluated_on_what_is_held_out_and_else_if_asked(
    changes, expected
):
    config = RunConfig(**changes).resolved()
    assert config.evaluate_clients == expected
