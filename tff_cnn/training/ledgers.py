"""From a configuration to sampler, mechanisms and ledgers: no TensorFlow."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tff_cnn.algorithms import ALGORITHMS
from tff_cnn.config import RunConfig
from tff_cnn.core import registry
from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import STAGES, Stage, accounting, calibration
from tff_cnn.privacy.ledger import Ledger, Mechanism, StagedLedger
from tff_cnn.privacy.local import deciding_sizes
from tff_cnn.privacy.mechanism import CentralMechanism
from tff_cnn.privacy.participation import Participation
from tff_cnn.selection import SAMPLERS


def build_sampler(
    config: RunConfig, num_clients: int, client_sizes: Sequence[int] = ()
) -> Any:
    """The sampler of a run, over the clients that there really are.

    Args:
      config: Of the run.
      num_clients: That there are.
      client_sizes: Examples of each; () where no sampler asks for them, as none
        does that privacy knows.

    Raises:
      UsageError: It cannot draw such cohorts, or would have to draw more
        clients than there are.
    """
    per_round = needed_updates(config, num_clients)
    if config.over_selection is not None:
        # Rounded before: 1.1 times 10 is a little more than 11.
        drawn = math.ceil(round(config.over_selection * per_round, 6))
        if drawn > num_clients:
            raise UsageError(
                f"<over_selection>={config.over_selection} of {per_round} "
                f"clients a round is {drawn}, and there are {num_clients}: "
                "use less, or fewer clients a round."
            )
        per_round = drawn
    builder = SAMPLERS.builder(config.sampling)
    known = {"client_sizes": client_sizes, "rounds": config.rounds}
    known = registry.asked_for(builder, known)
    return builder(num_clients, per_round, **known)


def needed_updates(config: RunConfig, num_clients: int) -> int:
    """(Expected) updates of a round that nobody is too late for."""
    if "clients_per_round" in SAMPLERS.entry_of(config.sampling).decides:
        return num_clients
    return config.clients_per_round


def mechanism_factory(
    config: RunConfig, sampler: Any, num_parameters: int
) -> Callable[[float], CentralMechanism]:
    """Noise multiplier -> the mechanism of aggregation."""
    return _factory(
        STAGES[0], config, _numbers(config, sampler, (), num_parameters)
    )


def build_ledgers(
    config: RunConfig,
    sampler: Any,
    client_sizes: Sequence[int],
    num_parameters: int,
) -> StagedLedger | None:
    """The ledgers of a run's stages; None without noise at any.

    Args:
      config: Of a run.
      sampler: From `build_sampler`.
      client_sizes: Examples of each client.
      num_parameters: Trainable ones of the model.

    Raises:
      UsageError: A delta that says nothing, noise that cannot be found, or a
        limit that the first round would cross.
    """
    if not config.has_noise:
        return None
    numbers = _numbers(config, sampler, client_sizes, num_parameters)
    units = {
        "client": sampler.num_clients,
        # Of all clients: publishing any one's example would satisfy less.
        "example": max(sum(client_sizes), 2),
    }
    ledgers = [
        _build_ledger(stage, config, numbers, units)
        for stage in STAGES
        if getattr(config, stage.choice) is not None
    ]
    return StagedLedger(ledgers)


def _build_ledger(
    stage: Stage,
    config: RunConfig,
    numbers: Mapping[str, Any],
    units: Mapping[str, int],
) -> Ledger:
    options = getattr(config, stage.choice)
    entry = stage.registry.entry_of(options)
    unit = entry.load().unit
    delta = options.delta or units[unit] ** -1.1
    accounting.check_delta(delta, units[unit], unit, stage.choice)
    make = _factory(stage, config, numbers)
    noise = options.noise_multiplier
    if noise is None:
        noise = calibration.noise_multiplier(
            make, options.epsilon, delta, config.rounds
        )
    ledger = Ledger(make(noise), delta, epsilon_limit=options.epsilon)
    ledger.check_next_round()
    return ledger


def update_size(config: RunConfig, num_parameters: int) -> int:
    """Numbers in a client's update, of a model with so many parameters."""
    facts = ALGORITHMS.entry_of(config.algorithm).facts
    return num_parameters * facts.get("update_vectors", 1)


def _numbers(
    config: RunConfig,
    sampler: Any,
    client_sizes: Sequence[int],
    num_parameters: int,
) -> dict[str, Any]:
    """What mechanisms may need to know of a run, by the names of fields."""
    sampling = SAMPLERS.entry_of(config.sampling).full_name
    found = {
        "participation": Participation.of(sampling, sampler),
        "expected_cohort": float(sampler.expected_cohort),
        "expected_lot": config.batch_size,
        "epochs": config.client_epochs,
        "client_sizes": deciding_sizes(client_sizes, config.batch_size),
        "rounds": config.rounds,
        "num_parameters": update_size(config, num_parameters),
    }
    if getattr(config.dp, "metrics", False):
        # Noise on the count as on that of adaptive clipping (Andrew et al.
        # 2021): a twentieth of the cohort, and its sensitivity is 1/2.
        found["metric_noise_multiplier"] = sampler.expected_cohort / 10
    return found


def _factory(
    stage: Stage, config: RunConfig, numbers: Mapping[str, Any]
) -> Callable[[float], Mechanism]:
    """Noise multiplier -> mechanism, of what its class has fields for."""
    options = getattr(config, stage.choice)
    kind = stage.registry.entry_of(options).load()
    names = {field.name for field in dataclasses.fields(kind)}
    given = {n: v for n, v in numbers.items() if n in names}
    for name in names & {f.name for f in dataclasses.fields(options)}:
        given[name] = getattr(options, name)

    def make(noise_multiplier: float) -> Mechanism:
        return kind(**{**given, "noise_multiplier": noise_multiplier})

    return make
