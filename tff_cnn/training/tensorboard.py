"""The scalars of metrics.jsonl for TensorBoard, and histograms of clients."""

import pathlib
import shutil

import tensorflow as tf

from tff_cnn.training.diagnostics import NOT_PRIVATE, is_not_private
from tff_cnn.training.loop import Round, Row

# TensorBoard groups tags by what stands before the slash.
_TAGS = {
    "train_loss": "train/loss",
    "train_accuracy": "train/accuracy",
    "epsilon": "privacy/epsilon",
    "local_update_epsilon": "privacy/local_update_epsilon",
    "local_epsilon": "privacy/local_epsilon",
    "next_clip_norm": "privacy/next_clip_norm",
    "dp_cohort_accuracy": "privacy/cohort_accuracy",
    "clip_norm": "privacy/clip_norm",
    "noise_stddev": "privacy/noise_stddev",
    "fraction_clipped": "clients/fraction_clipped",
    "mean_update_norm": "clients/mean_update_norm",
    "signal_to_noise": "clients/signal_to_noise",
    "cohort_size": "clients/cohort_size",
    "clients_excluded": "clients/excluded",
    "attackers": "clients/attackers",
    "bytes_down": "communication/bytes_down",
    "bytes_up": "communication/bytes_up",
    "bytes_total": "communication/bytes_total",
    "seconds": "time/seconds",
    "data_wait_seconds": "time/data_wait_seconds",
}
# Of evaluations: what they are of stands before the first underscore.
_EVALUATED = ("test_", "holdout_")


class TensorBoardWriter:
    """Hook: writes each round's row. The step is the round.

    And histograms of what it knows of each of several clients, of which no row
    tells: those of rounds before an interruption are not there again.
    """

    def __init__(self, folder: pathlib.Path, rows: list[Row]):
        """Args:
        folder: Emptied first, so that a resumed run shows each round once.
        rows: Of the rounds before; written again.
        """
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = tf.summary.create_file_writer(str(folder))
        for row in rows:
            self._write(row)

    def after_round(self, finished: Round) -> None:
        self._write(finished.row)
        self._write_histograms(finished)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _write(self, row: Row) -> None:
        with self._writer.as_default(step=row["round"]):
            for key, value in row.items():
                tag = _tag(key)
                if tag is None or value is None:
                    continue
                if is_not_private(row, key):
                    tag = f"{NOT_PRIVATE}/{key}"
                tf.summary.scalar(tag, value)

    def _write_histograms(self, finished: Round) -> None:
        with self._writer.as_default(step=finished.number):
            for key, values in finished.distributions.items():
                is_raw = is_not_private(finished.row, key)
                tag = f"{NOT_PRIVATE}/{key}" if is_raw else _tag(key)
                tf.summary.histogram(tag, values)


def _tag(key: str) -> str | None:
    if key.startswith(_EVALUATED):
        return key.replace("_", "/", 1)
    if key.startswith("client_"):
        return key.replace("client_", "clients/", 1)
    return _TAGS.get(key)
