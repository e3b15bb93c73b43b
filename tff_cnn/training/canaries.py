"""Canary clients in a run, and what their cosines say of its privacy.

`tff_cnn.privacy.auditing` has the paper and the statistics. N canaries join
the population after the real clients. Each takes part exactly when a real
client does that was drawn for it, so that whatever the sampler's rule is, it is
the canaries' rule too. The mean is still divided by the expected cohort of the
real clients, and clip, noise and accountant are those of the mechanism: what
the accountant says of a client, it says of a canary. But the canaries' updates
are in the model, as more noise: it is made to be measured, not to be published.
"""

import collections
import dataclasses
import pathlib
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tff_cnn.algorithms import canary_updates
from tff_cnn.core import randomness
from tff_cnn.core.errors import UsageError
from tff_cnn.core.files import write_atomically
from tff_cnn.core.weights import Weights
from tff_cnn.privacy import auditing
from tff_cnn.tasks import Task
from tff_cnn.training.loop import Round

# A canary's norm over the clip norm: it is clipped, wherever the clip moves.
_SCALE = 1e6


@dataclasses.dataclass(frozen=True)
class Canaries:
    """The canaries of one run.

    Attributes:
      count: >= `privacy.MIN_CANARIES`.
      num_clients: Real ones; the canaries' ids follow theirs.
      dimension: Parameters of the model.
      clip_norm: Of the mechanism.
      seed: Root seed of the run.
    """

    count: int
    num_clients: int
    dimension: int
    clip_norm: float
    seed: int

    # An audit needs as many that took no part: see `auditing`.
    groups: ClassVar[int] = 2

    def hosts(self) -> np.ndarray:
        """The real client with whom each canary takes part, int64, [count].

        All are different as long as there are as many clients as canaries.
        """
        rng = randomness.generator(
            self.seed, randomness.Purpose.CANARIES, round_num=1
        )
        return np.resize(rng.permutation(self.num_clients), self.count)

    def update(self, canary: int) -> np.ndarray:
        """What a canary sends, float32, [dimension]."""
        direction = auditing.direction(self.seed, canary, self.dimension)
        return direction * np.float32(_SCALE * self.clip_norm)

    def cosines(self, before: Weights, after: Weights) -> np.ndarray:
        """Of all that took part, then of as many that did not: [2 count].

        Positive where the model moved as a canary's update moves it.
        """
        moved = _flatten(before) - _flatten(after)  # Updates are subtracted.
        return auditing.cosines(
            self.seed, range(self.groups * self.count), moved
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditedTask(Task):
    """A task among whose clients are canaries, the last ones."""

    canaries: Canaries

    @property
    def element_spec(self) -> collections.OrderedDict:
        """Specs of a client's one element, by field, the vector included."""
        return collections.OrderedDict(
            super().element_spec, **{canary_updates.FIELD: canary_updates.SPEC}
        )

    def client_data(self, client, round_num, seed, batching) -> list:
        """A client's elements, each with a vector; empty but of canaries.

        The vector is float32, [number of parameters] or [0].
        """
        data = super().client_data(client, round_num, seed, batching)
        canary = client - self.canaries.num_clients
        vector = np.zeros(0, np.float32)
        if canary >= 0:
            vector = self.canaries.update(canary)
        return [
            collections.OrderedDict(element, **{canary_updates.FIELD: vector})
            for element in data
        ]


@dataclasses.dataclass(frozen=True)
class AuditedSampler:
    """A sampler whose cohorts also hold the canaries of their clients."""

    sampler: Any
    canaries: Canaries

    @property
    def num_clients(self) -> int:
        """Number of clients, without canaries."""
        return self.sampler.num_clients

    @property
    def expected_cohort(self) -> float:
        """Clients a round, without canaries."""
        return self.sampler.expected_cohort

    @property
    def largest_cohort(self) -> int:
        """No round has more clients, canaries included."""
        return self.sampler.largest_cohort + self.canaries.count

    def sample(self, round_num: int, seed: int) -> np.ndarray:
        """Ids of a round, sorted: real clients, then their canaries."""
        cohort = self.sampler.sample(round_num, seed)
        taking_part = np.isin(self.canaries.hosts(), cohort)
        return np.concatenate(
            [cohort, self.num_clients + np.flatnonzero(taking_part)]
        )


def audited(
    task: Task, sampler: Any, count: int, clip_norm: float, seed: int
) -> tuple[AuditedTask, AuditedSampler]:
    """Adds `count` canaries (`Canaries`) to a task and its sampler."""
    found = Canaries(
        count,
        len(task.clients),
        task.num_parameters,
        clip_norm,
        seed,
    )
    fields = {
        field.name: getattr(task, field.name)
        for field in dataclasses.fields(Task)
    }
    fields["clients"] = task.clients.with_empty(count)
    return AuditedTask(**fields, canaries=found), AuditedSampler(sampler, found)


class CanaryHook:
    """Appends each round's cosines to a file, float32, [rounds, 2 count].

    It comes before the hook that writes checkpoints: a kill between the two
    leaves a round too many, which resuming drops.
    """

    def __init__(
        self,
        found: Canaries,
        path: pathlib.Path,
        rounds_done: int,
        weights: Weights,
    ):
        """Args:
        found: The run's.
        path: Of the file.
        rounds_done: What is there of later rounds is dropped.
        weights: After these rounds.

        Raises:
          UsageError: The file lacks some of these rounds.
        """
        self._canaries = found
        self._path = path
        self._weights = weights
        content = path.read_bytes() if path.exists() else b""
        size = rounds_done * found.groups * found.count * 4
        if len(content) < size:
            raise UsageError(
                f"{path} lacks rounds that the run has had, so that they can "
                "no longer be audited: use another <run_dir>."
            )
        write_atomically(path, content[:size])

    def after_round(self, finished: Round) -> None:
        weights = finished.weights
        found = self._canaries.cosines(self._weights, weights)
        with open(self._path, "ab") as file:
            file.write(found.astype(np.float32).tobytes())
        self._weights = weights


def report(
    found: Canaries,
    path: pathlib.Path,
    initial: Weights,
    final: Weights,
    epsilon: float,
    delta: float,
    level: float = 0.95,
) -> dict[str, Any]:
    """The `audit` of summary.json.

    `final` is for who sees the last model only, `all` for who sees the models
    of all rounds, as the accountant assumes. `exceeds_accountant` is true
    where the lower end of either interval is above the accountant's epsilon:
    then the mechanism is not what the accountant was told.

    Args:
      found: The run's.
      path: Written by `CanaryHook`.
      initial: The weights before the first round.
      final: The weights after the last one.
      epsilon: The accountant's.
      delta: At which both epsilons are.
      level: Of the intervals.
    """
    count = found.count
    last = auditing.estimate_epsilon(
        found.cosines(initial, final)[:count], found.dimension, delta, level
    )
    rounds = np.fromfile(path, np.float32).reshape(-1, found.groups * count)
    largest = rounds.max(axis=0)
    every = auditing.estimate_epsilon_of_maxima(
        largest[:count], largest[count:], found.dimension, delta, level
    )
    return {
        "num_canaries": count,
        "epsilon_estimate_final": last.epsilon,
        "interval_final": list(last.interval),
        "method_final": last.method,
        "epsilon_estimate_all": every.epsilon,
        "interval_all": list(every.interval),
        "method_all": every.method,
        "level": level,
        "delta": delta,
        "accountant_epsilon": epsilon,
        "exceeds_accountant": (
            max(last.interval[0], every.interval[0]) > epsilon
        ),
    }


def _flatten(weights: Weights) -> np.ndarray:
    return np.concatenate([np.ravel(w) for w in tf.nest.flatten(weights)])
