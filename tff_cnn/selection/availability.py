"""Cohorts of those clients that are available, as devices at night are."""

import csv
import dataclasses
import hashlib
import io
import pathlib
from typing import Protocol

import numpy as np

from tff_cnn.core import randomness
from tff_cnn.core.errors import UsageError
from tff_cnn.selection.samplers import Sampler

_COLUMNS = (("client", "round"), ("client", "first", "last"))
_FLAG = "<sampling.availability_trace>"


class Pattern(Protocol):
    """Who is available when."""

    def clients(self, round_num: int, seed: int) -> np.ndarray:
        """Sorted ids of who is, int64."""
        ...

    def expected(self, at_most: int) -> float:
        """Mean over rounds of how many are, each counted up to `at_most`."""
        ...


@dataclasses.dataclass(frozen=True)
class Diurnal:
    """Once a day, from a time on that is drawn for each client.

    Attributes:
      num_clients: >= 1.
      rounds_per_day: >= 1.
      fraction: Of the day, in (0, 1].
    """

    num_clients: int
    rounds_per_day: int
    fraction: float

    def __post_init__(self):
        if self.fraction * self.rounds_per_day < 1:
            raise UsageError(
                f"<sampling.available_fraction>={self.fraction:g} of "
                f"<sampling.rounds_per_day>={self.rounds_per_day} is less than "
                "a round, so that some clients never took part: use a larger "
                "one of the two."
            )

    def clients(self, round_num: int, seed: int) -> np.ndarray:
        rng = randomness.generator(seed, randomness.Purpose.AVAILABILITY)
        begins = rng.random(self.num_clients)
        time = (round_num - 1) % self.rounds_per_day / self.rounds_per_day
        return np.flatnonzero((time - begins) % 1 < self.fraction)

    def expected(self, at_most: int) -> float:
        """Over all that could be drawn: Binomial(num_clients, fraction)."""
        from scipy import stats

        counts = np.arange(self.num_clients + 1)
        chances = stats.binom.pmf(counts, self.num_clients, self.fraction)
        return float(chances @ np.minimum(counts, at_most))


@dataclasses.dataclass(frozen=True)
class Trace:
    """Stretches of rounds in which clients are available.

    Attributes:
      client: int64, [n]: id of each stretch's client.
      first: int64, [n]: its first round, from 1.
      last: int64, [n]: its last round.
      length: Rounds that it tells of.
      repeats: Whether it begins again after them.
    """

    client: np.ndarray
    first: np.ndarray
    last: np.ndarray
    length: int
    repeats: bool

    def clients(self, round_num: int, seed: int) -> np.ndarray:
        del seed
        if self.repeats:
            round_num = (round_num - 1) % self.length + 1
        holds = (self.first <= round_num) & (round_num <= self.last)
        return np.unique(self.client[holds])

    def expected(self, at_most: int) -> float:
        sizes = [len(self.clients(r + 1, 0)) for r in range(self.length)]
        return float(np.mean(np.minimum(sizes, at_most)))


@dataclasses.dataclass(frozen=True)
class Available(Sampler):
    """Uniformly without replacement among the clients that are available.

    Where fewer are than asked for, all of them; where nobody is, nobody.

    Attributes:
      rounds: Of the run.
      rounds_per_day: See `selection.Available`, as the two below.
      available_fraction: Of the day.
      availability_trace: Path of the file that is to be followed.
    """

    rounds: int
    rounds_per_day: int | None = None
    available_fraction: float | None = None
    availability_trace: str | None = None
    pattern: Pattern = dataclasses.field(init=False)

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "pattern", self._pattern())

    def _pattern(self) -> Pattern:
        if self.availability_trace is None:
            fraction = self.available_fraction
            return Diurnal(
                self.num_clients,
                self.rounds_per_day or 24,
                0.5 if fraction is None else fraction,
            )
        return read_trace(
            self.availability_trace,
            self.num_clients,
            self.rounds,
            self.rounds_per_day,
        )

    @property
    def rate(self) -> None:
        return None

    @property
    def expected_cohort(self) -> float:
        return self.pattern.expected(self.clients_per_round)

    def sample(self, round_num: int, seed: int) -> np.ndarray:
        there = self.pattern.clients(round_num, seed)
        size = min(self.clients_per_round, len(there))
        rng = self._generator(round_num, seed)
        return np.sort(rng.choice(there, size, replace=False))


def digest(path: str) -> str:
    """SHA-256 of a trace's bytes.

    Raises:
      UsageError: It cannot be read.
    """
    return hashlib.sha256(_content(path)).hexdigest()


def _content(path: str) -> bytes:
    try:
        return pathlib.Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{_FLAG}={path} cannot be read ({reason}): name a CSV file."
        ) from error


def read_trace(
    path: str, num_clients: int, rounds: int, rounds_per_day: int | None = None
) -> Trace:
    """Reads a trace: see `selection.Available.availability_trace`.

    Args:
      path: Of the file.
      num_clients: Clients are in [0, num_clients).
      rounds: Of the run.
      rounds_per_day: After which the trace repeats; None is never.

    Raises:
      UsageError: It is no such table, or tells of fewer rounds than there are.
    """
    rows = _rows(path)
    for line, (client, first, last) in rows.items():
        place = f"{_FLAG}={path} has in line {line}"
        if not 0 <= client < num_clients:
            raise UsageError(
                f"{place} client {client}, but clients are numbered from 0 to "
                f"{num_clients - 1}: correct it."
            )
        if not 1 <= first <= last:
            raise UsageError(
                f"{place} rounds {first} to {last}, but rounds are numbered "
                "from 1 on, and the last comes no earlier: correct it."
            )
        if rounds_per_day is not None and last > rounds_per_day:
            raise UsageError(
                f"{place} round {last}, but a day has "
                f"<sampling.rounds_per_day>={rounds_per_day}: correct one of "
                "the two."
            )
    client, first, last = np.array(list(rows.values()), np.int64).T
    length = rounds_per_day or int(last.max())
    if rounds_per_day is None and length < rounds:
        raise UsageError(
            f"{_FLAG}={path} ends with round {length}, but <rounds>={rounds}: "
            "lengthen it, or repeat it with <sampling.rounds_per_day>."
        )
    return Trace(client, first, last, length, rounds_per_day is not None)


def _rows(path: str) -> dict[int, tuple[int, int, int]]:
    """Line -> (client, first round, last round)."""
    try:
        text = _content(path).decode("utf-8-sig")
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = tuple(name.strip().lower() for name in next(lines, ()))
        rows = [(lines.line_num, row) for row in lines if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{_FLAG}={path} is no CSV file ({error}): write it again."
        ) from error
    if header not in _COLUMNS:
        raise UsageError(
            f"{_FLAG}={path} has the columns {', '.join(header)}: it needs "
            "client and round, or client, first and last, in this order."
        )
    if not rows:
        raise UsageError(f"{_FLAG}={path} has no rows: add some.")
    found = {}
    for line, row in rows:
        client, *stretch = _numbers(path, line, header, row)
        found[line] = client, stretch[0], stretch[-1]
    return found


def _numbers(path, line, header, row) -> list[int]:
    try:
        numbers = [int(text) for text in row]
    except ValueError:
        numbers = []
    if len(numbers) != len(header) or max(map(abs, numbers)) >= 2**62:
        raise UsageError(
            f"{_FLAG}={path} has {','.join(row)!r:.60} in line {line}: it "
            f"needs {len(header)} integers, {', '.join(header)}."
        )
    return numbers
