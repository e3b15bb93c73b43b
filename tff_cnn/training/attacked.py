"""A run in which some of the clients attack."""

import collections
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tff_cnn.algorithms import update_attacks
from tff_cnn.config import RunConfig
from tff_cnn.core import randomness, registry
from tff_cnn.core.errors import UsageError
from tff_cnn.core.weights import Weights
from tff_cnn.evaluation.attacks import ATTACKS, success
from tff_cnn.evaluation.attacks.attack import Attack
from tff_cnn.evaluation.central import CentralEvaluation
from tff_cnn.tasks import Task
from tff_cnn.training.loop import Round


def attackers(config: RunConfig, num_clients: int) -> np.ndarray:
    """Ids of the clients that attack, sorted: int64.

    They are drawn once for the run, the nearest number to the fraction.

    Args:
      config: With `attack_fraction`.
      num_clients: Of the run.

    Raises:
      UsageError: They are nobody, and a fraction was given.
    """
    count = round(config.attack_fraction * num_clients)
    if config.attack_fraction and not count:
        raise UsageError(
            f"<attack_fraction>={config.attack_fraction:g} of {num_clients} "
            "clients is nobody, and nothing would be attacked: use at least "
            f"{1 / num_clients:.2g}, or 0."
        )
    rng = randomness.generator(config.seed, randomness.Purpose.ATTACKERS)
    return np.sort(rng.choice(num_clients, count, replace=False))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackedTask(Task):
    """A task some of whose clients attack.

    Attributes:
      attack: What they do.
      name: Of the attack.
      attackers: Who.
      seed: Root seed of the run.
    """

    attack: Attack
    name: str
    attackers: frozenset[int]
    seed: int

    @property
    def element_spec(self) -> collections.OrderedDict:
        """Specs of a client's element, with what is known of it as attacker."""
        found = super().element_spec
        if self.attack.update is None:
            return found
        return collections.OrderedDict(found, **update_attacks.SPECS)

    def is_attack(self, client: int, round_num: int) -> bool:
        """Whether a client attacks in a round that it takes part in."""
        return client in self.attackers and self.attack.is_in(round_num)

    def client_data(self, client, round_num, seed, batching) -> list:
        """A client's elements; of attackers as they are poisoned."""
        data = super().client_data(client, round_num, seed, batching)
        is_attack = self.is_attack(client, round_num)
        # One seed for what NumPy draws here and TensorFlow in the round, whose
        # generators have nothing in common.
        own = randomness.stateless_seed(
            self.seed, randomness.Purpose.POISON, round_num, client
        )
        if is_attack and self.attack.poison is not None:
            data = [self.attack.poison(element, own) for element in data]
        if self.attack.update is None:
            return data
        fields = update_attacks.fields(is_attack, own, round_num)
        return [collections.OrderedDict(e, **fields) for e in data]

    @property
    def summary(self) -> dict[str, Any]:
        """What the run's summary says of it."""
        return {
            "name": self.name,
            "num_clients": len(self.clients),
            "attackers": sorted(self.attackers),
        }

    def evaluation_of_success(self) -> Callable[[Weights], float] | None:
        """Weights -> the attack's rate of success; None where it has none.

        Raises:
          UsageError: Nothing that is evaluated can tell.
        """
        if self.attack.success is None:
            return None
        examples = success.shown(self.attack.success, self.evaluation)
        if not len(examples):
            raise UsageError(
                f"<attack>={self.name} is for examples that are not among "
                "those that are evaluated, of which none has such a label: "
                "attack others."
            )
        evaluate = CentralEvaluation(
            self.model, examples, self.prepare, self.objective
        )
        return lambda weights: evaluate(weights)["accuracy"]


def attacked(task: Task, config: RunConfig) -> Task:
    """The task of a run, attacked if it is to be.

    Args:
      task: Of the run.
      config: Resolved.

    Raises:
      UsageError: The attack has no meaning for this data.
    """
    if config.attack is None:
        return task
    fields = {
        field.name: getattr(task, field.name)
        for field in dataclasses.fields(Task)
    }
    return AttackedTask(
        **fields,
        attack=_build(task, config),
        name=ATTACKS.entry_of(config.attack).full_name,
        attackers=frozenset(map(int, attackers(config, len(task.clients)))),
        seed=config.seed,
    )


def _build(task: Task, config: RunConfig) -> Attack:
    entry = ATTACKS.entry_of(config.attack)
    known = {
        "num_classes": max(2, task.model.output_shape[-1]),
        "image_shape": task.evaluation.image_shape,
        "pixel_max": task.prepare.pixel_max,
        "server_rate": config.server_optimizer.learning_rate,
    }
    asked = registry.asked_for(entry.load(), known)
    if "num_classes" in asked and task.objective.name == "labels":
        raise UsageError(
            f"<attack>={entry.full_name} is on the one label of each image, "
            "and these have several: use another <attack>."
        )
    return ATTACKS.builder(config.attack)(**asked)


class AttackHook:
    """Adds `attackers`, how many took part in the round, and its success.

    That is `test_...` of the name that the attack gives it, and evaluated
    where the test set is: it comes behind that hook. Else it is null.
    """

    def __init__(self, task: AttackedTask):
        """Args:
        task: Of the run.

        Raises:
          UsageError: As `AttackedTask.evaluation_of_success`.
        """
        self._task = task
        self._evaluate = task.evaluation_of_success()

    def after_round(self, finished: Round) -> None:
        row, task = finished.row, self._task
        row["attackers"] = sum(
            task.is_attack(int(client), finished.number)
            for client in finished.cohort
        )
        if self._evaluate is None:
            return
        rate = None
        if row["test_accuracy"] is not None:
            rate = self._evaluate(finished.weights)
        row[f"test_{task.attack.success.name}"] = rate
