"""From flags to sampler, mechanism and ledger, without TensorFlow."""

from collections.abc import Callable, Sequence
from typing import Any

from experiments.configuration import TrainConfig
from tff_cnn.privacy import (
    DISTRIBUTED,
    FACTORIZATIONS,
    LOCAL_MECHANISMS,
    LOCAL_RANDOMIZERS,
    MECHANISMS,
    accounting,
    calibration,
)
from tff_cnn.privacy.ledger import Ledger, StagedLedger
from tff_cnn.privacy.local import ExampleDpSgd, deciding_sizes
from tff_cnn.privacy.mechanism import CentralMechanism
from tff_cnn.privacy.participation import Participation
from tff_cnn.privacy.randomizers import LocalRandomizer
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


def build_ledgers(
    config: TrainConfig,
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
    stages = []
    if config.is_private:
        stages.append(build_ledger(config, sampler, num_parameters))
    if config.randomizes_updates:
        stages.append(_build_randomizer_ledger(config, sampler))
    if config.is_locally_private:
        stages.append(build_local_ledger(config, sampler, client_sizes))
    return StagedLedger(stages) if stages else None


def build_ledger(
    config: TrainConfig, sampler: Any, num_parameters: int
) -> Ledger:
    """The ledger of the aggregation, with the noise that the flags ask for.

    Raises:
      UsageError: As `build_ledgers`.
    """
    delta = config.dp_delta or sampler.num_clients**-1.1
    accounting.check_delta(delta, sampler.num_clients)
    return _ledger(
        mechanism_factory(config, sampler, num_parameters),
        config.dp_noise_multiplier,
        config.dp_epsilon,
        delta,
        config.rounds,
    )


def build_local_ledger(
    config: TrainConfig, sampler: Any, client_sizes: Sequence[int]
) -> Ledger:
    """The same of the training within the clients.

    Raises:
      UsageError: As `build_ledgers`.
    """
    num_examples = sum(client_sizes)
    delta = config.local_delta or max(num_examples, 2) ** -1.1
    # Of all clients: publishing any one's example would satisfy less.
    accounting.check_delta(delta, max(num_examples, 1), "example", "local")

    def make(noise_multiplier: float) -> ExampleDpSgd:
        return LOCAL_MECHANISMS.get(config.local_dp)(
            clip_norm=config.local_clip,
            noise_multiplier=noise_multiplier,
            expected_lot=config.batch_size,
            epochs=config.client_epochs,
            client_sizes=deciding_sizes(client_sizes, config.batch_size),
            client_sampling=config.sampling,
            client_sampling_rate=sampler.rate,
            num_clients=sampler.num_clients,
            rounds_per_epoch=sampler.rounds_per_epoch,
            min_separation=sampler.min_separation,
        )

    return _ledger(
        make,
        config.local_noise_multiplier,
        config.local_epsilon,
        delta,
        config.rounds,
    )


def _build_randomizer_ledger(config: TrainConfig, sampler: Any) -> Ledger:
    delta = config.local_update_delta or sampler.num_clients**-1.1
    accounting.check_delta(delta, sampler.num_clients, prefix="local_update")
    participation = Participation(
        config.sampling,
        sampler.rate,
        sampler.num_clients,
        sampler.rounds_per_epoch,
        sampler.min_separation,
    )

    def make(noise_multiplier: float) -> LocalRandomizer:
        return LOCAL_RANDOMIZERS.get(config.local_randomizer)(
            config.local_update_clip, noise_multiplier, participation
        )

    return _ledger(
        make,
        config.local_update_noise_multiplier,
        config.local_update_epsilon,
        delta,
        config.rounds,
    )


def _ledger(make, noise, epsilon, delta, rounds) -> Ledger:
    if noise is None:
        noise = calibration.noise_multiplier(make, epsilon, delta, rounds)
    ledger = Ledger(make(noise), delta, epsilon_limit=epsilon)
    ledger.check_next_round()
    return ledger
