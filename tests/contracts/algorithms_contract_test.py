"""Every algorithm, on a toy model: what holds of all of them.

Whatever is registered is tested here, unasked, with its default options. Rounds
are steps of an engine, so that it does not matter what an algorithm is made of.
"""

import dataclasses
import functools
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.reference import fedavg as reference
from tff_cnn import runtime
from tff_cnn.aggregators import Mean
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.algorithms import ALGORITHMS
from tff_cnn.algorithms.local_training import Parts, Weighting
from tff_cnn.config import RunConfig
from tff_cnn.core.traits import UNIFORM_WEIGHTS
from tff_cnn.data import preprocessing, transforms
from tff_cnn.data.examples import ClientExamples, Examples
from tff_cnn.data.public_examples import PublicExamples
from tff_cnn.models import functional
from tff_cnn.runtime import InProcess
from tff_cnn.selection.arrivals import ServerStep
from tff_cnn.tasks import Task
from tff_cnn.training import engines
from tff_cnn.training.checkpoints import Checkpoints
from tff_cnn.training.engine import Engine, Work
from tff_cnn.training.engines.buffered import Arrived, Buffered

# Algorithm -> test -> why it does not hold of it.
EXCEPTIONS: dict[str, dict[str, str]] = {
    "fedper": {
        "test_one_client_with_one_full_batch_is_plain_gradient_descent": (
            "the server's model keeps its first head"
        ),
    },
    "adversarial": {
        "test_one_client_with_one_full_batch_is_plain_gradient_descent": (
            "its batches are attacked"
        ),
    },
    "hierarchical": {
        "test_one_client_with_one_full_batch_is_plain_gradient_descent": (
            "by default a client takes part in two rounds of its edge"
        ),
    },
    "feddyn": {
        "test_one_client_with_one_full_batch_is_plain_gradient_descent": "the "
        "server goes on by h / alpha, which is the cohort's share of the step"
    },
    "fedadmm": {
        "test_one_client_with_one_full_batch_is_plain_gradient_descent": "the "
        "dual variable goes as far as the model, and both are sent"
    },
    "feddf": dict.fromkeys(
        (
            "test_one_client_with_one_full_batch_is_plain_gradient_descent",
            "test_a_learning_rate_of_zero_keeps_the_weights",
        ),
        "where all teachers agree with the student, Adam makes steps out of "
        "rounding errors",
    ),
    "fedmd": {
        "test_one_client_with_one_full_batch_is_plain_gradient_descent": "the "
        "server's model learns from scores, and is nobody's update",
    },
}
# Algorithms that need a model of two layers.
DEEP = ("fedper",)
SHAPE, CLASSES = (3, 3, 1), 3
SIZES = (3, 5, 4, 8)
WHITE = 255
SGD = tff.learning.optimizers.build_sgdm
IN_BATCHES = preprocessing.Batching(epochs=2, batch_size=4)
AT_ONCE = preprocessing.Batching(epochs=1, batch_size=8)


@functools.cache
def model(num_layers: int = 1) -> tf.keras.Model:
    return tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer(SHAPE),
            tf.keras.layers.Flatten(),
            *(
                tf.keras.layers.Dense(
                    CLASSES,
                    kernel_initializer=tf.keras.initializers.GlorotUniform(3),
                )
                for _ in range(num_layers)
            ),
        ]
    )


def preprocess(images):
    """Scales them; white ones so much that training overflows."""
    is_white = tf.reduce_any(tf.equal(images, WHITE))
    return preprocessing.scale(images, 16) * tf.where(is_white, 1e38, 1.0)


@dataclasses.dataclass(frozen=True)
class Run:
    """Of a `training.assembly.Run` what engines are built of.

    Attributes:
      process: Of the algorithm.
      config: Of the algorithm.
      task: Its clients have examples.
      cohort: Of all rounds.
      batching: Of the clients' local steps.
      narrow: All candidates take part.
    """

    process: Any
    config: RunConfig
    task: Any
    cohort: Sequence[int] = ()
    batching: preprocessing.Batching = IN_BATCHES
    narrow: None = None
    sampler = types.SimpleNamespace(num_clients=len(SIZES))
    cohort_seed = 0
    client_seconds = None

    @property
    def engine(self) -> Engine:
        entry = ALGORITHMS.entry_of(self.config.algorithm)
        return engines.of(entry)(self, None)

    def sample_cohort(self, number):
        return self.cohort

    def client_data(self, client, number):
        """What a client hands over; that of nobody overflows."""
        found = examples(abs(client))
        if client < 0:
            found = Examples(np.full_like(found.images, WHITE), found.labels)
        return self.batching.client_data(found, np.array([7, client], np.int64))


@functools.cache
def build(name: str, learning_rate: float) -> Run:
    """A run of an algorithm."""
    entry = ALGORITHMS.find(name)
    is_uniform = UNIFORM_WEIGHTS in entry.needs
    parts = Parts(
        functional.from_keras(model(2 if name in DEEP else 1)),
        SGD(learning_rate),
        SGD(1.0),
        build_aggregator(Mean()),
        Weighting.UNIFORM if is_uniform else Weighting.EXAMPLES,
        preprocessing.element_spec(SHAPE),
        preprocess,
        num_clients=len(SIZES),
    )
    options = entry.options()
    return Run(
        ALGORITHMS.build(options, parts),
        RunConfig(algorithm=options, clients_per_round=2).resolved(),
        task(),
    )


@functools.cache
def task() -> Task:
    """With what the server may learn from, where it does."""
    public = examples(3)
    return Task(
        clients(),
        public,
        model(),
        transforms.Preparation(16),
        public=PublicExamples(public.images, public.labels, 16),
    )


def examples(client: int) -> Examples:
    rng = np.random.default_rng(client)
    size = SIZES[client]
    return Examples(
        rng.integers(0, 17, (size, *SHAPE)).astype(np.uint8),
        rng.integers(0, CLASSES, size).astype(np.int32),
    )


def clients() -> ClientExamples:
    found = [examples(client) for client in range(len(SIZES))]
    return ClientExamples(
        Examples(
            np.concatenate([one.images for one in found]),
            np.concatenate([one.labels for one in found]),
        ),
        np.split(np.arange(sum(SIZES)), np.cumsum(SIZES)[:-1]),
    )


def step(run, state, cohort, number=1, batching=IN_BATCHES):
    run = dataclasses.replace(run, cohort=cohort, batching=batching)
    return run.engine.step(state, plan(run, number))


def plan(run, number) -> Work:
    """A round of just the run's cohort, whomever the engine would take."""
    if not isinstance(run.engine, Buffered):
        return run.engine.plan(number)
    # All begin when the last round has ended.
    began = (number - 1,) * len(run.cohort)
    arrived = ServerStep(number, tuple(run.cohort), began, (number,))
    data = [run.client_data(client, number) for client in run.cohort]
    return Work(number, run.cohort, Arrived(arrived, data))


def trained(run, state) -> np.ndarray:
    """All weights, one after the other."""
    return np.concatenate([np.ravel(w) for w in run.engine.weights(state)])


@pytest.fixture(scope="module", params=["4", "1"], ids="{}_at_once".format)
def clients_per_step(request):
    options = InProcess(clients_per_step=request.param)
    runtime.prepare("in_process", **options.preparation())
    with runtime.use("in_process", **options.opening()):
        yield request.param


@pytest.fixture(scope="module", params=ALGORITHMS)
def run(request, clients_per_step):
    return build(request.param, 0.1)


@pytest.fixture(autouse=True)
def does_hold(request):
    parameters = request.node.callspec.params
    name = parameters.get("run") or parameters["name"]
    reason = EXCEPTIONS.get(name, {}).get(request.node.originalname)
    if reason is not None:
        pytest.skip(reason)


def test_one_client_with_one_full_batch_is_plain_gradient_descent(run):
    state = step(run, run.engine.initialize(), [1], batching=AT_ONCE).state
    found, before = examples(1), model().get_weights()
    gradient = reference.softmax_gradient(
        before, found.images / 16.0, found.labels
    )
    expected = [w - 0.1 * g for w, g in zip(before, gradient, strict=True)]
    np.testing.assert_allclose(
        trained(run, state),
        np.concatenate([np.ravel(w) for w in expected]),
        atol=1e-5,
    )


def test_the_order_of_clients_changes_nothing(run):
    found = [
        trained(run, step(run, run.engine.initialize(), order).state)
        for order in ([0, 1, 2, 3], [2, 0, 3, 1], [0, 1, 2, 3])
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    np.testing.assert_array_equal(found[0], found[2])
    start = trained(run, run.engine.initialize())
    assert np.abs(found[0] - start).max() > 1e-3


def test_nobody_changes_nothing(run):
    state = run.engine.initialize()
    result = step(run, state, [])
    np.testing.assert_array_equal(
        trained(run, result.state), trained(run, state)
    )
    assert result.row["cohort_size"] == 0
    assert result.row["train_loss"] is None


def test_a_client_that_is_not_finite_is_excluded_and_counted(run):
    state = run.engine.initialize()
    expected = step(run, state, [0, 3])
    found = step(run, state, [0, -1, 3])
    assert expected.row["clients_excluded"] == 0
    assert found.row["clients_excluded"] == 1
    assert found.row["train_loss"] == pytest.approx(expected.row["train_loss"])
    np.testing.assert_allclose(
        trained(run, found.state),
        trained(run, expected.state),
        atol=1e-6,
    )
    alone = step(run, state, [-1])
    np.testing.assert_array_equal(
        trained(run, alone.state), trained(run, state)
    )


def test_its_state_survives_a_checkpoint(run, tmp_path):
    state = step(run, run.engine.initialize(), [0, 2]).state
    checkpoints = Checkpoints(tmp_path, "print", last_round=1)
    checkpoints.save(1, state)
    _, loaded, refused = checkpoints.load_latest(run.engine.initialize())
    assert not refused
    np.testing.assert_array_equal(trained(run, loaded), trained(run, state))
    found = [
        trained(run, step(run, s, [1, 2], number=2).state)
        for s in (state, loaded)
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_together_and_one_at_a_time_are_the_same(name):
    found = []
    for size in ("4", "1"):
        options = InProcess(clients_per_step=size)
        with runtime.use("in_process", **options.opening()):
            run, states = build(name, 0.1), []
            state = run.engine.initialize()
            for number in (1, 2):
                state = step(run, state, [0, 1, 2, 3], number).state
                states.append(trained(run, state))
            found.append(states)
    np.testing.assert_allclose(*found, atol=1e-6)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_learning_rate_of_zero_keeps_the_weights(name, clients_per_step):
    run = build(name, 0.0)
    state = run.engine.initialize()
    for number in (1, 2):
        result = step(run, state, [0, 1], number)
        np.testing.assert_array_equal(
            trained(run, result.state), trained(run, state)
        )
        state = result.state
