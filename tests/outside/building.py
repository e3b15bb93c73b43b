"""What builds the components of `tests.outside.made_up`."""

import contextlib
import dataclasses

import dp_accounting
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.aggregators import private
from tff_cnn.algorithms import dp_sgd
from tff_cnn.privacy.events import RenyiDpEvent
from tff_cnn.privacy.local import ExampleDpSgd
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.randomizers import LocalGaussian
from tff_cnn.runtime.in_process import context
from tff_cnn.selection.samplers import FixedSizeSampler


def striped(labels, num_clients, seed, stripe_shift):
    del seed
    order = np.roll(np.arange(len(labels)), -stripe_shift)
    return [
        np.sort(order[client::num_clients]) for client in range(num_clients)
    ]


def linear(image_shape, num_classes, seed, pool):
    kernel = tf.keras.initializers.GlorotUniform(seed)
    return tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer(image_shape),
            tf.keras.layers.MaxPool2D(pool),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(num_classes, kernel_initializer=kernel),
        ],
        name="linear",
    )


def build_adagrad(start):
    return tff.learning.optimizers.build_adagrad(
        0.05, initial_preconditioner_value=start
    )


@dataclasses.dataclass(frozen=True)
class RotatingSampler(FixedSizeSampler):
    """Takes up where the round before ended."""

    stride: int = 1

    def sample(self, round_num, seed):
        del seed
        first = (round_num - 1) * self.stride
        found = np.arange(first, first + self.clients_per_round)
        return np.sort(found % self.num_clients).astype(np.int64)


@contextlib.contextmanager
def open_told(saying, **options):
    print(f"The runtime says {saying}.")
    with context.open_runtime(**options) as opened:
        yield opened


@dataclasses.dataclass(frozen=True)
class ReservedEvent(RenyiDpEvent):
    """One Gaussian release, counted as if it were `reserve` of them.

    Attributes:
      noise_multiplier: > 0.
      reserve: >= 1.
    """

    noise_multiplier: float
    reserve: float

    def divergence(self, order):
        return self.reserve * order / (2 * self.noise_multiplier**2)


@dataclasses.dataclass(frozen=True)
class ConcentratedGaussian(FixedClipGaussian):
    """As its options say."""

    reserve: float = 1.5

    def event_after(self, rounds):
        return dp_accounting.SelfComposedDpEvent(
            ReservedEvent(self.joint_noise_multiplier, self.reserve),
            self.participation.max_participations(rounds),
        )


def concentrated_mean(mechanism, noise_seed, total=None):
    return private.fixed_clip(mechanism, noise_seed, total)


@dataclasses.dataclass(frozen=True)
class ThickenedGaussian(LocalGaussian):
    """As its options say."""

    thickness: float = 2.0

    @property
    def scale(self):
        return self.thickness * super().scale

    def one_release(self):
        return dp_accounting.GaussianDpEvent(
            self.thickness * self.noise_multiplier / 2
        )


@dataclasses.dataclass(frozen=True)
class FrugalDpSgd(ExampleDpSgd):
    """As its options say."""

    gradient_share: float = 0.5


def frugal_gradients(model, mechanism):
    gradients = dp_sgd.build_gradients(model, mechanism)

    def scaled(step):
        found, loss, logits = gradients(step)
        found = tuple(mechanism.gradient_share * g for g in found)
        return found, loss, logits

    return scaled
