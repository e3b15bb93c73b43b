"""The registry of cases, and the small data and models that they use."""

import collections
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

SPEC = collections.OrderedDict(
    x=tf.TensorSpec([None, 4], tf.float32), y=tf.TensorSpec([None], tf.int32)
)
SGD = tff.learning.optimizers.build_sgdm(0.1)
MOMENTUM = tff.learning.optimizers.build_sgdm(1.0, 0.9)
AT_CLIENTS = functools.partial(tff.FederatedType, placement=tff.CLIENTS)
AT_SERVER = functools.partial(tff.FederatedType, placement=tff.SERVER)
# As weights are: a matrix and a vector.
PAIR = tff.to_type(
    collections.OrderedDict(
        a=tff.TensorType(np.float32, (4, 3)), b=tff.TensorType(np.float32, (3,))
    )
)


@dataclasses.dataclass(frozen=True)
class Case:
    """What runs, and how far the results of two runtimes may be apart."""

    run: Callable[[], Any]
    atol: float = 1e-6


CASES: dict[str, Case] = {}


def case(function=None, *, atol=1e-6):
    """Registers () -> nested arrays under its name."""
    if function is None:
        return functools.partial(case, atol=atol)
    assert function.__name__ not in CASES
    CASES[function.__name__] = Case(function, atol)
    return function


def process_case(name, build, data=None, rounds=3, select=None, atol=1e-6):
    """Registers `rounds` rounds of a process.

    Args:
      name: Of the case.
      build: () -> process.
      data: () -> arguments of `next` but the state; default `batched_clients`.
      rounds: How many.
      select: Output of a round -> what is compared; by default everything but
        the states between.
      atol: See `Case`.
    """
    assert name not in CASES

    def run():
        process = build()
        state = process.initialize()
        found = []
        for _ in range(rounds):
            output = process.next(state, *(data or one_argument)())
            if isinstance(output, tuple) and not hasattr(output, "state"):
                output = tff.templates.MeasuredProcessOutput(*output, ())
            state = output.state
            if select is not None:
                found.append(select(output))
            elif hasattr(output, "metrics"):
                found.append(output.metrics)
            else:
                found.append((output.result, output.measurements))
        return found if select is not None else (found, state)

    CASES[name] = Case(run, atol)


def batched_clients():
    """Three clients with ordinary data sets of several ragged batches."""
    return [examples.batch(3) for examples in client_examples()]


def one_argument():
    """The batched clients as the only argument of `next` but the state."""
    return (batched_clients(),)


def client_examples():
    """Three clients with 5, 6 and 7 examples."""
    clients = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        examples = collections.OrderedDict(
            x=rng.random((5 + seed, 4)).astype(np.float32),
            y=rng.integers(0, 3, 5 + seed).astype(np.int32),
        )
        clients.append(tf.data.Dataset.from_tensor_slices(examples))
    return clients


def pairs(scale=1.0):
    """Values of `PAIR` at four clients; norms from 1 to 5 times `scale`."""
    rng = np.random.default_rng(7)
    values = []
    for factor in (1.0, 2.0, 3.0, 1.5):
        values.append(
            collections.OrderedDict(
                a=(scale * factor * rng.random((4, 3))).astype(np.float32),
                b=(-scale * factor * rng.random(3)).astype(np.float32),
            )
        )
    return values


def keras_model():
    """Logistic regression that starts at zero."""
    return tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer((4,)),
            tf.keras.layers.Dense(3, kernel_initializer="zeros"),
        ]
    )


def loss():
    """Cross entropy of integer labels."""
    return tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def variable_model():
    """A TFF model with variables."""
    return tff.learning.models.from_keras_model(
        keras_model(),
        loss=loss(),
        input_spec=SPEC,
        metrics=[tf.keras.metrics.SparseCategoricalAccuracy()],
    )


def functional_model():
    """The same without variables; its data are pairs, not dictionaries."""
    return tff.learning.models.functional_model_from_keras(
        keras_model, loss(), tuple(SPEC.values())
    )
