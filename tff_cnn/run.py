"""Training as a function call; what notebooks and binaries begin with.

    result = tff_cnn.train(tff_cnn.RunConfig(dp="fixed_clip", ...), "runs/mine")

The only module of the package, beside `config`, that knows of runtimes.
"""

from collections.abc import Mapping
from typing import Any

from tff_cnn import identity
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.training.run_folder import RunFolder


def continued(config: RunConfig, folder: RunFolder) -> RunConfig:
    """The configuration, as it was resolved when the folder's run began.

    Raises:
      UsageError: The folder holds a run with other settings.
    """
    before = folder.read_config()["flags"]
    config = config.resolved_as(before)
    changed = identity.changes(config, before)
    if changed:
        raise UsageError(
            f"{folder.path} holds a run with other settings: "
            f"{', '.join(changed)}; use these again or another <run_dir>."
        )
    return config


def is_complete(summary: Mapping[str, Any], config: RunConfig) -> bool:
    """Whether a run that ended so has nothing more to do."""
    return bool(
        summary["rounds"] >= config.rounds
        or summary["rounds_to_target"]
        or summary["stopped_by_epsilon"]
    )


def execute(
    config: RunConfig,
    folder: RunFolder,
    notes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Trains until the run is complete, from wherever its folder stands.

    Args:
      config: Resolved; of a run that has begun, `continued`.
      folder: Held by this process.
      notes: Written to config.json beside the configuration.

    Returns:
      The summary, as it is written to the run folder.

    Raises:
      UsageError: What does not fit together, or a folder that cannot be
        continued.
    """
    # Imported here: TensorFlow and TFF take seconds, mistakes should not.
    from tff_cnn import runtime
    from tff_cnn.training import running

    name = runtime.RUNTIMES.entry_of(config.runtime).name
    runtime.prepare(name, **config.runtime.preparation())
    with runtime.use(name, **config.runtime.opening()):
        return running.run(config, folder, notes)
