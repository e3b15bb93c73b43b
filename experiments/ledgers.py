"""From flags to sampler, mechanism and ledger, without TensorFlow."""

from collections.abc import Callable
from typing import Any

from experiments.configuration import TrainConfig
from tff_cnn.privacy import (
    DISTRIBUTED,
    FACTORIZATIONS,
    LOCAL_RANDOMIZERS,
    MECHANISMS,
    accounting,
    calibration,
    local,
)
from tff_cnn.privacy.ledger import Ledger
from tff_cnn.privacy.mechanism import CentralMechanism
from tff_cnn.privacy.participation import Participation
from tff_cnn.selection import SAMPLERS

# Samplers -> flags that they take besides the numbers of clients.
_SAMPLER_OPTIONS = {"shuffled_epochs": {"separation": "min_separation"}}
# Mechanism -> its fields that are flags, without their "dp_".
_OPTIONS = {
    "adaptive_clip": ("target_quantile", "clip_learning_rate"),
    "tree": ("single_tree",),
    "banded": ("bands",),
    "blt": ("buffers",),
    "distributed_discrete_gaussian": ("bits",),
    "distributed_skellam": ("bits",),
}


def build_sampler(config: TrainConfig, num_clients: int) -> Any:
    """The sampler of the flags, over the clients that there really are."""
    clients_per_round = config.clients_per_round
    if config.sampling == "full":
        clients_per_round = num_clients
    options = {
        name: getattr(config, flag)
        for name, flag in _SAMPLER_OPTIONS.get(config.sampling, {}).items()
    }
    return SAMPLERS.get(config.sampling)(
        num_clients, clients_per_round, **options
    )


def mechanism_factory(
    config: TrainConfig, sampler: Any, num_parameters: int
) -> Callable[[float], CentralMechanism]:
    """Noise multiplier -> the mechanism that the flags ask for."""
    options = {
        name: getattr(config, f"dp_{name}")
        for name in _OPTIONS.get(config.dp, ())
    }
    if config.dp in FACTORIZATIONS:
        options["rounds"] = config.rounds
    if config.dp == "banded" and config.dp_bands is None:
        options["bands"] = min(sampler.min_separation or 1, config.rounds)

    if config.dp in DISTRIBUTED:
        options["num_parameters"] = num_parameters
    if config.dp_metrics:
        # Noise on the count as on that of adaptive clipping (Andrew et al.
        # 2021): a twentieth of the cohort, and its sensitivity is 1/2.
        options["metric_noise_multiplier"] = sampler.expected_cohort / 10

    def make(noise_multiplier: float) -> CentralMechanism:
        return MECHANISMS.get(config.dp)(
            clip_norm=config.dp_clip_norm,
            noise_multiplier=noise_multiplier,
            expected_cohort=float(sampler.expected_cohort),
            sampling=config.sampling,
            sampling_rate=sampler.rate,
            num_clients=sampler.num_clients,
            rounds_per_epoch=sampler.rounds_per_epoch,
            min_separation=sampler.min_separation,
            **options,
        )

    return make


def build_ledger(
    config: TrainConfig, sampler: Any, num_parameters: int
) -> Ledger:
    """The ledger of a private run, with the noise that the flags ask for.

    Args:
      config: The flags.
      sampler: Draws the cohorts.
      num_parameters: Trainable ones of the model.

    Raises:
      UsageError: A delta that says nothing, noise that cannot be found, or a
        limit that the first round would cross.
    """
    delta = config.dp_delta or sampler.num_clients**-1.1
    accounting.check_delta(delta, sampler.num_clients)
    make = mechanism_factory(config, sampler, num_parameters)
    noise = config.dp_noise_multiplier
    if noise is None:
        noise = calibration.noise_multiplier(
            make, config.dp_epsilon, delta, config.rounds
        )
    ledger = Ledger(make(noise), delta, epsilon_limit=config.dp_epsilon)
    ledger.check_next_round()
    return ledger


def build_local_ledger(config: TrainConfig, sampler: Any) -> local.LocalLedger:
    """The ledger of the local randomizer, with the noise that flags ask for.

    Raises:
      UsageError: A delta that says nothing, or noise that cannot be found.
    """
    delta = config.local_update_delta or sampler.num_clients**-1.1
    accounting.check_delta(
        delta, sampler.num_clients, flag="--local_update_delta"
    )
    participation = Participation(
        config.sampling,
        sampler.rate,
        sampler.num_clients,
        sampler.rounds_per_epoch,
        sampler.min_separation,
    )

    def make(noise_multiplier: float) -> local.LocalRandomizer:
        return LOCAL_RANDOMIZERS.get(config.local_randomizer)(
            config.local_update_clip, noise_multiplier, participation
        )

    noise = config.local_update_noise
    if noise is None:
        noise = local.calibrate(
            make, config.local_update_epsilon, delta, config.rounds
        )
    return local.LocalLedger(make(noise), delta)
