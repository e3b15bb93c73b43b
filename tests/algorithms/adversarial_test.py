import collections
import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

import tff_cnn
from tests.algorithms.local_rule_test import (
    BATCHING,
    RATE,
    clients,
    parts,
    to_data,
)
from tests.reference import adversarial as reference
from tests.run_test import assert_same, config, fail_after
from tff_cnn import runtime
from tff_cnn.algorithms import ALGORITHMS, Adversarial, adversarial
from tff_cnn.algorithms.fedavg import build_fedavg
from tff_cnn.algorithms.local_rule import IN_ROUND
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.models import functional
from tff_cnn.privacy import DpSgd, FixedClip

__all__ = ["clients", "parts"]  # Fixtures.
ROUNDS = ([0, 1, 3], [1, 2], [3, 1])


def three_rounds(process, clients):
    state = process.initialize()
    for cohort in ROUNDS:
        data = [to_data(clients[client]) for client in cohort]
        output = process.next(state, data)
        state = output.state
    return state.global_model_weights.trainable, output.metrics


def build(parts, **options):
    return ALGORITHMS.build(Adversarial(**options), parts)


@pytest.mark.parametrize(
    ("options", "attack"),
    [
        (
            {
                "adversarial_fraction": 0.5,
                "adversarial_steps": 4,
                "adversarial_step_size": 0.04,
                "adversarial_random_start": False,
            },
            {"num_steps": 4, "step_size": 0.04},
        ),
        ({"adversarial_method": "fgsm"}, {"num_steps": 1, "step_size": 0.1}),
    ],
    ids=["half by PGD", "all by FGSM"],
)
def test_three_rounds_equal_numpy(parts, clients, options, attack):
    process = build(parts, adversarial_epsilon=0.1, **options)
    with runtime.use("in_process", clients_per_step=4):
        found, _ = three_rounds(process, clients)
        assert runtime.current().schedule.last_size > 1  # Vectorized.
    train = functools.partial(
        reference.adversarial_training,
        [np.float64(w) for w in parts.model.initial_weights[0]],
        # An empty client counts in the mean, and moves nothing.
        [(np.float64(c.images / 16), c.labels) for c in clients],
        ROUNDS,
        rate=RATE,
        epochs=BATCHING.epochs,
        batch_size=BATCHING.batch_size,
    )
    fraction = options.get("adversarial_fraction", 1.0)
    expected = train(
        fraction=fraction,
        attack=functools.partial(reference.pgd, epsilon=0.1, **attack),
    )
    plain = train(fraction=1.0, attack=lambda weights, images, labels: images)
    for a, b, c in zip(found, expected, plain, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
        assert np.abs(b - c).max() > 1e-3  # The attack is felt.


@pytest.mark.usefixtures("native_runtime")
def test_nothing_attacked_and_nothing_allowed_are_fedavg_to_the_bit(
    parts, clients
):
    expected, _ = three_rounds(build_fedavg(parts), clients)
    for options in ({"adversarial_fraction": 0.0}, {"adversarial_epsilon": 0}):
        found, _ = three_rounds(build(parts, **options), clients)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_bound_that_rises(parts, clients):
    """Half way up it is half the bound, with steps of half the size."""
    spec = collections.OrderedDict(
        parts.element_spec, **{IN_ROUND: tf.TensorSpec([], tf.float32)}
    )
    rising = build(
        dataclasses.replace(parts, element_spec=spec),
        adversarial_warmup_rounds=3,
    )
    with runtime.use("in_process"):
        elements = to_data(clients[0])
        halved, whole, warm = (
            process.next(process.initialize(), [data]).state
            for process, data in (
                (build(parts, adversarial_epsilon=0.15), elements),
                (build(parts), elements),
                (rising, [{**e, IN_ROUND: np.float32(0.5)} for e in elements]),
            )
        )
    weights = [
        state.global_model_weights.trainable for state in (halved, whole, warm)
    ]
    for half, full, found in zip(*weights, strict=True):
        np.testing.assert_allclose(found, half, atol=1e-6)
        assert np.abs(found - full).max() > 1e-4


def test_rounds_of_a_rising_bound():
    def parts_of(rounds, **options):
        options = Adversarial(**options)
        return [adversarial.in_round(options, number) for number in rounds]

    assert parts_of([1, 2]) == [None, None]
    found = parts_of([1, 3, 4, 9], adversarial_warmup_rounds=3)
    assert found == [0.25, 0.75, 1.0, 1.0]


def test_a_model_that_drops_is_attacked_for_many_clients_at_once(
    parts, clients
):
    """From random starts: together as one at a time."""
    model = tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer((8, 8, 1)),
            tf.keras.layers.Conv2D(2, 3, activation="relu"),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dropout(0.5),
            tf.keras.layers.Dense(10),
        ]
    )
    parts = dataclasses.replace(parts, model=functional.from_keras(model))
    found = []
    for size in (4, 1):
        process = build(parts, adversarial_steps=2)
        with runtime.use("in_process", clients_per_step=size):
            data = [to_data(clients[client]) for client in (0, 0, 3, 3)]
            output = process.next(process.initialize(), data)
            assert runtime.current().schedule.last_size == size
        found.append(output.state.global_model_weights.trainable)
    for a, b, start in zip(*found, model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
        assert np.abs(a - start).max() > 1e-3


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Fraction of attacked examples -> a run, of the stripes of `run_test`."""

    def run(fraction, folder=None):
        attacks = Adversarial(
            adversarial_epsilon=0.25,
            adversarial_fraction=fraction,
            adversarial_steps=3,
            robust_eval_steps=10,
            robust_eval_every=2,
        )
        return tff_cnn.train(
            config(algorithm=attacks, client_epochs=5, client_holdout=0.2),
            folder,
        )

    return run


def test_who_was_attacked_in_training_stands_attacks(
    runs, tmp_path, monkeypatch
):
    """And ends the same, to the bit, where it was interrupted."""
    plain, robust = runs(0.0), runs(1.0)
    assert [r["test_robust_accuracy"] is None for r in robust.metrics] == [
        *(True, False, False)
    ]
    # Of single clients at the end, where they hold out what to attack.
    clients = robust.summary["clients"]["sets"]["holdout"]
    attacked, clean = (
        clients[name]["uniform"]["mean"]
        for name in ("robust_accuracy", "accuracy")
    )
    assert 0.5 < attacked <= clean
    found = [r.summary["test_robust_accuracy"] for r in (plain, robust)]
    assert found[1] == robust.metrics[-1]["test_robust_accuracy"]
    assert found[0] < 0.6 < 0.8 < found[1]  # Of 30 images.
    assert "under attack" in repr(robust)
    with monkeypatch.context() as patch:
        fail_after(2, KeyboardInterrupt(), patch)
        with pytest.raises(KeyboardInterrupt):
            runs(1.0, tmp_path / "run")
    assert_same(runs(1.0, tmp_path / "run"), robust)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"standardize": "mnist"}, r"pixels scaled to \[0, 1\]"),
        (
            {"example_dp": DpSgd(noise_multiplier=1.0)},
            "beside its clipped gradient has no noise",
        ),
    ],
)
def test_what_does_not_go_with_it_is_refused(fields, told):
    with pytest.raises(UsageError, match=told):
        RunConfig(algorithm="adversarial", rounds=1, **fields).resolved()


def test_noise_at_aggregation_goes_with_it():
    config = RunConfig(algorithm="adversarial", dp=FixedClip(epsilon=8.0))
    assert config.resolved().client_weighting == "uniform"


@pytest.mark.parametrize(
    "options", [{"adversarial_steps": 3}, {"adversarial_step_size": 0.1}]
)
def test_what_fgsm_has_no_use_for_is_refused(options):
    attack = Adversarial(adversarial_method="fgsm", **options)
    with pytest.raises(UsageError, match="it needs .*method=pgd"):
        RunConfig(algorithm=attack).resolved()
