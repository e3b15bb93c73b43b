"""What `round_speed` compares: each trains the same clients for one round.

A contender is a context manager that yields a function without arguments; a
call of it is one round of the job.
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn import runtime
from tff_cnn.aggregators import Mean
from tff_cnn.aggregators.composition import build_aggregator
from tff_cnn.algorithms.fedavg import build_fedavg
from tff_cnn.algorithms.local_training import Parts, Weighting
from tff_cnn.data import preprocessing
from tff_cnn.data.examples import Examples
from tff_cnn.models import MODELS, functional
from tff_cnn.runtime import native

_LEARNING_RATE = 0.1
_PIXEL_MAX = 255


@dataclasses.dataclass(frozen=True)
class Job:
    """One epoch of FedAvg. Pixels are random: their values cost nothing."""

    num_clients: int
    examples_per_client: int
    image_shape: tuple[int, int, int]
    build_model: Callable[[], tf.keras.Model]
    batch_size: int = 10

    @property
    def num_examples(self) -> int:
        return self.num_clients * self.examples_per_client

    def clients(self) -> list[Examples]:
        rng = np.random.default_rng(0)
        shape = (self.examples_per_client, *self.image_shape)
        return [
            Examples(
                rng.integers(0, 256, shape).astype(np.uint8),
                rng.integers(0, 10, shape[0]).astype(np.int32),
            )
            for _ in range(self.num_clients)
        ]


def _small_cnn() -> tf.keras.Model:
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            layers.InputLayer((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPool2D(2),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPool2D(2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
        ]
    )


JOBS = {
    "mnist_cnn_round": Job(
        10,
        600,
        (28, 28, 1),
        lambda: MODELS.get("mcmahan_cnn")((28, 28, 1), 10, 0),
    ),
    "small_cnn_round": Job(100, 20, (8, 8, 1), _small_cnn),
}


def _rounds_of(process, data) -> Callable[[], Any]:
    """A function that takes `process` one round further: the new state."""
    state = process.initialize()

    def one_round():
        nonlocal state
        state = process.next(state, data).state
        return state

    return one_round


@contextlib.contextmanager
def ours(
    job: Job, runtime_name: str, **options
) -> Iterator[Callable[[], None]]:
    """This project's FedAvg on one of its runtimes, opened with `options`."""
    batching = preprocessing.Batching(1, job.batch_size)
    process = build_fedavg(
        Parts(
            functional.from_keras(job.build_model()),
            tff.learning.optimizers.build_sgdm(_LEARNING_RATE),
            tff.learning.optimizers.build_sgdm(1.0),
            build_aggregator(Mean()),
            Weighting.EXAMPLES,
            preprocessing.element_spec(job.image_shape),
            lambda images: preprocessing.scale(images, _PIXEL_MAX),
        )
    )
    data = [
        batching.client_data(examples, np.int64([client, 0]))
        for client, examples in enumerate(job.clients())
    ]
    with runtime.use(runtime_name, **options):
        yield _rounds_of(process, data)


@contextlib.contextmanager
def _tffs(
    job: Job, max_concurrent_calls: int, **options
) -> Iterator[Callable[[], None]]:
    """TFF's FedAvg on its worker, fed with ordinary batched data sets."""
    process = tff.learning.algorithms.build_weighted_fed_avg(
        functional.from_keras(job.build_model()),
        tff.learning.optimizers.build_sgdm(_LEARNING_RATE),
        tff.learning.optimizers.build_sgdm(1.0),
        **options,
    )
    data = [
        tf.data.Dataset.from_tensor_slices(
            (np.float32(examples.images / _PIXEL_MAX), examples.labels)
        )
        .shuffle(len(examples))
        .batch(job.batch_size)
        for examples in job.clients()
    ]
    with native.open_runtime(max_concurrent_calls) as context:
        tff.framework.set_default_context(context)
        yield _rounds_of(process, data)


@contextlib.contextmanager
def _ceiling(job: Job) -> Iterator[Callable[[], None]]:
    """The fastest plain TensorFlow loop over one client, one thread a core.

    Takes as long as a round in which all cores reach what one thread reaches
    by itself: a client's time x clients / cores.
    """
    loops = [_functional_loop(job), _variable_loop(job)]
    examples = job.clients()[0]
    images = tf.constant(np.float32(examples.images / _PIXEL_MAX))
    labels = tf.constant(examples.labels)
    scale = job.num_clients / len(os.sched_getaffinity(0))

    def seconds(loop):
        started = time.perf_counter()
        loop(images, labels)
        return time.perf_counter() - started

    for loop in loops:
        loop(images, labels)

    def one_round():
        one_round.seconds = scale * min(map(seconds, loops))

    yield one_round


def _functional_loop(job: Job):
    model = functional.from_keras(job.build_model())
    initial = [tf.constant(w) for w in model.initial_weights[0]]
    unused_seed = tf.zeros([2], tf.int32)

    @tf.function
    def train(images, labels):
        weights = list(initial)
        for start in tf.range(0, tf.shape(labels)[0], job.batch_size):
            x = images[start : start + job.batch_size]
            y = labels[start : start + job.batch_size]
            with tf.GradientTape() as tape:
                tape.watch(weights)
                loss = model.loss(model.forward(weights, x, unused_seed), y)
            weights = [
                w - _LEARNING_RATE * g
                for w, g in zip(
                    weights, tape.gradient(loss, weights), strict=True
                )
            ]
        return weights

    return train


def _variable_loop(job: Job):
    model = job.build_model()
    variables = model.trainable_variables

    @tf.function
    def train(images, labels):
        for start in tf.range(0, tf.shape(labels)[0], job.batch_size):
            x = images[start : start + job.batch_size]
            y = labels[start : start + job.batch_size]
            with tf.GradientTape() as tape:
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                    y, model(x, training=True)
                )
                loss = tf.reduce_mean(losses)
            for variable, gradient in zip(
                variables, tape.gradient(loss, variables), strict=True
            ):
                variable.assign_sub(_LEARNING_RATE * gradient)

    return train


def _tuned(job: Job):
    return _tffs(
        job,
        len(os.sched_getaffinity(0)),
        loop_implementation=tff.learning.LoopImplementation.DATASET_ITERATOR,
    )


CONTENDERS = {
    "in_process": lambda job: ours(job, "in_process"),
    "native": lambda job: _tffs(job, -1),
    "native_tuned": _tuned,
    "ceiling": _ceiling,
}


def prepare(name: str) -> None:
    """Threads of TensorFlow in this process, before it has computed."""
    if name == "in_process":
        runtime.prepare(name)
    elif name == "ceiling":
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
