"""How much of a private run's rounds is signal, and which metrics are raw."""

import sys

import tqdm

from tff_cnn.privacy.mechanism import CentralMechanism
from tff_cnn.training.loop import Round, Row

# How metrics are labelled that come from clients' raw data.
NOT_PRIVATE = "not private, simulation only"
_RAW = frozenset(
    {
        "cohort_size",
        "clients_excluded",
        # These tell the size of the cohort.
        "examples",
        "bytes_down",
        "bytes_up",
        "seconds",
        "train_loss",
        "train_accuracy",
        "fraction_clipped",
        "mean_update_norm",
        "signal_to_noise",
    }
)
# Below this the noise of all rounds together outweighs the updates of all
# rounds, even if they all pointed into one direction.
_HOPELESS = 1.0


def is_not_private(row: Row, key: str) -> bool:
    """Whether a value of a private run's row is raw; others promise nothing."""
    return row.get("epsilon") is not None and key in _RAW


class DiagnosticsHook:
    """Adds to a private run's rows what became of its updates.

    clip_norm         of this round
    fraction_clipped  of the cohort's clients; null where it was empty
    mean_update_norm  norm of the mean of clipped updates, before noise
    noise_stddev      of each coordinate of the mean
    signal_to_noise   mean_update_norm over the norm of the noise

    Says once where the signal is hopeless: where its sum over all rounds, as
    if they all pointed into one direction, is below the noise of that sum.
    """

    def __init__(
        self,
        mechanism: CentralMechanism,
        num_parameters: int,
        rounds: int,
        rows: list[Row],
    ):
        """Args:
        mechanism: That of the aggregator.
        num_parameters: Trainable ones.
        rounds: That the run is to have.
        rows: Of the rounds before; grows with the run.
        """
        self._mechanism = mechanism
        self._num_parameters = num_parameters
        self._rounds = rounds
        self._rows = rows
        self._is_silent = False

    def after_round(self, finished: Round) -> None:
        row, mechanism = finished.row, self._mechanism
        measured = finished.metrics["aggregator"]["dp"]
        num_clients = float(measured["num_clients"])
        clip_norm = mechanism.clip_norm
        if self._rows:
            clip_norm = self._rows[-1].get("next_clip_norm", clip_norm)
        stddev = mechanism.noise_stddev(finished.number, clip_norm)
        norm = float(measured["sum_norm"]) / mechanism.expected_cohort
        row["clip_norm"] = clip_norm
        row["fraction_clipped"] = None
        if num_clients:
            row["fraction_clipped"] = float(measured["num_clipped"]) / (
                num_clients
            )
        row["mean_update_norm"] = norm
        row["noise_stddev"] = stddev
        row["signal_to_noise"] = norm / (stddev * self._num_parameters**0.5)
        if num_clients:
            self._notice(row)

    def _notice(self, row: Row) -> None:
        mechanism = self._mechanism
        fresh = row["signal_to_noise"] * mechanism.noise_gain(row["round"])
        total = fresh * self._rounds / mechanism.total_noise_gain(self._rounds)
        if self._is_silent or total >= _HOPELESS:
            return
        self._is_silent = True
        remedies = ["more --clients_per_round", "a smaller --model"]
        if row["fraction_clipped"] < 0.1:
            # Noise grows with the clip, and the updates do not fill it.
            remedies.insert(0, "a lower --dp_clip_norm (few updates reach it)")
        tqdm.tqdm.write(  # Beside the progress bar, not into it.
            f"note: in round {row['round']} the mean update's norm is "
            f"{row['signal_to_noise']:.2g} of its noise's, and over "
            f"{self._rounds} rounds at most {total:.2g}: the model will be "
            f"mostly noise; use {', '.join(remedies)} or a larger epsilon.",
            file=sys.stderr,
        )
