import sys

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from tff_cnn.core.errors import UsageError
from tff_cnn.evaluation import membership
from tff_cnn.evaluation.membership import Predictions, Scores

SUITE = "tensorflow_privacy.privacy.privacy_tests"


def normal_scores(shift, members=3000, others=2000, seed=0):
    rng = np.random.default_rng(seed)
    return Scores(rng.normal(shift, 1, members), rng.normal(0, 1, others))


def labelled(scores):
    labels = np.repeat([1, 0], [len(scores.members), len(scores.others)])
    return labels, np.concatenate([scores.members, scores.others])


@pytest.mark.parametrize("digits", [8, 1])  # With one there are many ties.
def test_auc_and_roc_are_scikit_learns(digits):
    scores = normal_scores(0.4)
    scores = Scores(scores.members.round(digits), scores.others.round(digits))
    labels, values = labelled(scores)
    leak = membership.measure(scores, seed=0)
    assert leak.auc == pytest.approx(metrics.roc_auc_score(labels, values))
    fpr, tpr = membership.roc(scores)
    expected = metrics.roc_curve(labels, values, drop_intermediate=False)
    np.testing.assert_allclose(fpr, expected[0])
    np.testing.assert_allclose(tpr, expected[1])
    assert leak.largest_advantage == pytest.approx((tpr - fpr).max())


def test_a_leak_of_known_size():
    """Between N(s, 1) and N(0, 1) AUC and advantage are closed forms."""
    shift = 0.8
    auc = stats.norm.cdf(shift / 2**0.5)
    advantage = 2 * stats.norm.cdf(shift / 2) - 1
    leak = membership.measure(normal_scores(shift, seed=1), seed=0)
    assert leak.auc_interval[0] < auc < leak.auc_interval[1]
    assert leak.advantage_interval[0] < advantage < leak.advantage_interval[1]
    assert leak.auc == pytest.approx(auc, abs=0.02)
    assert leak.advantage == pytest.approx(advantage, abs=0.04)
    # As wide as the theory of each says.
    width = np.diff(leak.auc_interval)[0] / (2 * 1.96)
    assert width == pytest.approx(0.0072, rel=0.15)
    hits = [stats.norm.cdf(shift / 2), stats.norm.sf(shift / 2)]
    variances = [h * (1 - h) / n for h, n in zip(hits, (3000, 2000))]  # noqa: B905
    width = np.diff(leak.advantage_interval)[0] / (2 * 1.96)
    assert width == pytest.approx(np.sqrt(sum(variances)), rel=0.15)


def test_no_leak_is_found_where_there_is_none():
    leaks = [
        membership.measure(normal_scores(0.0, 300, 200, seed), seed)
        for seed in range(12)
    ]
    for name, chance in (("auc", 0.5), ("advantage", 0.0)):
        intervals = [getattr(leak, f"{name}_interval") for leak in leaks]
        covered = [low <= chance <= high for low, high in intervals]
        assert sum(covered) >= 9, name
    assert abs(np.mean([leak.advantage for leak in leaks])) < 0.04
    # The best threshold in hindsight always finds some.
    assert np.mean([leak.largest_advantage for leak in leaks]) > 0.03


def test_all_that_there_is_to_find():
    leak = membership.measure(Scores(np.ones(50), np.zeros(40)), seed=0)
    assert (leak.auc, leak.advantage, leak.largest_advantage) == (1, 1, 1)
    assert leak.auc_interval == leak.advantage_interval == (1, 1)


def test_without_the_suite_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, SUITE, None)
    for name in [n for n in sys.modules if n.startswith(f"{SUITE}.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UsageError, match="install.sh audit"):
        membership.load_suite()


@pytest.fixture
def suite():
    return membership.load_suite()


def predictions(count, confidence, seed):
    """Logits of noise, and so much more for the true class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, count)
    logits = rng.normal(size=(count, 5))
    logits[np.arange(count), labels] += confidence
    return Predictions(logits, labels)


@pytest.mark.usefixtures("suite")
def test_every_attack_finds_confidence_in_members():
    found = membership.attack(
        predictions(400, 4.0, 0), predictions(200, 1.0, 1), seed=0
    )
    assert list(found) == list(membership.ATTACKS)
    assert len(found["loss"].members) == 400
    for name, scores in found.items():
        assert len(scores.others) == 200
        leak = membership.measure(scores, seed=0)
        assert leak.auc > 0.7, name
        assert leak.advantage_interval[0] > 0.2, name


@pytest.mark.usefixtures("suite")
def test_no_attack_finds_what_is_not_there():
    """Also where there are far more members than others."""
    state = np.random.get_state()[1].copy()
    found = [
        membership.attack(
            predictions(1500, 2.0, seed), predictions(200, 2.0, 99 + seed), seed
        )
        for seed in range(6)
    ]
    for name in membership.ATTACKS:
        leaks = [membership.measure(one[name], seed=0) for one in found]
        assert np.mean([leak.auc for leak in leaks]) == pytest.approx(
            0.5, abs=0.035
        )
        assert abs(np.mean([leak.advantage for leak in leaks])) < 0.06
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.usefixtures("suite")
def test_attacks_repeat():
    arguments = predictions(300, 2.0, 0), predictions(200, 1.0, 1)
    one, other = (membership.attack(*arguments, seed=3) for _ in range(2))
    for name in membership.ATTACKS:
        np.testing.assert_array_equal(one[name].members, other[name].members)


@pytest.mark.usefixtures("suite")
def test_the_loss_attack_scores_by_the_loss():
    one, other = predictions(30, 2.0, 0), predictions(20, 1.0, 1)
    found = membership.attack(one, other, seed=0)["loss"]
    for scores, of in ((found.members, one), (found.others, other)):
        shifted = of.logits - of.logits.max(axis=1, keepdims=True)
        log_sums = np.log(np.exp(shifted).sum(axis=1))
        expected = shifted[np.arange(len(of.labels)), of.labels] - log_sums
        np.testing.assert_allclose(scores, expected, rtol=1e-6)
