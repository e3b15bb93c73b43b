"""What a run would cost and what would be left of its signal, beforehand."""

import dataclasses
import math
from collections.abc import Callable

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import accounting, calibration
from tff_cnn.privacy.mechanism import CentralMechanism

# Where the search for enough clients gives up.
_MOST_CLIENTS = 10**9


@dataclasses.dataclass(frozen=True)
class Plan:
    """A mechanism, and what it means for a run.

    Attributes:
      noise_multiplier: Of the mechanism.
      epsilon: After all rounds, by the tightest accountant.
      epsilon_rdp: After all rounds, by RDP; None where it has no rule.
      signal_to_noise: See `signal_to_noise`; of the last round.
      total_signal_to_noise: Signal over noise of the sum of all rounds.
      clients_for_signal: Clients at which `signal_to_noise` would be 1, where
        the cohort grows with them and noise and delta stay.
    """

    noise_multiplier: float
    epsilon: float
    epsilon_rdp: float | None
    signal_to_noise: float
    total_signal_to_noise: float
    clients_for_signal: int


def signal_to_noise(mechanism: CentralMechanism, num_parameters: int) -> float:
    """The most that a mean update can stand out from its noise.

    The norm of the mean is at most `clip_norm`, where all clients agree and
    fill the clip; the noise has norm stddev sqrt(num_parameters), where it is
    not correlated over rounds. What a run really has is in its metrics.
    """
    noise = mechanism.sum_noise_multiplier * math.sqrt(num_parameters)
    return mechanism.expected_cohort / noise


def plan(
    mechanism: CentralMechanism,
    rounds: int,
    delta: float,
    num_parameters: int,
    num_clients: int,
) -> Plan:
    """What `rounds` rounds of `mechanism` mean for a run."""
    event = mechanism.event_after(rounds)
    neighbours = mechanism.neighbours
    plain = signal_to_noise(mechanism, num_parameters)
    in_round = plain / mechanism.noise_gain(rounds)
    return Plan(
        noise_multiplier=mechanism.noise_multiplier,
        epsilon=accounting.epsilon(event, delta, neighbours),
        epsilon_rdp=accounting.epsilons(event, delta, neighbours)["rdp"],
        signal_to_noise=in_round,
        total_signal_to_noise=(
            plain * rounds / mechanism.total_noise_gain(rounds)
        ),
        clients_for_signal=math.ceil(num_clients / in_round),
    )


def plan_epsilon(
    make_mechanism: Callable[[float], CentralMechanism],
    target_epsilon: float,
    rounds: int,
    delta: float,
    num_parameters: int,
    num_clients: int,
) -> Plan:
    """The plan whose noise is just enough for `target_epsilon`."""
    noise = calibration.noise_multiplier(
        make_mechanism, target_epsilon, delta, rounds
    )
    return plan(
        make_mechanism(noise), rounds, delta, num_parameters, num_clients
    )


def clients_needed(
    epsilon_of: Callable[[int], float],
    target_epsilon: float,
    fewest: int,
) -> int:
    """The fewest clients for which epsilon is at most the target.

    Args:
      epsilon_of: Number of clients -> epsilon, at the same noise and cohort;
        it must not rise.
      target_epsilon: > 0.
      fewest: Where to start, as a rule the cohort.

    Raises:
      UsageError: A thousand million clients are not enough.
    """
    high = fewest
    while epsilon_of(high) > target_epsilon:
        if high >= _MOST_CLIENTS:
            raise UsageError(
                f"epsilon {target_epsilon:g} is out of reach for {high:g} "
                "clients at this noise: use more noise or fewer rounds."
            )
        high = min(high * 2, _MOST_CLIENTS)
    low = max(fewest - 1, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        if epsilon_of(middle) > target_epsilon:
            low = middle
        else:
            high = middle
    return high
