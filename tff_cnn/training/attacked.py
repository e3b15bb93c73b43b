"""A run in which some of the clients attack."""

import collections
import dataclasses

import numpy as np

from tff_cnn.algorithms import update_attacks
from tff_cnn.config import RunConfig
from tff_cnn.core import randomness
from tff_cnn.evaluation.attacks import ATTACKS
from tff_cnn.evaluation.attacks.attack import Attack
from tff_cnn.tasks import Task


def attackers(config: RunConfig, num_clients: int) -> np.ndarray:
    """Ids of the clients that attack, sorted: int64.

    They are drawn once for the run, the nearest number to the fraction.

    Args:
      config: With `attack_fraction`.
      num_clients: Of the run.
    """
    count = round(config.attack_fraction * num_clients)
    rng = randomness.generator(config.seed, randomness.Purpose.ATTACKERS)
    return np.sort(rng.choice(num_clients, count, replace=False))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackedTask(Task):
    """A task some of whose clients attack.

    Attributes:
      attack: What they do.
      attackers: Who.
      seed: Root seed of the run.
    """

    attack: Attack
    attackers: frozenset[int]
    seed: int

    @property
    def element_spec(self) -> collections.OrderedDict:
        """Specs of a client's element, with whether it attacks."""
        found = super().element_spec
        if self.attack.update is None:
            return found
        return collections.OrderedDict(
            found, **{update_attacks.FIELD: update_attacks.SPEC}
        )

    def client_data(self, client, round_num, seed, batching) -> list:
        """A client's elements; of attackers as they are poisoned."""
        data = super().client_data(client, round_num, seed, batching)
        is_attacker = client in self.attackers
        if is_attacker and self.attack.poison is not None:
            own = randomness.stateless_seed(
                self.seed, randomness.Purpose.POISON, round_num, client
            )
            data = [self.attack.poison(element, own) for element in data]
        if self.attack.update is None:
            return data
        flag = {update_attacks.FIELD: np.float32(is_attacker)}
        return [collections.OrderedDict(e, **flag) for e in data]


def attacked(task: Task, config: RunConfig) -> Task:
    """The task of a run, attacked if it is to be.

    Args:
      task: Of the run.
      config: Resolved.
    """
    if config.attack is None:
        return task
    fields = {
        field.name: getattr(task, field.name)
        for field in dataclasses.fields(Task)
    }
    return AttackedTask(
        **fields,
        attack=ATTACKS.build(config.attack),
        attackers=frozenset(map(int, attackers(config, len(task.clients)))),
        seed=config.seed,
    )
