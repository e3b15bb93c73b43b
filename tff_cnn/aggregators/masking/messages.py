"""What clients and the server send to one another, as bytes.

    phase   to the server                       to a client
    0       two public keys                     those of its neighbours
    1       a sealed pair of shares for each    those that are for it
    2       a masked vector                     the ids of U3 among its holders
    3       a share of each of these

Tables are rows of a client's id (4 bytes) and something of a fixed size.
"""

import dataclasses
import enum
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

ID_BYTES = 4
_COUNT = struct.Struct("<I")


class Phase(enum.IntEnum):
    """A round of the protocol, by its number in the paper."""

    ADVERTISE_KEYS = 0
    SHARE_KEYS = 1
    MASKED_INPUT = 2
    UNMASKING = 3


class AbortedError(Exception):
    """Too few are left: the sum cannot be had, and nothing was revealed."""


class Message(NamedTuple):
    """One that was sent.

    Attributes:
      phase: In which.
      client: That sent or got it.
      is_up: Whether it was for the server.
      content: As it was sent.
    """

    phase: Phase
    client: int
    is_up: bool
    content: bytes


@dataclasses.dataclass
class Transcript:
    """All that the server sees, and all that it sends.

    Attributes:
      keeps: Whether messages are kept; else only their bytes are counted.
      messages: In their order.
      bytes_up: Of each client's messages to the server.
      bytes_down: Of the server's to it.
    """

    keeps: bool = False
    messages: list[Message] = dataclasses.field(default_factory=list)
    bytes_up: dict[int, int] = dataclasses.field(default_factory=dict)
    bytes_down: dict[int, int] = dataclasses.field(default_factory=dict)

    def sent_up(self, phase: Phase, client: int, content: bytes) -> bytes:
        """Notes a message to the server, and returns it."""
        return self._noted(self.bytes_up, Message(phase, client, True, content))

    def sent_down(self, phase: Phase, client: int, content: bytes) -> bytes:
        """Notes a message to a client, and returns it."""
        return self._noted(
            self.bytes_down, Message(phase, client, False, content)
        )

    def _noted(self, sizes: dict[int, int], message: Message) -> bytes:
        size = len(message.content)
        sizes[message.client] = sizes.get(message.client, 0) + size
        if self.keeps:
            self.messages.append(message)
        return message.content


def table(rows: Mapping[int, bytes]) -> bytes:
    """Rows by client, as they are sent."""
    return b"".join(_COUNT.pack(u) + row for u, row in rows.items())


def rows_of(sent: bytes, size: int) -> dict[int, bytes]:
    """The rows of a table, each of `size` bytes.

    Raises:
      ValueError: It is no such table.
    """
    step = ID_BYTES + size
    if len(sent) % step:
        raise ValueError(f"{len(sent)} bytes are no rows of {step}.")
    return {
        _COUNT.unpack_from(sent, at)[0]: sent[at + ID_BYTES : at + step]
        for at in range(0, len(sent), step)
    }


def ids(clients: Iterable[int]) -> bytes:
    """Ids as they are sent."""
    return table(dict.fromkeys(clients, b""))


def ids_of(sent: bytes) -> frozenset[int]:
    """The ids that were sent."""
    return frozenset(rows_of(sent, 0))


def two_tables(
    first: Mapping[int, bytes], second: Mapping[int, bytes]
) -> bytes:
    """Two tables of rows of one size, as they are sent."""
    return _COUNT.pack(len(first)) + table(first) + table(second)


def rows_of_two(
    sent: bytes, size: int
) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """The rows of two tables.

    Raises:
      ValueError: They are none.
    """
    (count,) = _COUNT.unpack_from(sent)
    middle = _COUNT.size + count * (ID_BYTES + size)
    return (
        rows_of(sent[_COUNT.size : middle], size),
        rows_of(sent[middle:], size),
    )
