import io
import sys
import types

import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.training.summary_test import LEDGER, summarize
from tff_cnn.core.errors import UsageError
from tff_cnn.training.result import Metrics, Privacy, Result

PRIVATE = summarize((0.2, 0.8), 0.7, LEDGER)
PLAIN = summarize((0.2, 0.8))


def rows():
    return [
        {
            "round": number,
            "train_loss": 1.0,
            "train_accuracy": 0.5,
            "test_loss": 1.0,
            "test_accuracy": 0.5,
            "epsilon": None,
            "delta": None,
        }
        for number in (1, 2)
    ]


def a_result(run_dir=None, summary=PLAIN):
    return Result(
        None, Metrics(rows()), Privacy(summary), summary, run_dir, "a run"
    )


def test_metrics_are_rows_and_a_table():
    metrics = Metrics(rows())
    assert metrics == rows() and metrics[1]["round"] == 2
    table = metrics.to_pandas()
    assert list(table.index) == [1, 2]
    assert table.loc[2, "test_accuracy"] == 0.5
    assert "round" in metrics[0]


def test_without_pandas_it_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pandas is not installed"):
        Metrics(rows()).to_pandas()


def test_privacy_says_what_the_summary_says():
    privacy = Privacy(PRIVATE)
    assert privacy.is_private
    assert str(privacy) == PRIVATE["privacy"]["guarantee"]
    assert dict(privacy) == PRIVATE["privacy"]
    assert privacy["epsilon"] == PRIVATE["epsilon"] and "unit" in privacy
    assert privacy.card.startswith("# Privacy card")


def test_without_noise_nothing_is_promised():
    privacy = Privacy(PLAIN)
    assert not privacy.is_private
    assert str(privacy).startswith("none: the model was trained without")
    assert privacy["epsilon"] is None and privacy["delta"] is None
    assert "unit" not in privacy
    assert "There is no guarantee" in privacy.card


def test_noise_that_is_known_is_not_private():
    known = summarize((0.2, 0.8), 0.7, LEDGER, det=True)
    assert not Privacy(known).is_private
    assert "NOT PRIVATE" in str(Privacy(known))


def test_a_result_tells_what_a_person_sees_at_the_end():
    text = repr(a_result())
    assert text.startswith("a run\n") and "80.00%" in text
    assert "run folder" not in text and "TensorBoard" not in text
    assert "run folder          runs/x" in repr(a_result("runs/x"))


def test_curves_are_a_figure_where_there_is_no_notebook():
    assert isinstance(a_result().show(), Figure)


@pytest.fixture
def shown(monkeypatch):
    """What was displayed in a notebook that is pretended."""
    found = []
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    ipython.display = types.SimpleNamespace(
        display=found.append, Image=lambda data, retina: data
    )
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    return found


def test_curves_are_shown_in_a_notebook(shown):
    assert a_result().show() is None
    (png,) = shown
    picture = Image.open(io.BytesIO(png))
    assert picture.width == pytest.approx(2 * 4.2 * 130, abs=2)
