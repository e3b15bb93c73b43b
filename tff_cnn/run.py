"""Training as a function call; what notebooks and binaries begin with.

    result = tff_cnn.train(tff_cnn.RunConfig(dp="fixed_clip", ...), "runs/mine")

Of a finished run `evaluate` tells how it serves each client, and `shrink` makes
its model small.

The only module of the package, beside `config`, that knows of runtimes.
"""

import atexit
import contextlib
import dataclasses
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tff_cnn import identity
from tff_cnn.config import RunConfig
from tff_cnn.core import paths
from tff_cnn.core.errors import UsageError
from tff_cnn.core.registry import unknown_name
from tff_cnn.data import SOURCES
from tff_cnn.training.run_folder import (
    CLIENT_SETS,
    SHRUNK_FORMATS,
    RunFolder,
)

if TYPE_CHECKING:  # It takes seconds.
    from tff_cnn.training.client_table import ClientTable
    from tff_cnn.training.result import Result
    from tff_cnn.training.shrinking import Shrinkage


def train(
    config: RunConfig, run_dir: str | os.PathLike | None = None
) -> "Result":
    """Trains, and returns the model, its metrics and what privacy it has.

    TFF computes in a runtime that is opened here; its default context is
    afterwards what it was.

    Args:
      config: What to train, on what, how.
      run_dir: Folder that keeps the run: a call that was interrupted is
        continued there by the same call, and of a complete run the result is
        read. None leaves nothing behind.

    Raises:
      UsageError: What does not fit together; it names fields of `config`.
      FailedRunError: Something outside the program failed.
    """
    if not isinstance(config, RunConfig):
        raise UsageError(
            f"train takes a RunConfig, not {type(config).__name__}: write "
            "train(RunConfig(...))."
        )
    config = config.resolved()
    if run_dir is not None:
        return _train(config, checked_folder(run_dir), os.fspath(run_dir))
    with tempfile.TemporaryDirectory(prefix="tff_cnn-") as name:
        return _train(config, RunFolder(name), None)


def evaluate(
    run_dir: str | os.PathLike,
    config: RunConfig | None = None,
    sets: str | Sequence[str] = (),
    personalize_epochs: int = 0,
    personalize_steps: int = 0,
    data_dir: str | None = None,
) -> "ClientTable":
    """Evaluates a finished run's models on each client by itself.

    It writes clients.csv, clients.png and evaluation.json to the run's folder,
    and leaves the rest as it is. Of a private run no epsilon covers what it
    shows of clients.

    Args:
      run_dir: Folder of a run that has ended.
      config: Of the run; None is what its config.json says, which cannot hold
        a data set or a model that was given as an object.
      sets: Which examples, of "holdout", "unseen" and "training"
        (`training.client_table`); () are those that nothing was trained on, or,
        where there are none, "training".
      personalize_epochs: Of local training, after which clients are evaluated
        again on what they hold out; 0 is none.
      personalize_steps: The same in local steps; not beside epochs.
      data_dir: Where the data is now; None is where it was.

    Returns:
      What each client has measured: as a text its figures, with `to_pandas()`,
      `statistics`, `figure()` and `show()`.

    Raises:
      UsageError: No run has ended there, or it has no such examples.
    """
    from tff_cnn.training import finished

    sets = [sets] if isinstance(sets, str) else list(sets)
    _check_evaluation(sets, personalize_epochs, personalize_steps)
    folder = finished.folder_of(run_dir)
    if config is None:
        finished.check_has_names(
            folder, "give tff_cnn.evaluate the RunConfig that it had"
        )
        config = finished.config_of(folder, data_dir)
    config = finished.resolved(config, folder)
    with folder.held(), _quiet_tensorflow(), _default_context_kept():
        config = continued(with_first_build(config), folder)
        with _runtime_of(config):
            # Imported here: TensorFlow takes seconds, mistakes should not.
            from tff_cnn.training import client_evaluation

            return client_evaluation.evaluate_finished(
                config, folder, sets, personalize_epochs, personalize_steps
            )


def shrink(
    run_dir: str | os.PathLike,
    config: RunConfig | None = None,
    formats: str | Sequence[str] = SHRUNK_FORMATS,
    sparsities: float | Sequence[float] = (0.0,),
    data_dir: str | None = None,
) -> "Shrinkage":
    """Makes a finished run's model small, in each format at each sparsity.

    It writes a TFLite file for each to the run's export folder, and shrunk.json
    to the run's; `training.shrinking` says what is done.

    Args:
      run_dir: Folder of a run that has ended.
      config: As of `evaluate`.
      formats: Of "float32" and "int8".
      sparsities: Shares of the weights that are set to zero, in [0, 1).
      data_dir: Where the data is now, whose test set accuracy is measured on;
        None is where it was.

    Returns:
      Bytes and accuracy of each: as a text a table.

    Raises:
      UsageError: No run has ended there, or TFLite cannot hold its model.
    """
    from tff_cnn.training import finished

    formats = [formats] if isinstance(formats, str) else list(formats)
    if not isinstance(sparsities, Sequence):
        sparsities = [sparsities]
    _check_shrinking(formats, sparsities)
    folder = finished.folder_of(run_dir)
    if config is None:
        finished.check_has_names(
            folder, "give tff_cnn.shrink the RunConfig that it had"
        )
        config = finished.config_of(folder, data_dir)
    config = finished.resolved(config, folder)
    with folder.held(), _quiet_tensorflow(), _default_context_kept():
        config = continued(with_first_build(config), folder)
        # Imported here: TensorFlow takes seconds, mistakes should not.
        from tff_cnn.training import shrinking

        return shrinking.shrink_finished(config, folder, formats, sparsities)


def _check_shrinking(
    formats: Sequence[str], sparsities: Sequence[float]
) -> None:
    for name in formats:
        if name not in SHRUNK_FORMATS:
            raise UsageError(unknown_name("<formats>", name, SHRUNK_FORMATS))
    for value in sparsities:
        if not 0 <= value < 1:
            raise UsageError(
                f"<sparsities>={value} must be from 0 to below 1: the share of "
                "weights that are set to zero."
            )


def _check_evaluation(sets: Sequence[str], epochs: int, steps: int) -> None:
    for name in sets:
        if name not in CLIENT_SETS:
            raise UsageError(
                f"<set>={name} is no set of examples: these are "
                f"{', '.join(CLIENT_SETS)}."
            )
    for name, value in (
        ("personalize_epochs", epochs),
        ("personalize_steps", steps),
    ):
        if value < 0:
            raise UsageError(f"<{name}>={value} must be at least 0.")
    if epochs and steps:
        raise UsageError(
            f"<personalize_epochs>={epochs} does not go with "
            f"<personalize_steps>={steps}: both say how long clients train; "
            "use one of them."
        )


def _train(
    config: RunConfig, folder: RunFolder, run_dir: str | None
) -> "Result":
    with folder.held(), _quiet_tensorflow(), _default_context_kept():
        # Imported here: TensorFlow takes seconds, mistakes should not.
        from tff_cnn.training import result

        config, finished = stand(with_first_build(config), folder)
        if finished is None:
            with _saying_where_it_stands(folder, run_dir):
                execute(config, folder, {"run_dir": run_dir})
        return result.read(folder, config, run_dir)


def checked_folder(run_dir: str | os.PathLike) -> RunFolder:
    """The folder of a run; nothing is made yet.

    Raises:
      UsageError: A run could not be written there, or would overwrite
        something else.
    """
    if not isinstance(run_dir, str | os.PathLike):
        raise UsageError(f"<run_dir>={run_dir!r} must be a path.")
    folder = RunFolder(run_dir)
    folder.check_usable()
    paths.check_writable_folder(folder.path, "<run_dir>")
    return folder


def stand(
    config: RunConfig, folder: RunFolder
) -> tuple[RunConfig, dict[str, Any] | None]:
    """The configuration to go on with, and the summary of a complete run.

    Args:
      config: Resolved.
      folder: Held by this process.

    Raises:
      UsageError: As `continued`.
    """
    if not folder.holds_run():
        return config, None
    config = continued(config, folder)
    finished = folder.read_summary()
    if finished and is_complete(finished, config):
        return config, finished
    return config, None


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
    from tff_cnn.training import running

    with _runtime_of(config):
        return running.run(config, folder, notes)


@contextlib.contextmanager
def _runtime_of(config: RunConfig) -> Iterator[None]:
    """TFF computes as the configuration says."""
    from tff_cnn import runtime

    name = runtime.RUNTIMES.entry_of(config.runtime).name
    runtime.prepare(name, **config.runtime.preparation())
    with runtime.use(name, **config.runtime.opening()):
        yield


def with_first_build(config: RunConfig) -> RunConfig:
    """The configuration with the first build of a model that is the user's.

    All that are built later have its weights, and it has a digest, by which a
    run knows it again.

    Args:
      config: Resolved.

    Raises:
      UsageError: The function builds nothing that can be trained, or no file
        holds such a model.
    """
    model = config.model
    if not hasattr(model, "begun"):
        return config
    shape, num_classes = (), 0
    if model.needs_data:
        source = SOURCES.build(config.dataset)
        shape, num_classes = source.image_shape, source.num_classes
        if config.to_rgb:
            shape = (*shape[:2], 3)
    from tff_cnn.core import randomness  # NumPy takes a moment.

    seed = randomness.integer_seed(
        config.seed, randomness.Purpose.INITIAL_WEIGHTS
    )
    return dataclasses.replace(
        config, model=model.begun(shape, num_classes, seed, config.trainable)
    )


@contextlib.contextmanager
def _saying_where_it_stands(
    folder: RunFolder, run_dir: str | None
) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if run_dir is not None:
            done = max(folder.checkpoint_rounds(), default=0)
            print(
                f"Interrupted; the same call continues after round {done}.",
                file=sys.stderr,
            )
        raise


@contextlib.contextmanager
def _default_context_kept() -> Iterator[None]:
    """Puts TFF's default context back.

    When Python ends it goes in time to end its worker, if it has one; else it
    would complain.
    """
    import tensorflow_federated as tff

    from tff_cnn import runtime

    before = tff.framework.get_context_stack().current
    atexit.unregister(runtime.close)
    atexit.register(runtime.close)
    try:
        yield
    finally:
        tff.framework.set_default_context(before)


@contextlib.contextmanager
def _quiet_tensorflow() -> Iterator[None]:
    """Without what TensorFlow says of GPUs, and of models not compiled."""
    name = "TF_CPP_MIN_LOG_LEVEL"
    had = name in os.environ
    os.environ.setdefault(name, "3")
    import tensorflow as tf

    logger = tf.get_logger()  # It may have just got a level, in a notebook.
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)
        if not had:
            del os.environ[name]
