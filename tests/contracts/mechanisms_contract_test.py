"""Every mechanism with every sampler: refused with a reason, or accounted."""

import dataclasses
import math

import dp_accounting
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn import runtime
from tff_cnn.aggregators import private
from tff_cnn.core.errors import UsageError
from tff_cnn.core.traits import FIXED_COHORT, KNOWN_COHORTS, SEPARATED_ROUNDS
from tff_cnn.privacy import MECHANISMS, accounting, calibration, descriptions
from tff_cnn.privacy.ledger import Ledger
from tff_cnn.privacy.participation import Participation
from tff_cnn.selection import SAMPLERS
from tff_cnn.training.checkpoints import Checkpoints

ROUNDS = 8
SEED = (2**62 + 5, -(2**61) + 3)
# What a mechanism needs besides the fields that all have.
OPTIONS = {
    "tree": {"single_tree": True},  # Fits samplers without epochs, too.
    "banded": {"rounds": ROUNDS, "bands": 1},
    "blt": {"rounds": ROUNDS, "buffers": 1},
    "distributed_discrete_gaussian": {"num_parameters": 20_000},
    "distributed_skellam": {"num_parameters": 20_000},
}
DISTRIBUTED = MECHANISMS.needing(FIXED_COHORT)
# Samplers that privacy knows. What refuses the others is a trait
# (`components_test`), and whoever builds one all the same is refused too
# (`participation_test`).
ACCOUNTED = tuple(
    sampler for sampler in SAMPLERS.entries if KNOWN_COHORTS in sampler.offers
)
# Those that fit, by the traits of both.
FITTING = {
    entry.name: tuple(
        sampler.name
        for sampler in ACCOUNTED
        if {FIXED_COHORT, SEPARATED_ROUNDS} & set(entry.needs)
        <= set(sampler.offers)
    )
    for entry in MECHANISMS.entries
}
# Of which one that also draws fewer than all clients.
SOME = {
    name: ("fixed_size" if name in DISTRIBUTED else "shuffled_epochs")
    for name in MECHANISMS
}
_EVENT = ["bytes", "bytes"]  # Module and class of a round's event.
_CORRELATED_STATE = ["<f4", "<i4", "<f4", "<f4", "<f4", *_EVENT, "|b1"]
_DISTRIBUTED_STATE = ["<f4", *_EVENT, "|b1", "<f4", "<f4", "<i8"]
# Kinds of a state's leaves, for two variables, as they have been in
# checkpoints since before there were counters of noise.
STATES = {
    "fixed_clip": ["<f4"] * 3 + [*_EVENT, "<f4", "|b1"],
    "per_layer_clip": ["<f4"] * 3 + [*_EVENT, "<f4", "|b1"],
    "adaptive_clip": ["<f4"] * 10 + [*_EVENT, *[*_EVENT, "<f4"] * 2, "|b1"],
    "tree": ["<f4", "<f4", "<i4", *["<f4"] * 4, *_EVENT, "|b1"],
    "banded": _CORRELATED_STATE,
    "blt": _CORRELATED_STATE,
    "release": _CORRELATED_STATE,
    "distributed_discrete_gaussian": ["<f4", *_DISTRIBUTED_STATE],
    "distributed_skellam": ["<i4", "<f4", *_DISTRIBUTED_STATE],
}
# Names of the counters that were added to them: (name, kind, at the start).
COUNTERS = {
    "fixed_clip": [("noise_round", "<i4", 0)],
    "per_layer_clip": [("noise_round", "<i4", 0)],
    "adaptive_clip": [("noise_round", "<i4", 0)] * 2,
    "tree": [("noise_calls", "<i8", 1)],
}
COMBINATIONS = [
    (name, sampling) for name in MECHANISMS for sampling in FITTING[name]
]


def build(name, sampling, noise_multiplier=2.0):
    clients = 100
    sampler = SAMPLERS.get(sampling)(
        clients, clients if sampling == "full" else 50
    )
    return MECHANISMS.get(name)(
        clip_norm=0.5,
        noise_multiplier=noise_multiplier,
        expected_cohort=sampler.expected_cohort,
        participation=Participation.of(sampling, sampler),
        **OPTIONS.get(name, {}),
    )


def spent(mechanism, rounds=ROUNDS):
    return Ledger(mechanism, 1e-3, rounds).epsilon()


@pytest.mark.parametrize(("name", "sampling"), COMBINATIONS)
def test_epsilon_grows_with_rounds_and_falls_with_noise(name, sampling):
    mechanism = build(name, sampling)
    epsilons = [spent(mechanism, rounds) for rounds in range(ROUNDS + 1)]
    assert epsilons[0] == 0 < epsilons[1] < math.inf
    assert (np.diff(epsilons) >= -1e-9).all()
    assert spent(build(name, sampling, 4.0)) < epsilons[-1]


@pytest.mark.parametrize(("name", "sampling"), COMBINATIONS)
def test_sampling_never_costs_more_than_taking_part_always(name, sampling):
    # In the worst case a client is in every round, with fresh noise; under
    # replacement that moves twice as much.
    mechanism = build(name, sampling)
    factor = 2 if sampling == "fixed_size" else 1
    always = dp_accounting.SelfComposedDpEvent(
        dp_accounting.GaussianDpEvent(2.0 / factor), ROUNDS
    )
    if len(FITTING[name]) == len(ACCOUNTED):
        worst = accounting.epsilons(always, 1e-3)
        assert spent(mechanism) <= max(worst.values()) * (1 + 1e-6)


@pytest.mark.parametrize(
    ("name", "sampling"),
    [
        (name, sampler.name)
        for name in FITTING
        for sampler in ACCOUNTED
        if sampler.name not in FITTING[name]
    ],
)
def test_what_is_not_accounted_for_is_refused(name, sampling):
    with pytest.raises(UsageError, match=f"does not fit dp={name}"):
        build(name, sampling)


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_target_epsilon_is_met(name):
    noise = calibration.noise_multiplier(
        lambda z: build(name, SOME[name], z), 3.0, 1e-3, ROUNDS
    )
    assert 2.99 < spent(build(name, SOME[name], noise)) <= 3.0


@pytest.mark.parametrize("name", MECHANISMS)
def test_description_is_enough_to_build_it_again(name):
    mechanism = build(name, SOME[name])
    found = descriptions.describe(mechanism)
    kind = MECHANISMS.get(name)
    assert found["name"] == kind.__name__
    assert descriptions.read(kind, found) == mechanism


@pytest.fixture
def aggregating(name, request):
    """A runtime that knows what the mechanism's aggregation needs.

    TFF's own worker has no secure sums.
    """
    if name in DISTRIBUTED:
        with runtime.use("in_process"):
            yield
    else:
        request.getfixturevalue("native_runtime")
        yield


def zeros(mechanism, name, *shapes):
    """A cohort that adds nothing: none, or where clients add the noise all."""
    count = int(mechanism.expected_cohort) if name in DISTRIBUTED else 0
    return [[np.zeros(shape, np.float32) for shape in shapes]] * count


@pytest.mark.usefixtures("aggregating")
@pytest.mark.parametrize("name", MECHANISMS)
def test_the_aggregator_adds_the_noise_that_the_accountant_counts(name):
    for noise_multiplier in (1.0, 3.0):
        mechanism = build(name, SOME[name], noise_multiplier)
        process = private.build(mechanism, SEED).create(
            tff.to_type([(np.float32, (20_000,))])
        )
        output = process.next(
            process.initialize(), zeros(mechanism, name, 20_000)
        )
        assert np.std(output.result[0]) == pytest.approx(
            mechanism.noise_stddev(1), rel=0.03
        )


@pytest.mark.usefixtures("aggregating")
@pytest.mark.parametrize("name", MECHANISMS)
def test_one_client_moves_the_sum_by_the_clip_at_most(name):
    mechanism = dataclasses.replace(
        build(name, SOME[name]), noise_multiplier=1e-6
    )
    process = private.build(mechanism, SEED).create(
        tff.to_type([(np.float32, (3,)), (np.float32, (2,))])
    )
    huge = [np.full(3, 1e9, "f4"), np.full(2, -1e9, "f4")]
    cohort = [huge, *zeros(mechanism, name, 3, 2)[1:]]
    result = process.next(process.initialize(), cohort).result
    moved = np.linalg.norm(np.concatenate(result)) * mechanism.expected_cohort
    assert moved == pytest.approx(0.5, rel=1e-3)


def leaves_by_name(structure, name=""):
    """(name, leaf) in the order of `tf.nest.flatten`."""
    if hasattr(structure, "_asdict"):
        for name, part in structure._asdict().items():
            yield from leaves_by_name(part, name)
    elif isinstance(structure, dict):
        for name in sorted(structure):
            yield from leaves_by_name(structure[name], name)
    elif isinstance(structure, list | tuple):
        for part in structure:
            yield from leaves_by_name(part, name)
    else:
        yield name, structure


def kind(leaf):
    return "bytes" if isinstance(leaf, bytes) else np.asarray(leaf).dtype.str


@pytest.mark.usefixtures("aggregating")
@pytest.mark.parametrize("name", MECHANISMS)
def test_states_are_those_of_old_checkpoints_and_counters_of_noise(name):
    mechanism = build(name, SOME[name])
    process = private.build(mechanism, SEED).create(
        tff.to_type([(np.float32, (3,)), (np.float32, (2,))])
    )
    state = process.initialize()
    named = list(leaves_by_name(state))
    flat = tf.nest.flatten(state)
    assert [id(leaf) for _, leaf in named] == [id(leaf) for leaf in flat]
    counters = ("noise_round", "noise_calls")
    kinds = [kind(leaf) for name, leaf in named if name not in counters]
    assert kinds == STATES[name]
    found = [
        (name, kind(leaf), leaf) for name, leaf in named if name in counters
    ]
    assert found == COUNTERS.get(name, [])
    # A round without clients counts, too.
    after = process.next(state, zeros(mechanism, name, 3, 2)).state
    for (counter, before), (_, now) in zip(
        named, leaves_by_name(after), strict=True
    ):
        if counter in (*counters, "round_num"):
            assert now == before + (2 if name == "tree" else 1)


@pytest.mark.usefixtures("aggregating")
@pytest.mark.parametrize(
    "name", [n for n in MECHANISMS if n not in DISTRIBUTED]
)
def test_a_state_that_was_saved_goes_on_as_if_nothing_had_happened(
    name, tmp_path
):
    """What a killed run does: all is built anew but for the secret seed.

    Where clients draw the noise nothing comes again; such a run pays for what
    it repeats (tests/experiments/resuming_test.py).
    """
    mechanism = build(name, SOME[name])
    rng = np.random.default_rng(0)
    cohort = [[rng.normal(size=(50,)).astype("f4")] for _ in range(3)]

    def begin():
        process = private.build(mechanism, SEED).create(
            tff.to_type([(np.float32, (50,))])
        )
        return process, process.initialize()

    def go_on(process, state, rounds):
        results = []
        for _ in range(rounds):
            output = process.next(state, cohort)
            state = output.state
            results.append(output.result[0])
        return state, results

    process, state = begin()
    state, _ = go_on(process, state, 2)
    checkpoints = Checkpoints(tmp_path, "fingerprint", 4)
    checkpoints.save(2, state)
    whole, expected = go_on(process, state, 2)
    process, template = begin()
    done, loaded, refused = checkpoints.load_latest(template)
    assert (done, refused) == (2, [])
    found, results = go_on(process, loaded, 2)
    np.testing.assert_array_equal(results, expected)
    assert np.abs(results[1] - results[0]).max() > 0
    for a, b in zip(
        tf.nest.flatten(found), tf.nest.flatten(whole), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    # It is the state that carries it on: from the start all is another.
    assert np.abs(go_on(process, template, 1)[1][0] - expected[0]).max() > 0
