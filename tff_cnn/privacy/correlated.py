"""Frozen descriptions of mechanisms whose noise is correlated over rounds.

The noise of one round partly cancels that of earlier ones, so that running
totals, which is what models are, are less noisy than with fresh noise at the
same cost. In exchange the accounting cannot use that cohorts are secret: it
needs a bound on how often and how close in time a client takes part, and the
guarantee is for zeroing out a client (`participation.Neighbours`).

Whatever is released in R rounds is a function of C x + z, a single Gaussian
mechanism, whose event is that of its noise over its sensitivity
(`tff_cnn.privacy.factorization`).
"""

import dataclasses
import functools
import math

import dp_accounting
import numpy as np

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import factorization
from tff_cnn.privacy.mechanism import CentralMechanism


@dataclasses.dataclass(frozen=True)
class CorrelatedMechanism(CentralMechanism):
    """What mechanisms with correlated noise have in common.

    `noise_multiplier` is that of the independent noise z over `clip_norm`;
    what it costs depends on the sensitivity of C.
    """

    name = ""  # In the registry.

    def __post_init__(self):
        super().__post_init__()
        _ = self.separation

    @property
    def separation(self) -> int:
        """Rounds between two participations of a client, at least."""
        return self.participation.fixed_separation(self.name)

    def squared_sensitivity(self, rounds: int) -> float:
        """Squared sensitivity of C over the first `rounds` rounds, clip 1."""
        raise NotImplementedError

    def zcdp(self, rounds: int) -> float:
        """rho of zero-concentrated privacy (Bun & Steinke 2016)."""
        rho = self.squared_sensitivity(rounds) / (2 * self.noise_multiplier**2)
        if self.metric_noise_multiplier is not None:
            # Fresh noise, once for each participation.
            count = self.participation.max_participations(rounds)
            rho += count / (2 * self.metric_noise_multiplier**2)
        return rho

    def event_after(self, rounds: int) -> dp_accounting.DpEvent:
        return dp_accounting.GaussianDpEvent((2 * self.zcdp(rounds)) ** -0.5)


@dataclasses.dataclass(frozen=True)
class TreeAggregation(CorrelatedMechanism):
    """DP-FTRL (Kairouz et al. 2021, Algorithm 1 and appendix D).

    The total of the first t rounds has the noise of the binary tree's nodes
    that make up [1, t], in Honaker's (2015) variant that also uses the nodes
    below them. An update is in one node of each level.

    Attributes:
      single_tree: Whether one tree serves all rounds (DP-FTRL-NoTreeRestart);
        else a new one is begun with each epoch, so that a client is in each
        tree once (DP-FTRL-TreeRestart).
    """

    single_tree: bool = False

    name = "tree"

    def __post_init__(self):
        super().__post_init__()
        sampling = self.participation.sampling
        if not self.single_tree and sampling != "shuffled_epochs":
            raise UsageError(
                f"<sampling>={sampling} has no epochs to restart the tree "
                "with: use <sampling>=shuffled_epochs, or <dp.single_tree>."
            )

    @property
    def restart_period(self) -> int | None:
        """Rounds of a tree; None where it is never restarted."""
        if self.single_tree:
            return None
        return self.participation.rounds_per_epoch

    def squared_sensitivity(self, rounds: int) -> float:
        if self.single_tree:
            return tree_squared_sensitivity(
                rounds,
                self.separation,
                self.participation.max_participations(rounds),
            )
        whole, rest = divmod(rounds, self.restart_period)
        squared = whole * _tree_levels(self.restart_period)
        return float(squared + (_tree_levels(rest) if rest else 0))

    def total_noise_gain(self, rounds: int) -> float:
        """Total noise is one node for each bit of the rounds in each tree."""
        trees = [rounds]
        if not self.single_tree:
            whole, rest = divmod(rounds, self.restart_period)
            trees = [self.restart_period] * whole + [rest]
        return math.sqrt(
            sum(
                1 / _node_variance_divisor(level)
                for tree in trees
                for level in range(tree.bit_length())
                if tree >> level & 1
            )
        )

    def noise_gain(self, round_num: int) -> float:
        """A round's noise is the difference between two totals' noises.

        Round t adds a node, at the level of the lowest bit of t, and drops
        those below it, which it is correlated with.
        """
        if not self.single_tree:
            round_num = (round_num - 1) % self.restart_period + 1
        level = (round_num & -round_num).bit_length() - 1
        u = _node_variance_divisor
        dropped = sum(
            1 / u(d) - 2 * 2.0 ** (d - level) / u(level) for d in range(level)
        )
        return math.sqrt(1 / u(level) + dropped)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BandedMatrixFactorization(CorrelatedMechanism):
    """Banded C (Choquette-Choo et al. 2023b; Toeplitz as in McKenna 2024).

    Attributes:
      rounds: That C is the best for; a run may be shorter or longer.
      bands: Rounds over which noise is correlated, in [1, separation]; 1 is
        independent noise. The aggregator keeps bands - 1 copies of the model.
        None becomes the most there can be, and no more than `rounds`.
    """

    rounds: int
    bands: int | None = None

    name = "banded"

    def __post_init__(self):
        super().__post_init__()
        if self.bands is None:
            bands = min(self.separation, self.rounds)
            object.__setattr__(self, "bands", bands)
        if not 1 <= self.bands <= self.separation:
            raise UsageError(
                f"<dp.bands>={self.bands} must be between 1 and the rounds "
                "between two participations of a client, "
                f"{self.separation}: with more, its updates would share noise."
            )

    @functools.cached_property
    def column(self) -> np.ndarray:
        """First column of C; float64, shape [bands], unit norm."""
        bands = min(self.bands, self.rounds)
        return np.array(factorization.banded_column(self.rounds, bands))

    def squared_sensitivity(self, rounds: int) -> float:
        return factorization.squared_sensitivity(
            self.column,
            rounds,
            self.separation,
            self.participation.max_participations(rounds),
        )

    def noise_gain(self, round_num: int) -> float:
        row = factorization.inverse_column(self.column, round_num)
        return float(np.linalg.norm(row))

    def total_noise_gain(self, rounds: int) -> float:
        row = factorization.inverse_column(self.column, rounds)
        return float(np.linalg.norm(np.cumsum(row)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class BltMatrixFactorization(CorrelatedMechanism):
    """Buffered linear Toeplitz C (McMahan et al. 2024).

    Nearly as good as bands, and the aggregator keeps only `buffers` copies of
    the model.

    Attributes:
      rounds: That C is the best for; a run may be shorter or longer.
      buffers: In [1, 10]; 2 to 4 is what the paper uses.
    """

    rounds: int
    buffers: int

    name = "blt"

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.buffers <= 10:
            raise UsageError(
                f"<dp.buffers>={self.buffers} must be between 1 and 10: more "
                "do not lower the noise."
            )

    @functools.cached_property
    def parameters(self) -> tuple[np.ndarray, np.ndarray]:
        """(decays, scales) of the series before it is given unit norm."""
        decays, scales = factorization.blt_parameters(
            self.rounds,
            self.buffers,
            min(self.separation, self.rounds),
            self.participation.max_participations(self.rounds),
        )
        return np.array(decays), np.array(scales)

    @functools.cached_property
    def first_entry(self) -> float:
        """c[0], so that the first `rounds` entries have unit norm."""
        column = factorization.blt_column(*self.parameters, self.rounds)
        return float(1 / np.linalg.norm(column))

    def column(self, rounds: int) -> np.ndarray:
        """First `rounds` entries of the first column of C."""
        return self.first_entry * factorization.blt_column(
            *self.parameters, rounds
        )

    def squared_sensitivity(self, rounds: int) -> float:
        return factorization.squared_sensitivity(
            self.column(rounds),
            rounds,
            self.separation,
            self.participation.max_participations(rounds),
        )

    def noise_gain(self, round_num: int) -> float:
        row = factorization.inverse_column(self.column(round_num), round_num)
        return float(np.linalg.norm(row))

    def total_noise_gain(self, rounds: int) -> float:
        row = factorization.inverse_column(self.column(rounds), rounds)
        return float(np.linalg.norm(np.cumsum(row)))


@dataclasses.dataclass(frozen=True)
class ReleaseNoise(CorrelatedMechanism):
    """Fresh noise on every released model, and none on the updates.

    Release t is the sum of the mean updates of rounds 1 to t (what server SGD
    with rate 1 adds to the initial model) plus independent noise: C = A. An
    update is in all later releases, so one participation in the first of R
    rounds moves them by sqrt(R) times its norm, and that is what it costs.
    With another server optimizer the models are functions of these releases.

    On top of noise at aggregation this would be post-processing, which lowers
    no epsilon.
    """

    name = "release"
    stage = "release"

    def squared_sensitivity(self, rounds: int) -> float:
        return factorization.squared_sensitivity(
            np.ones(rounds),
            rounds,
            self.separation,
            self.participation.max_participations(rounds),
        )

    def noise_gain(self, round_num: int) -> float:
        """A round's is the difference between two releases' noises."""
        return 1.0 if round_num == 1 else math.sqrt(2)

    def total_noise_gain(self, rounds: int) -> float:
        return 1.0


def _node_variance_divisor(level: int) -> float:
    """By which the nodes below lower a node's variance (Honaker 2015)."""
    return 2 - 2.0**-level


def _tree_levels(leaves: int) -> int:
    """Nodes above and including a leaf, of those that ever become complete."""
    return leaves.bit_length()


def tree_squared_sensitivity(
    rounds: int, separation: int, participations: int
) -> float:
    """Of one tree over `rounds` rounds, for updates of norm 1, from above.

    A node of 2^d rounds holds at most n = ceil(2^d / separation) of a client's
    updates and then moves by at most n. On each level the sum of squares is
    largest where as few nodes as possible hold them all; that no pattern need
    be the worst on all levels at once makes this an upper bound. Kairouz et
    al. 2021, appendix D.2, find the maximum by dynamic programming, which
    takes too long for thousands of rounds (tests/privacy/correlated_test.py
    compares the two).
    """
    total = 0
    for level in range(rounds.bit_length()):
        most = min(participations, math.ceil(2**level / separation))
        full, rest = divmod(participations, most)
        total += full * most**2 + rest**2
    return float(total)
