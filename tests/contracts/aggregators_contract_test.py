"""Every aggregator alone, in chains, with a mechanism and with a randomizer.

Whatever is registered is tested here, unasked: what an aggregator promises is
what its entry says (`core.traits`). Every mechanism and every randomizer is
tried with the mean, and the first of them with all other aggregators.
"""

import collections
import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn import runtime
from tff_cnn.aggregators import AGGREGATORS, composition, encoded, order
from tff_cnn.aggregators.codecs import Codecs, Seeds
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.core.traits import ONLY_A_SUM, SINGLE_UPDATES, UNIFORM_WEIGHTS
from tff_cnn.privacy import LOCAL_RANDOMIZERS, MECHANISMS
from tff_cnn.training import ledgers
from tff_cnn.training.checkpoints import Checkpoints

CLIENTS = 8
COHORT = 4
# An update, of norm 0.7 at most in each variable.
TYPE = tff.to_type(
    collections.OrderedDict(
        a=tff.TensorType(np.float32, (3, 2)), b=tff.TensorType(np.float32, (5,))
    )
)
SEED = (11, 12)


@dataclasses.dataclass(frozen=True)
class Composition:
    """An aggregator and what it is composed with, by their names."""

    aggregator: str
    dp: str = "none"
    local_randomizer: str = "none"

    def __str__(self):
        return f"{self.aggregator}-{self.dp}-{self.local_randomizer}"

    @property
    def needs(self):
        return AGGREGATORS.entry_of(self.config.aggregator).needs

    @property
    def is_noised(self) -> bool:
        return self.dp != "none" or self.local_randomizer != "none"

    @functools.cached_property
    def config(self) -> RunConfig:
        noise = {
            "dp": MECHANISMS,
            "local_randomizer": LOCAL_RANDOMIZERS,
        }
        chosen = {
            # So little that an aggregate can be told from another.
            choice: registry.find(name).options(
                clip_norm=10.0, noise_multiplier=0.01
            )
            for choice, registry in noise.items()
            if (name := getattr(self, choice)) != "none"
        }
        return RunConfig(
            aggregator=self.aggregator,
            num_clients=CLIENTS,
            clients_per_round=COHORT,
            **chosen,
        ).resolved()

    @functools.cached_property
    def mechanisms(self) -> list[Any]:
        """Of the central noise and of the clients' own; None without."""
        config = self.config
        built = ledgers.build_ledgers(
            config,
            ledgers.build_sampler(config, CLIENTS),
            [10] * CLIENTS,
            11,
        )
        found = [built and built.of(c) for c in ("dp", "local_randomizer")]
        return [stage and stage.mechanism for stage in found]

    @functools.cached_property
    def process(self) -> tff.templates.AggregationProcess:
        central, randomizer = self.mechanisms
        return composition.build_aggregator(
            self.config.aggregator,
            central,
            SEED if self.is_noised else None,
            randomizer,
            deterministic=bool(randomizer),
        ).create(TYPE, tff.TensorType(np.float32))

    @property
    def cohort(self) -> int:
        """Clients that its mean is divided by."""
        central, _ = self.mechanisms
        return int(central.expected_cohort) if central else COHORT

    @property
    def deviation(self) -> float:
        """Of the noise on a coordinate of the aggregate of a full cohort."""
        central, randomizer = self.mechanisms
        found = central.noise_stddev() if central else 0.0
        if randomizer:  # Of one client's update, if it alone decides.
            found += randomizer.stddev
        return found

    @property
    def is_repeatable(self) -> bool:
        central, _ = self.mechanisms
        return central is None or central.is_repeatable

    def weights(self, number: int) -> list[np.float32]:
        if UNIFORM_WEIGHTS in self.needs:
            return [np.float32(1)] * number
        return list(np.linspace(1, 3, number, dtype=np.float32))

    def sent(self, update) -> np.ndarray:
        """What the server has of an update, flat: of a codec not all of it."""
        if not _is_codec(self.aggregator):
            return flat(update)
        codec = Codecs([AGGREGATORS.build(self.config.aggregator)])
        leaves = [tf.constant(leaf) for leaf in update.values()]
        number = tf.constant(0, tf.int64)
        found, _ = codec.transmitted(
            leaves,
            Seeds(
                encoded.shared_seed(number), encoded.own_seed(leaves, number)
            ),
        )
        return np.concatenate([np.ravel(leaf) for leaf in found])

    def run(self, updates, weights=None, state=None):
        """State and flat aggregate of a round."""
        weights = self.weights(len(updates)) if weights is None else weights
        state = self.process.initialize() if state is None else state
        output = self.process.next(state, updates, weights)
        assert list(output.result) == ["a", "b"]
        return output.state, flat(output.result)


def _is_codec(name: str) -> bool:
    """Whether a chain of this name has one."""
    entries = map(AGGREGATORS.find, name.split("+"))
    return any(order.stage_of(entry) in order.ENCODED for entry in entries)


def _is_bound(entry) -> bool:
    return order.stage_of(entry) == order.BOUND


def _is_rule(entry) -> bool:
    return order.stage_of(entry) == order.RULE and not _is_sum(entry)


def _is_sum(entry) -> bool:
    return ONLY_A_SUM in entry.offers


BOUNDS = [entry.name for entry in AGGREGATORS.entries if _is_bound(entry)]
RULES = [entry.name for entry in AGGREGATORS.entries if _is_rule(entry)]
ALONE = [
    *(Composition(name) for name in AGGREGATORS),
    Composition("+".join([*BOUNDS, RULES[0]])),
    Composition(f"{BOUNDS[0]}+{RULES[-1]}"),
]
# What has to withstand any client, by itself.
ROBUST = [c for c in ALONE if c.aggregator in BOUNDS + RULES] + ALONE[-2:]
# What no client gets into that sends no numbers: of a code, not even as zeros.
DROPPING = ROBUST + [c for c in ALONE if _is_codec(c.aggregator)]


def _mechanisms(entry) -> list[str]:
    """With the mean and a secure sum all, with others one: for what was bounded
    or decoded is an update as any other.
    """
    found = [
        mechanism.name
        for mechanism in MECHANISMS.entries
        if SINGLE_UPDATES in mechanism.offers
        or SINGLE_UPDATES not in entry.needs
    ]
    is_rule = order.stage_of(entry) == order.RULE
    return found if is_rule else found[:1]


def _randomizers(entry) -> list[str]:
    """With the mean all, or one."""
    if "local_randomizer" in entry.refuses:
        return []
    found = list(LOCAL_RANDOMIZERS)
    return found if entry.name == "mean" else found[:1]


NOISED = [
    *(
        Composition(entry.name, dp=name)
        for entry in AGGREGATORS.entries
        if _is_sum(entry)
        for name in _mechanisms(entry)
    ),
    *(
        Composition(entry.name, local_randomizer=name)
        for entry in AGGREGATORS.entries
        for name in _randomizers(entry)
    ),
]


def flat(update) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in update.values()])


def updates(number: int, seed: int = 0) -> list:
    """Random ones."""
    rng = np.random.default_rng(seed)
    return [
        collections.OrderedDict(
            a=rng.uniform(-0.3, 0.3, (3, 2)).astype(np.float32),
            b=rng.uniform(-0.3, 0.3, 5).astype(np.float32),
        )
        for _ in range(number)
    ]


def like(update, value: float):
    return collections.OrderedDict(
        (name, np.full_like(part, value)) for name, part in update.items()
    )


@pytest.fixture(scope="module", autouse=True)
def in_process():
    """The runtime that also computes secure sums."""
    runtime.prepare("in_process")
    options = RunConfig().runtime.opening()
    with runtime.use("in_process", **options):
        yield


@pytest.fixture(
    scope="module", params=[*ALONE, *NOISED], ids=lambda found: str(found)
)
def composed(request):
    return request.param


@pytest.fixture(scope="module", params=ALONE, ids=lambda found: str(found))
def alone(request):
    return request.param


def tolerance(composed, cohort: int = COHORT) -> float:
    """What noise cannot exceed, and how numbers are rounded."""
    return 1e-5 + 6 * composed.deviation * COHORT / cohort


def test_an_aggregate_is_of_the_type_of_an_update(composed):
    output = composed.process.next.type_signature.result
    assert output.result.member == TYPE


def test_identical_updates_come_back(composed):
    (update,) = updates(1)
    _, found = composed.run([update] * composed.cohort)
    np.testing.assert_allclose(
        found, composed.sent(update), atol=tolerance(composed)
    )


def test_the_order_of_clients_changes_nothing(composed):
    given = updates(COHORT)
    weights = composed.weights(COHORT)
    order = [2, 0, 3, 1]
    _, found = composed.run(given, weights)
    _, other = composed.run(
        [given[i] for i in order], [weights[i] for i in order]
    )
    atol = 1e-5 if composed.is_repeatable else 2 * tolerance(composed)
    np.testing.assert_allclose(found, other, atol=atol)
    # The same order has the same bits.
    if composed.is_repeatable:
        _, again = composed.run(given, weights)
        np.testing.assert_array_equal(found, again)


def test_nobody_is_zero_up_to_noise(composed):
    _, found = composed.run([])
    np.testing.assert_allclose(found, 0, atol=tolerance(composed))
    if not composed.is_noised:
        assert not found.any()


def test_its_state_survives_a_checkpoint(composed, tmp_path):
    state, _ = composed.run(updates(COHORT))
    checkpoints = Checkpoints(tmp_path, "print", last_round=1)
    checkpoints.save(1, state)
    _, loaded, refused = checkpoints.load_latest(composed.process.initialize())
    assert not refused
    new_state, found = composed.run(updates(COHORT, 1), state=state)
    _, again = composed.run(updates(COHORT, 1), state=loaded)
    if composed.is_repeatable:
        np.testing.assert_array_equal(found, again)
    # What a round makes of it is of the type that it was.
    composed.run(updates(COHORT), state=new_state)


def test_one_client_alone_is_the_aggregate(alone):
    (update,) = updates(1)
    for weight in alone.weights(2):
        _, found = alone.run([update], [weight])
        np.testing.assert_allclose(found, alone.sent(update), atol=1e-6)


def test_clients_of_weight_zero_do_not_count(alone):
    # As clients come whose update was not finite.
    given, weights = updates(COHORT), alone.weights(COHORT)
    _, expected = alone.run(given, weights)
    nothing = like(given[0], 0.0)
    for place in (0, 2, COHORT):
        _, found = alone.run(
            [*given[:place], nothing, nothing, *given[place:]],
            [*weights[:place], np.float32(0), np.float32(0), *weights[place:]],
        )
        np.testing.assert_allclose(found, expected, atol=1e-6)
    _, found = alone.run([nothing] * 3, [np.float32(0)] * 3)
    assert not found.any()


@pytest.mark.parametrize("dropping", DROPPING, ids=str)
def test_a_client_that_sends_no_numbers_is_dropped(dropping):
    given, weights = updates(COHORT), dropping.weights(COHORT)
    _, expected = dropping.run(given, weights)
    for value in (np.nan, np.inf, -np.inf):
        for place in (0, COHORT):
            bad = like(given[0], 0.0)
            bad["b"][3] = value
            _, found = dropping.run(
                [*given[:place], bad, *given[place:]],
                [*weights[:place], np.float32(1), *weights[place:]],
            )
            # As zeros it would be a fifth of the mean.
            np.testing.assert_allclose(found, expected, atol=1e-6)
    _, found = dropping.run([like(given[0], np.nan)], [np.float32(1)])
    assert not found.any()


@pytest.mark.parametrize("robust", ROBUST, ids=str)
@pytest.mark.parametrize("value", [1e25, -3e38])
def test_one_client_of_any_size_is_bounded(robust, value):
    given = updates(2 * COHORT - 1)
    for place in (0, COHORT):
        some = [*given[:place], like(given[0], value), *given[place:]]
        state, found = robust.run(some)
        assert np.abs(found).max() < 1  # Of the others it is below 0.3.
        # Nor has the state become unusable.
        _, found = robust.run(given, state=state)
        assert np.abs(found).max() < 1


@pytest.mark.parametrize(
    "composed",
    # Which update is near which others depends on the noise.
    [c for c in NOISED if c.aggregator not in RULES],
    ids=str,
)
def test_noise_bounds_what_it_gets(composed):
    """Whatever weight a client asks for, and whatever it sends."""
    given = updates(COHORT)
    _, expected = composed.run(given)
    atol = 1e-5 if composed.is_repeatable else 2 * tolerance(composed)
    weights = [np.float32(w) for w in (0, 5, 1e9, np.nan)]
    _, found = composed.run(given, weights)
    np.testing.assert_allclose(found, expected, atol=atol)
    nothing = [*given[:-1], like(given[0], 0.0)]
    _, expected = composed.run(nothing)
    for value in (np.nan, np.inf, -np.inf):
        _, found = composed.run([*given[:-1], like(given[0], value)])
        # Randomizers noise what they get.
        np.testing.assert_allclose(
            found, expected, atol=max(atol, 2 * tolerance(composed))
        )


@pytest.mark.parametrize("name", AGGREGATORS)
def test_central_noise_goes_with_sums_alone(name):
    entry = AGGREGATORS.find(name)
    for mechanism in MECHANISMS.entries:
        options = mechanism.options(noise_multiplier=1.0)
        config = RunConfig(aggregator=name, dp=options)
        if ONLY_A_SUM not in entry.offers:
            with pytest.raises(UsageError, match=f"aggregator={name} does not"):
                config.resolved()
            with pytest.raises(ValueError, match="is no sum"):
                composition.build_aggregator(config.aggregator, object(), SEED)
