"""The learning rates of a run's rounds, where they change: `SCHEDULES`."""

from typing import Any

from tff_cnn.algorithms import OPTIMIZERS, SCHEDULES, Constant, schedules
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError

CLIENT, SERVER = "client", "server"


def is_scheduled(config: RunConfig, role: str) -> bool:
    """Whether the learning rate of clients, or of the server, ever changes."""
    return getattr(config, f"{role}_schedule") != Constant()


def optimizer(config: RunConfig, role: str) -> Any:
    """The TFF optimizer of clients or of the server, without its schedule.

    Raises:
      UsageError: It has a schedule, and no learning rate to go with it.
    """
    built = OPTIMIZERS.build(getattr(config, f"{role}_optimizer"))
    if is_scheduled(config, role) and not schedules.has_rate(built):
        raise UsageError(
            f"<{role}_schedule> does not go with <{role}_optimizer>, whose "
            "state has no learning rate to be changed: use another optimizer, "
            f"or <{role}_schedule>=constant."
        )
    return built


def server_optimizer(config: RunConfig) -> Any:
    """The server's, which counts its rounds where it has a schedule."""
    built = optimizer(config, SERVER)
    if not is_scheduled(config, SERVER):
        return built
    numbers = range(1, config.rounds + 2)
    return schedules.at_server(
        built, [factor(config, SERVER, number) for number in numbers]
    )


def factor(config: RunConfig, role: str, number: int) -> float:
    """Of the learning rate in a round, in [0, 1]."""
    schedule = SCHEDULES.builder(getattr(config, f"{role}_schedule"))
    return schedule(number, config.rounds)


def row(config: RunConfig, number: int) -> dict[str, float]:
    """`client_learning_rate` and `server_learning_rate`, if they change."""
    return {
        f"{role}_learning_rate": float(
            schedules.rates(
                optimizer(config, role), [factor(config, role, number)]
            )[0]
        )
        for role in (CLIENT, SERVER)
        if is_scheduled(config, role)
    }
