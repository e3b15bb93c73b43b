"""Membership inference: was this example trained on?

The attacks are those of Google's suite, which comes with tensorflow-privacy
but not in its wheel: it is the extra `audit`. Each gives every example a score
that is higher where it takes it for a member:

    loss      -cross-entropy (Yeom et al. 2018); the same order as the
              confidence in the true class
    entropy   -entropy of the predicted classes (Song & Mittal 2021): confidence
              without the label
    logistic  a logistic regression on logits and loss, trained on one half of
              the examples and applied to the other (Shokri et al. 2017)

What the scores say is computed here. AUC is the chance that a member scores
above a non-member. Advantage is TPR - FPR at the best threshold; one that is
chosen on the examples it is measured on shows an advantage where there is none
(of about 1 / sqrt(examples)), so it is chosen on one half and measured on the
other, both ways.
"""

import contextlib
import dataclasses
import types
import warnings
from collections.abc import Iterator

import joblib
import numpy as np

from tff_cnn.core.errors import UsageError

# Name -> member of the suite's AttackType.
ATTACKS = {
    "loss": "THRESHOLD_ATTACK",
    "entropy": "THRESHOLD_ENTROPY_ATTACK",
    "logistic": "LOGISTIC_REGRESSION",
}
_TRAINED = ("logistic",)
_RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Predictions:
    """A model's, on some examples.

    Attributes:
      logits: float, [n, num_classes].
      labels: The true classes, int, [n].
    """

    logits: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Scores:
    """An attack's: higher is more likely a member.

    Attributes:
      members: float, [n].
      others: float, [m].
    """

    members: np.ndarray
    others: np.ndarray


@dataclasses.dataclass(frozen=True)
class Leak:
    """What an attack finds out; intervals are (lower, upper).

    Attributes:
      auc: In [0, 1]; 1/2 is chance.
      auc_interval: From a bootstrap over examples.
      advantage: In [-1, 1]; 0 is chance.
      advantage_interval: From a bootstrap over examples, thresholds fixed.
      largest_advantage: At the threshold that is best on these very examples.
    """

    auc: float
    auc_interval: tuple[float, float]
    advantage: float
    advantage_interval: tuple[float, float]
    largest_advantage: float


def load_suite() -> types.SimpleNamespace:
    """The parts of the attack suite that are used.

    Raises:
      UsageError: It is not installed.
    """
    import sklearn.utils

    # Where the suite, of 2023, looks for it; scikit-learn 1.5 dropped it.
    if not hasattr(sklearn.utils, "parallel_backend"):
        sklearn.utils.parallel_backend = joblib.parallel_backend
    try:
        from tensorflow_privacy.privacy.privacy_tests.membership_inference_attack import (  # noqa: E501
            data_structures,
            membership_inference_attack,
        )
    except ImportError as error:
        raise UsageError(
            "the attack suite tensorflow-empirical-privacy is not installed "
            f"({error}): run bash .requirements/install.sh audit."
        ) from error
    return types.SimpleNamespace(
        inputs=data_structures.AttackInputData,
        types=data_structures.AttackType,
        run=membership_inference_attack.run_attacks,
    )


def attack(
    members: Predictions, others: Predictions, seed: int
) -> dict[str, Scores]:
    """Runs all of `ATTACKS`.

    Args:
      members: On examples that were trained on, at least two.
      others: On examples that were not, at least two.
      seed: Of the logistic attack's halves.

    Returns:
      Attack -> scores, in no order. The logistic attack's are of as many
      members as non-members.

    Raises:
      UsageError: The suite is not installed.
    """
    suite = load_suite()
    rng = np.random.default_rng(seed)
    found = {}
    for name, kind in ATTACKS.items():
        pair = members, others
        if name in _TRAINED:
            # The suite leaves out what one side has more of, and has it scored
            # by one of its two classifiers: scores would differ by side.
            size = min(len(members.labels), len(others.labels))
            pair = [_draw(predictions, size, rng) for predictions in pair]
        with _quiet(seed):
            (result,) = suite.run(
                _inputs(suite, *pair), attack_types=[suite.types[kind]]
            ).single_attack_results
        found[name] = Scores(
            np.asarray(result.membership_scores_train, float),
            np.asarray(result.membership_scores_test, float),
        )
    return found


def _draw(predictions: Predictions, size: int, rng) -> Predictions:
    rows = rng.permutation(len(predictions.labels))[:size]
    return Predictions(predictions.logits[rows], predictions.labels[rows])


def _inputs(suite, members: Predictions, others: Predictions):
    return suite.inputs(
        logits_train=members.logits.astype(np.float64),
        logits_test=others.logits.astype(np.float64),
        labels_train=members.labels,
        labels_test=others.labels,
    )


def measure(scores: Scores, seed: int, level: float = 0.95) -> Leak:
    """AUC and advantage of an attack, with intervals of `level`.

    `seed` is that of halves and bootstrap. An interval is for the chance in
    which examples were drawn; the model is the one that there is.
    """
    rng = np.random.default_rng(seed)
    counts = _counts(scores)
    aucs = [
        _auc(np.stack([_resample(part, rng) for part in counts]))
        for _ in range(_RESAMPLES)
    ]
    false_rates, true_rates = roc(scores)
    advantage, advantages = _advantage(scores, rng)
    tails = [(1 - level) / 2, (1 + level) / 2]
    return Leak(
        auc=_auc(counts),
        auc_interval=tuple(map(float, np.quantile(aucs, tails))),
        advantage=advantage,
        advantage_interval=tuple(map(float, np.quantile(advantages, tails))),
        largest_advantage=float((true_rates - false_rates).max()),
    )


def roc(scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates, from (0, 0) to (1, 1)."""
    counts = _counts(scores)[:, ::-1]  # The highest scores first.
    rates = counts.cumsum(axis=1) / counts.sum(axis=1, keepdims=True)
    true_rates, false_rates = np.pad(rates, [(0, 0), (1, 0)])
    return false_rates, true_rates


def _counts(scores: Scores) -> np.ndarray:
    """Members and others at each score, [2, different scores], ascending."""
    both = np.concatenate([scores.members, scores.others])
    values, index = np.unique(both, return_inverse=True)
    split = len(scores.members)
    return np.stack(
        [
            np.bincount(part, minlength=len(values))
            for part in (index[:split], index[split:])
        ]
    )


def _auc(counts: np.ndarray) -> float:
    """A member above a non-member counts 1, a tie 1/2."""
    members, others = counts.astype(float)
    below = others.cumsum() - others / 2
    return float(members @ below / (members.sum() * others.sum()))


def _resample(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.multinomial(counts.sum(), counts / counts.sum())


def _advantage(
    scores: Scores, rng: np.random.Generator
) -> tuple[float, np.ndarray]:
    """The mean over both ways to use the halves, and resamples of it."""
    halves = [_halves(part, rng) for part in (scores.members, scores.others)]
    found, resampled = 0.0, np.zeros(_RESAMPLES)
    for chosen_on, measured_on in ((0, 1), (1, 0)):
        threshold = _best_threshold(
            Scores(halves[0][chosen_on], halves[1][chosen_on])
        )
        for sign, half in ((1, halves[0]), (-1, halves[1])):
            hits = half[measured_on] >= threshold
            found += sign * hits.mean() / 2
            drawn = rng.binomial(hits.size, hits.mean(), _RESAMPLES)
            resampled += sign * drawn / hits.size / 2
    return float(found), resampled


def _halves(values: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray]:
    shuffled = rng.permutation(values)
    return shuffled[::2], shuffled[1::2]


def _best_threshold(scores: Scores) -> float:
    """At which, and above, taking all for members gains most."""
    counts = _counts(scores)[:, ::-1]
    rates = counts.cumsum(axis=1) / counts.sum(axis=1, keepdims=True)
    both = np.concatenate([scores.members, scores.others])
    return float(np.unique(both)[::-1][np.argmax(rates[0] - rates[1])])


@contextlib.contextmanager
def _quiet(seed: int) -> Iterator[None]:
    """Seeds the global generator of NumPy, which the suite draws from.

    It is left as it was. The suite also warns, of bounds that it computes where
    no example is left, and of a logistic regression that is not exact.
    """
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)
