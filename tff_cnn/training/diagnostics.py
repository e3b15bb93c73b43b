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
        "attackers",
        # These tell the size of the cohort.
        "examples",
        "bytes_down",
        "bytes_up",
        "bytes_total",
        "seconds",
        "data_wait_seconds",
        # These tell how many examples the slowest has.
        "simulated_seconds",
        "simulated_time",
        "train_loss",
        "train_accuracy",
        "fraction_clipped",
        "mean_update_norm",
        "signal_to_noise",
    }
)
# Below this the noise of all rounds together moves the model at least twice as
# far as the updates of all rounds would if they all pointed into one direction:
# four fifths of how far the model came, squared, are noise. The quickstart,
# which ends at 96 %, has 1.1.
_HOPELESS = 0.5


def is_not_private(row: Row, key: str) -> bool:
    """Whether a value of a private run's row is raw; others promise nothing."""
    is_raw = key in _RAW or key.startswith(("holdout_", "client_", "secure_"))
    return row.get("epsilon") is not None and is_raw


class DiagnosticsHook:
    """Adds to a private run's rows what became of its updates.

    clip_norm         of this round
    fraction_clipped  of the cohort's clients; null where it was empty
    mean_update_norm  norm of the mean of clipped updates, before noise
    noise_stddev      of each coordinate of the mean
    signal_to_noise   mean_update_norm over the norm of the noise

    What an engine does not measure (`Round.measured`) is null.

    Says once where the signal is hopeless: where the norms of mean updates,
    summed over all rounds, are below half the norm of the noise of that sum.
    The rounds to come are taken to be like the mean of those so far, not like
    the last: updates shrink as a model learns, and a late round below its noise
    takes nothing back of what the first ones have moved. What a norm cannot
    tell is how much accuracy the noise costs.
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
        num_parameters: Numbers in an update.
        rounds: That the run is to have.
        rows: Of the rounds before; grows with the run.
        """
        self._mechanism = mechanism
        self._num_parameters = num_parameters
        self._rounds = rounds
        self._rows = rows
        self._is_silent = False
        self._sum_norms = self._sum_variances = 0.0
        self._num_counted = 0
        for row in rows:
            self._count(row)

    def after_round(self, finished: Round) -> None:
        row, mechanism = finished.row, self._mechanism
        clip_norm = mechanism.clip_norm
        if self._rows:
            clip_norm = self._rows[-1].get("next_clip_norm", clip_norm)
        stddev = mechanism.noise_stddev(finished.number, clip_norm)
        row["clip_norm"] = clip_norm
        row["fraction_clipped"] = row["mean_update_norm"] = None
        row["noise_stddev"] = stddev
        row["signal_to_noise"] = None
        measured = finished.measured
        if measured is None:
            return
        norm = measured.sum_norm / mechanism.expected_cohort
        row["mean_update_norm"] = norm
        row["signal_to_noise"] = norm / (stddev * self._num_parameters**0.5)
        self._count(row)
        if measured.num_clients:
            row["fraction_clipped"] = measured.num_clipped / (
                measured.num_clients
            )
            self._notice(row)

    def _count(self, row: Row) -> None:
        """Adds a round to those that the rest is taken to be like."""
        if row["mean_update_norm"] is None:
            return
        gain = self._mechanism.noise_gain(row["round"])
        self._sum_norms += row["mean_update_norm"]
        self._sum_variances += (row["noise_stddev"] / gain) ** 2
        self._num_counted += 1

    def _total_signal_to_noise(self) -> float:
        """Signal to noise of all rounds, judged by those that are done."""
        rounds, mechanism = self._rounds, self._mechanism
        stddev = (self._sum_variances / self._num_counted) ** 0.5
        noise = stddev * self._num_parameters**0.5
        signal = rounds * self._sum_norms / self._num_counted
        return signal / (noise * mechanism.total_noise_gain(rounds))

    def _notice(self, row: Row) -> None:
        total = self._total_signal_to_noise()
        if self._is_silent or total >= _HOPELESS:
            return
        self._is_silent = True
        remedies = ["more clients_per_round", "a smaller model"]
        if row["fraction_clipped"] < 0.1:
            # Noise grows with the clip, and the updates do not fill it.
            remedies.insert(0, "a lower dp_clip_norm (few updates reach it)")
        tqdm.tqdm.write(  # Beside the progress bar, not into it.
            f"note: by round {row['round']} the updates of {self._rounds} "
            f"rounds promise to move the model by at most {total:.2g} of what "
            "their noise does: the model will be mostly noise; use "
            f"{', '.join(remedies)} or a larger epsilon.",
            file=sys.stderr,
        )
