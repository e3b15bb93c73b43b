"""Trains a federated CNN, with differential privacy if asked.

  python -m experiments.train --flagfile=experiments/quickstart.flags
  python -m experiments.train --dataset=mnist --download --clients_per_round=10
  python -m experiments.train --dp=fixed_clip --dp_epsilon=8 \\
      --num_clients=300 --clients_per_round=150

The same command after an interruption continues where it was. Results are in
the run folder: metrics.jsonl, summary.json, curves.png, export/.
"""

import os
import signal
import sys

from absl import flags

from experiments import configuration, entry, records, train_flags
from tff_cnn.core import paths
from tff_cnn.core.errors import UsageError
from tff_cnn.training.run_folder import RunFolder

train_flags.define()
flags.adopt_module_key_flags(train_flags)


def main(argv: list[str]) -> None:
    """Trains as the flags say; `argv` is what was typed."""
    config = configuration.config_from_flags(argv)
    if config.record:
        records.check(config.record, argv)  # Refuses before the run.
    folder = RunFolder(config.run_dir)
    folder.check_usable()
    paths.check_writable_folder(folder.path, "--run_dir")
    with folder.held():
        if folder.holds_run():
            config = _check_resumable(config, folder)
            finished = folder.read_summary()
            if finished and _is_complete(finished, config):
                print("This run is complete; --run_dir=NEW trains it again.")
                _report(finished, config, folder, argv)
                return
        _train(config, folder, argv)


def _train(
    config: configuration.TrainConfig, folder: RunFolder, argv: list[str]
) -> None:
    # Imported here: TensorFlow and TFF take seconds, mistakes should not.
    from experiments import running

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        result = running.run(config, folder)
    except KeyboardInterrupt as interrupt:
        done = max(folder.checkpoint_rounds(), default=0)
        print(
            f"\nInterrupted; the same command continues after round {done}.",
            file=sys.stderr,
        )
        sys.exit(143 if isinstance(interrupt, _Terminated) else 130)
    print("Done." if result["diverged_in_round"] is None else "Diverged.")
    _report(result, config, folder, argv)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as Ctrl-C does."""

    number = signal.SIGTERM


def _interrupt(number, frame) -> None:
    raise _Terminated


def _check_resumable(
    config: configuration.TrainConfig, folder: RunFolder
) -> configuration.TrainConfig:
    """The configuration, as it was resolved when the run began."""
    if not config.resume:
        raise UsageError(
            f"--noresume, but {folder.path} holds a run: name another "
            "--run_dir or delete the folder."
        )
    before = folder.read_config()["flags"]
    config = config.resolved_as(before)
    changed = configuration.changes(config, before)
    if changed:
        raise UsageError(
            f"{folder.path} holds a run with other settings: "
            f"{', '.join(changed)}; use these again or another --run_dir."
        )
    return config


def _is_complete(summary: dict, config: configuration.TrainConfig) -> bool:
    return bool(
        summary["rounds"] >= config.rounds
        or summary["rounds_to_target"]
        or summary["stopped_by_epsilon"]
    )


def _report(
    summary: dict,
    config: configuration.TrainConfig,
    folder: RunFolder,
    argv: list[str],
) -> None:
    if config.record:
        records.write(config, folder, summary, argv)
    from tff_cnn.training.summary import render

    tensorboard = os.path.join(
        os.path.relpath(os.path.dirname(sys.executable)), "tensorboard"
    )
    print(render(summary, config.run_dir, tensorboard))
    if summary.get("diverged_in_round") is not None:
        sys.exit(1)


def run() -> None:
    """Defines the flags, and runs `main` on them."""
    entry.run(main)


if __name__ == "__main__":
    run()
