"""Clients that come and go one by one, on a simulated clock.

The order of events of Nguyen et al. 2022 ("Federated Learning with Buffered
Asynchronous Aggregation", Algorithm 1): a number of clients are at work at any
time, each on the model that the server had when the client began; the server
makes a step whenever it has received so many updates, and who has come back
gives way to another client. No result of training has a say in it, so the whole
order follows from the seed and from how fast clients are.

What the paper leaves open is decided so:

- Who begins is drawn uniformly from the clients that are idle: neither at work
  nor with an update that waits for the server's next step. So no client begins
  twice with the same model. Where nobody is idle a place stays empty for the
  moment.
- All that happens at one moment is received, in the order in which clients
  began, before any client begins. So clients that are equally fast, as many as
  the server waits for, are FedAvg's cohorts.
- An update that is too stale is dropped when it comes, and does not count.
"""

import dataclasses
import heapq
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tff_cnn.core import randomness


class ServerStep(NamedTuple):
    """What the server's step is made of.

    Attributes:
      number: From 1; also the version of the model that it makes. Version 0
        is the initial one.
      clients: Whose updates, in the order in which they came; all different.
      versions: Of the model that each began with, < `number`.
      in_flight: Versions that are still needed after the step: sorted, all
        different, `number` the last.
      num_started: Clients that were sent a model since the step before.
      num_dropped: Updates that came since then, too stale.
      time: Simulated seconds since the run began.
      seconds: Of these, those since the step before.
    """

    number: int
    clients: tuple[int, ...]
    versions: tuple[int, ...]
    in_flight: tuple[int, ...]
    num_started: int = 0
    num_dropped: int = 0
    time: float = 0.0
    seconds: float = 0.0

    @property
    def staleness(self) -> tuple[int, ...]:
        """Steps that the server made while each client was at work."""
        return tuple(self.number - 1 - version for version in self.versions)


class _AtWork(NamedTuple):
    """A client in flight; the first to arrive is the least."""

    arrival: float
    order: int
    client: int
    version: int


@dataclasses.dataclass(frozen=True)
class Arrivals:
    """The order in which updates arrive.

    Attributes:
      num_clients: >= `buffer_size` and `concurrency`.
      buffer_size: Updates that a step of the server waits for, K; >= 1.
      concurrency: Clients at work at any time, >= 1.
      seconds: (client, round) -> simulated seconds that it is at work, when it
        begins in this round, from 1.
      seed: Root of the draws.
      max_staleness: An update is dropped whose model is older by more steps;
        >= 0, None is no limit.
    """

    num_clients: int
    buffer_size: int
    concurrency: int
    seconds: Callable[[int, int], float]
    seed: int
    max_staleness: int | None = None

    def steps(self) -> Iterator[ServerStep]:
        """All steps of the server, from the first; there is no last one."""
        at_work: list[_AtWork] = []
        buffer: list[_AtWork] = []
        time = last_time = 0.0
        version = num_begun = 0
        num_started = num_dropped = 0
        while True:
            for client in self._starting(at_work, buffer, num_begun):
                arrival = time + self.seconds(client, version + 1)
                found = _AtWork(arrival, num_begun, client, version)
                heapq.heappush(at_work, found)
                num_begun += 1
                num_started += 1
            time = at_work[0].arrival
            while at_work and at_work[0].arrival == time:
                arrived = heapq.heappop(at_work)
                if self._is_too_stale(version, arrived):
                    num_dropped += 1
                    continue
                buffer.append(arrived)
                if len(buffer) < self.buffer_size:
                    continue
                version += 1
                yield ServerStep(
                    version,
                    tuple(update.client for update in buffer),
                    tuple(update.version for update in buffer),
                    self._in_flight(version, at_work),
                    num_started,
                    num_dropped,
                    time,
                    time - last_time,
                )
                buffer.clear()
                num_started = num_dropped = 0
                last_time = time

    def _starting(self, at_work, buffer, num_begun) -> Iterator[int]:
        """Clients for all places that are free, one after the other."""
        busy = {update.client for update in (*at_work, *buffer)}
        free = self.concurrency - len(at_work)
        for order in range(num_begun, num_begun + free):
            num_idle = self.num_clients - len(busy)
            if not num_idle:
                return
            rng = randomness.generator(
                self.seed, randomness.Purpose.SELECTION, order
            )
            client = int(rng.integers(num_idle))
            for other in sorted(busy):  # The client-th of those not busy.
                client += other <= client
            busy.add(client)
            yield client

    def _is_too_stale(self, version: int, update: _AtWork) -> bool:
        limit = self.max_staleness
        return limit is not None and version - update.version > limit

    def _in_flight(self, version: int, at_work) -> tuple[int, ...]:
        found = {
            update.version
            for update in at_work
            if not self._is_too_stale(version, update)
        }
        return tuple(sorted({*found, version}))


class Clock:
    """The steps of `Arrivals` by number: a pure function of it.

    Steps are simulated one after the other; to ask for an earlier one begins
    anew.
    """

    def __init__(self, arrivals: Arrivals):
        """Args:
        arrivals: Whose steps.
        """
        self._arrivals = arrivals
        self._steps: Iterator[ServerStep] = iter(())
        self._last: ServerStep | None = None

    def step(self, number: int) -> ServerStep:
        """A step of the server, from 1."""
        if self._last is None or number < self._last.number:
            self._steps = self._arrivals.steps()
            self._last = next(self._steps)
        while self._last.number < number:
            self._last = next(self._steps)
        return self._last
