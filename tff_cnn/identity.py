"""What makes two configurations the same run: fingerprints and names."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from tff_cnn.config import RunConfig
from tff_cnn.core.files import to_json
from tff_cnn.core.options import is_neutral
from tff_cnn.privacy import STAGES

# The keys that fingerprints were made of in format 1.
_FORMAT_1 = frozenset(
    """
    dataset partition num_clients dirichlet_alpha shards_per_client evaluate_on
    model algorithm client_optimizer client_learning_rate client_epochs
    batch_size client_weighting server_optimizer server_learning_rate
    server_momentum sampling clients_per_round min_separation rounds eval_every
    target_accuracy dp dp_clip_norm dp_noise_multiplier dp_epsilon dp_delta
    dp_target_quantile dp_clip_learning_rate dp_metrics dp_single_tree dp_bands
    dp_buffers dp_bits local_randomizer local_update_clip
    local_update_noise_multiplier local_update_epsilon local_update_delta
    local_dp local_clip local_noise_multiplier local_epsilon local_delta
    audit_canaries test_only_deterministic_noise runtime compute_dtype seed
    """.split()
)


def material(config: RunConfig) -> dict[str, Any]:
    """What a resumed run must share with the interrupted one, by key.

    What does not apply, or is as if it did not, is left out: an option that is
    new to the program changes no run from before.
    """
    neutral = {leaf.key: leaf.known.neutral for leaf in _leaves(config)}
    return {
        key: value
        for key, value in all_material(config).items()
        if not is_neutral(value, neutral.get(key))
    }


def all_material(config: RunConfig) -> dict[str, Any]:
    """`material` with what it leaves out: all options of a run, by key."""
    values = {
        leaf.key: config.get(leaf)
        for leaf in _leaves(config)
        if leaf.known.material
    }
    values |= config.digests()
    if not _rounds_matter(config):
        del values["rounds"]
    return values


def _leaves(config: RunConfig):
    return config.leaves().values()


def _rounds_matter(config: RunConfig) -> bool:
    """Whether anything that is computed depends on how far the run goes."""
    budgets = (getattr(config, stage.choice) for stage in STAGES)
    return any(
        getattr(options, "epsilon", None) is not None for options in budgets
    ) or any(
        entry.facts.get("depends_on_rounds", False)
        for _, _, entry in config.chosen()
    )


def fingerprint(config: RunConfig) -> str:
    """Digest of `material`; checkpoints carry it."""
    return _digest({"format": 2, **material(config)})


def fingerprint_of_format_1(config: RunConfig) -> str:
    """What checkpoints carried when there were just the flags of then."""
    values = all_material(config)
    return _digest({n: values[n] for n in _FORMAT_1 if n in values})


def _digest(values: Mapping[str, Any]) -> str:
    content = to_json(sorted(values.items()))
    return hashlib.sha256(content.encode()).hexdigest()


def changes(config: RunConfig, before: Mapping[str, Any]) -> list[str]:
    """By what `config` is of another run than `before`, in words.

    Args:
      config: As asked for.
      before: The flags in a run's config.json.
    """
    leaves = {leaf.key: leaf for leaf in _leaves(config)}
    told = []
    for key, value in all_material(config).items():
        leaf = leaves.get(key)
        if leaf is not None and config.is_unresolved(leaf):
            continue
        neutral = leaf and leaf.known.neutral
        was = before.get(key)
        if value != was and not (
            is_neutral(value, neutral) and is_neutral(was, neutral)
        ):
            told.append(_told(leaf, key, value, was))
    return told


def _told(leaf: Any, key: str, value: Any, was: Any) -> str:
    if leaf is not None:
        return f"<{leaf.path}>={value} (was {was})"
    name = key.removesuffix("_digest")
    return f"<{name}> with other content (digest {value[:8]}, was {was!s:.8})"


def run_name(config: RunConfig) -> str:
    """A name for the run, the same for the same configuration."""
    parts = []
    for name, options, entry in config.chosen():
        if name in ("dataset", "model", "algorithm"):
            parts.append(entry.name)
            if entry.argument is not None:
                argument = getattr(options, entry.argument)
                parts.append(re.sub(r"[^\w.]+", "-", argument))
    for stage in STAGES:
        options = getattr(config, stage.choice)
        if options:
            name = stage.registry.entry_of(options).name
            parts.append(f"{stage.label}{name}")
    # Of format 1, so that a command of then finds its run.
    content = f"{fingerprint_of_format_1(config)} {config.rounds}"
    found = material(config)
    extra = {n: v for n, v in found.items() if n not in _FORMAT_1}
    if extra:
        content += _digest(extra)
    short = hashlib.sha256(content.encode()).hexdigest()[:8]
    return "-".join([*parts, short])
