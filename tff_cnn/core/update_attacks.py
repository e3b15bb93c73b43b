"""What attackers do to their updates, and what they know when they do."""

from typing import Any, NamedTuple, Protocol


class Known(NamedTuple):
    """What the attackers of a round know together; float32 scalars but `total`.

    Clients that are excluded, and others of weight zero, are not there.

    Attributes:
      total: Sum of `UpdateAttack.observed` of the clients that they see.
      count: Of these; 0 where there is none, and `total` is zeros.
      num_clients: Of the round.
      num_attackers: Of these.
      share: Of the attackers in the weight of the round, in [0, 1].
    """

    total: Any
    count: Any
    num_clients: Any
    num_attackers: Any
    share: Any


class Attacker(NamedTuple):
    """What is known of one client in one round.

    Attributes:
      is_attacker: float32, []: 1 where it attacks in this round, or 0.
      seed: int64, [2]: of the client and round.
      round_num: float32, []: from 1.
    """

    is_attacker: Any
    seed: Any
    round_num: Any


class UpdateAttack(Protocol):
    """What attackers do to updates. Methods are pure functions of tensors.

    An update is all that a client sends: of an algorithm that sends several
    structures (SCAFFOLD's pair) each of them.

    Attributes:
      sees_honest: Whether what attackers know is of the honest clients of the
        round, or of themselves.
    """

    sees_honest: bool

    def observed(self, update: Any) -> Any:
        """What an update adds to what attackers know.

        Args:
          update: float32 tensors, as the client has trained it.

        Returns:
          A structure of float tensors; () is nothing.
        """

    def sent(self, update: Any, known: Known, attacker: Attacker) -> Any:
        """What an attacker sends.

        Args:
          update: As it has trained it.
          known: By the attackers; of these there is one at least.
          attacker: Which it is.

        Returns:
          Tensors like `update`. What is not finite, or too long to have a
          norm, is excluded as anybody's.
        """
