"""What a finished run was: for whoever looks at it again."""

import os

from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.data import PARTITIONERS
from tff_cnn.training.run_folder import RunFolder

# What a run's config.json must have for its data and model to be built again.
_NEEDED = ("dataset", "partition", "num_clients", "model", "seed")


def folder_of(run_dir: str | os.PathLike | None) -> RunFolder:
    """The folder of a run that has ended.

    Raises:
      UsageError: There is none.
    """
    if not run_dir:
        raise UsageError("<run_dir> is missing: name the folder of a run.")
    folder = RunFolder(run_dir)
    if not folder.holds_run():
        raise UsageError(
            f"<run_dir>={run_dir} holds no config.json of a run: name the "
            "folder of one."
        )
    if folder.read_summary() is None:
        raise UsageError(
            f"the run in {run_dir} has not ended: the command that started it "
            "continues it."
        )
    return folder


def check_has_names(folder: RunFolder, remedy: str) -> None:
    """Refuses a run of which config.json cannot say what it was made of.

    Args:
      folder: Of the run.
      remedy: What to do instead, as "what has a name can be attacked here".

    Raises:
      UsageError: A component was given in Python, as an object.
    """
    given = folder.read_config()["flags"]
    for name, leaf in RunConfig.leaves().items():
        if leaf.is_choice and leaf.known.registry.is_hidden(
            given.get(leaf.key)
        ):
            raise UsageError(
                f"the {name} of the run in {folder.path} was given in Python, "
                f"as an object that no file holds: {remedy}."
            )


def config_of(folder: RunFolder, data_dir: str | None = None) -> RunConfig:
    """A run's configuration, with its data where that is now.

    Args:
      folder: Of the run.
      data_dir: Where the data is; None is where it was.

    Raises:
      UsageError: config.json does not say what data and model the run had.
    """
    given = folder.read_config()["flags"]
    for name in _NEEDED:
        # Of natural clients there are as many as the data has.
        is_open = name == "num_clients" and given["partition"] in _natural()
        if given.get(name) is None and not is_open:
            raise UsageError(
                f"{folder.config} lacks <{name}>, which every run has: it was "
                "changed by hand; restore it."
            )
    if data_dir:
        given["data_dir"] = data_dir
    try:
        return RunConfig.from_flat(given)
    except UsageError as error:
        raise UsageError(
            f"{folder.config} describes no run ({error.args[0].rstrip('.')}): "
            "it was changed by hand; restore it."
        ) from error


def resolved(config: RunConfig, folder: RunFolder) -> RunConfig:
    """A run's configuration with what follows from its fields.

    Raises:
      UsageError: config.json could not hold all that the run was given.
    """
    try:
        return config.resolved()
    except UsageError as error:
        raise UsageError(
            f"{folder.config} does not hold all of the run ("
            f"{error.args[0].rstrip('.')}): give tff_cnn.evaluate the "
            "RunConfig that it had."
        ) from error


def _natural() -> set[str]:
    """Names of the partitions whose clients are those of the data."""
    entries = PARTITIONERS.entries
    return {e.name for e in entries if e.facts.get("is_natural")}
