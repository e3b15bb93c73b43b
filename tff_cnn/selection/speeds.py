"""How long clients take for a round, in simulated seconds.

    seconds = network_seconds
              + slowness(client) seconds_per_example examples jitter

A client's slowness is drawn once for a run, jitter anew in each round: both are
functions of the seed, the client and the round alone, so that the clock of a
run is known before anything is computed. Of all clients the median slowness is
1. Nothing here has to do with how long this machine computes.
"""

import csv
import dataclasses
import io
import math
import os
from collections.abc import Mapping

import numpy as np

from tff_cnn.core import randomness
from tff_cnn.core.errors import UsageError

_COLUMNS = ("seconds_per_example", "seconds")
# Of |z|, z a standard normal variable.
_HALF_NORMAL_MEDIAN = 0.6744897501960817


@dataclasses.dataclass(frozen=True)
class Speed:
    """What all speeds share.

    Attributes:
      num_clients: >= 1.
      seed: Root of what is drawn.
      jitter: Standard deviation of the logarithm of a round's own factor,
        whose median is 1; >= 0, 0 is none.
      network_seconds: Added to each round, >= 0.
    """

    num_clients: int
    seed: int
    jitter: float = 0.0
    network_seconds: float = 0.0

    def seconds(self, client: int, round_num: int, examples: int) -> float:
        """Simulated seconds from a client's start to its update's arrival.

        Args:
          client: In [0, num_clients).
          round_num: That it began in, >= 1.
          examples: That it goes over, in all epochs together.
        """
        computing = self.computing(client, examples)
        if self.jitter:
            drawn = self._generator(client, round_num).standard_normal()
            computing *= math.exp(self.jitter * drawn)
        return self.network_seconds + computing

    def computing(self, client: int, examples: int) -> float:
        """Simulated seconds of local training, without jitter."""
        raise NotImplementedError

    def _generator(self, client: int, round_num: int) -> np.random.Generator:
        return randomness.generator(
            self.seed, randomness.Purpose.CLIENT_SPEED, round_num, int(client)
        )


@dataclasses.dataclass(frozen=True)
class EqualSpeed(Speed):
    """Every client's slowness is 1.

    Attributes:
      seconds_per_example: Of a client whose slowness is 1, >= 0.
    """

    seconds_per_example: float = 0.01

    def computing(self, client: int, examples: int) -> float:
        # No round is a client's own: they begin with 1.
        slowness = self._slowness(self._generator(client, 0))
        return slowness * self.seconds_per_example * examples

    def _slowness(self, rng: np.random.Generator) -> float:
        del rng
        return 1.0


class HalfNormalSpeed(EqualSpeed):
    """Slowness is |z| over its median, z a standard normal variable."""

    def _slowness(self, rng: np.random.Generator) -> float:
        return abs(rng.standard_normal()) / _HALF_NORMAL_MEDIAN


@dataclasses.dataclass(frozen=True)
class LogNormalSpeed(EqualSpeed):
    """Slowness is exp(spread z), z a standard normal variable.

    Attributes:
      spread: >= 0; 0 is `EqualSpeed`.
    """

    spread: float = 1.0

    def _slowness(self, rng: np.random.Generator) -> float:
        return math.exp(self.spread * rng.standard_normal())


@dataclasses.dataclass(frozen=True)
class ParetoSpeed(EqualSpeed):
    """Slowness s has P(s > x) = (m / x)^tail_index above its least value m.

    Attributes:
      tail_index: > 0. The median is 1, so m = 2^(-1 / tail_index).
    """

    tail_index: float = 1.5

    def _slowness(self, rng: np.random.Generator) -> float:
        # In (0, 1]: P(s > x) itself.
        survival = 1 - rng.random()
        return (2 * survival) ** (-1 / self.tail_index)


@dataclasses.dataclass(frozen=True)
class TraceSpeed(Speed):
    """Times that were measured, or made up.

    Attributes:
      times: Of each client, in its order, >= 0.
      are_per_example: Whether they are of one example, or of a round.
    """

    times: tuple[float, ...] = ()
    are_per_example: bool = True

    def computing(self, client: int, examples: int) -> float:
        return self.times[client] * (examples if self.are_per_example else 1)


def build_trace(num_clients: int, seed: int, file: str, **known) -> TraceSpeed:
    """The speed that a file has: see `selection.TraceSpeed`.

    Raises:
      UsageError: It is no such file, or lacks a client.
    """
    times, are_per_example = _read(file)
    missing = [c for c in range(num_clients) if c not in times]
    if missing:
        raise UsageError(
            f"{file} has no row of client {missing[0]} and {len(missing)} of "
            f"{num_clients} clients in all: it needs one for each, from 0 to "
            f"{num_clients - 1}."
        )
    of_each = tuple(times[client] for client in range(num_clients))
    return TraceSpeed(
        num_clients,
        seed,
        **known,
        times=of_each,
        are_per_example=are_per_example,
    )


def read_bytes(file: str) -> bytes:
    """The content of a trace.

    Raises:
      UsageError: It cannot be read.
    """
    path = os.path.expanduser(file)
    if not os.path.isfile(path):
        raise UsageError(
            f"<client_speed>=trace:{file} is no file that is there: name a CSV "
            "file."
        )
    try:
        with open(path, "rb") as opened:
            return opened.read()
    except OSError as error:
        raise UsageError(
            f"<client_speed>=trace:{file} cannot be read ({error.strerror}): "
            "name a CSV file that can."
        ) from error


def _read(path: str) -> tuple[Mapping[int, float], bool]:
    """(client -> its time, whether that is of one example)."""
    try:
        text = io.StringIO(read_bytes(path).decode("utf-8-sig"), newline="")
        rows = list(csv.reader(text, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{path} is no CSV file that can be read ({error}): save it as "
            "UTF-8 text with commas."
        ) from error
    header = [name.strip() for name in rows[0]] if rows else []
    if len(header) != 2 or header[0] != "client" or header[1] not in _COLUMNS:
        raise UsageError(
            f"{path} begins with {','.join(header)[:60]!r}: its first row must "
            f"be client,{' or client,'.join(_COLUMNS)}."
        )
    times: dict[int, float] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:  # An empty line.
            continue
        client, seconds = _parsed(row, f"{path}, row {number}")
        if client in times:
            raise UsageError(
                f"{path}, row {number}, is of client {client}, which has a row "
                "already: remove one of both."
            )
        times[client] = seconds
    return times, header[1] == _COLUMNS[0]


def _parsed(row: list[str], place: str) -> tuple[int, float]:
    try:
        client, seconds = row
        found = int(client), float(seconds)
    except ValueError:
        found = -1, math.nan
    if found[0] < 0 or not 0 <= found[1] < math.inf:
        raise UsageError(
            f"{place}, is {','.join(row)[:60]!r}: it must be a client's number "
            "from 0 and its seconds, finite and not negative."
        )
    return found
