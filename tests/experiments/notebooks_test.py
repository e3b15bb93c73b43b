"""Notebooks run from top to bottom, on what `tff_cnn` exports alone.

Their cells are executed here in the order in which they stand, without Jupyter,
which the tests need not have installed.
"""

import ast
import json
import pathlib

import matplotlib.pyplot as plt
import pytest

import tff_cnn
from tests.processes import ROOT

NOTEBOOKS = sorted((ROOT / "experiments" / "notebooks").glob("*.ipynb"))


def cells(path: pathlib.Path, kind: str) -> list[dict]:
    found = json.loads(path.read_text())["cells"]
    return [cell for cell in found if cell["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def test_the_first_notebook_is_there():
    assert "first_federated_round" in [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    for cell in cells(path, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_only_the_public_names_are_used(path):
    for cell in cells(path, "code"):
        for node in ast.walk(ast.parse(source(cell))):
            if isinstance(node, ast.ImportFrom):
                assert not node.module.startswith("tff_cnn")
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
                assert not [n for n in names if n.startswith("tff_cnn.")]
            if not isinstance(node, ast.Attribute):
                continue
            assert not node.attr.startswith("_")
            if isinstance(node.value, ast.Name) and node.value.id == "tff_cnn":
                assert node.attr in tff_cnn.__all__


@pytest.fixture
def first_federated_round(tmp_path, monkeypatch):
    """The names that the notebook has defined at its end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)  # There is no display.
    path = ROOT / "experiments" / "notebooks" / "first_federated_round.ipynb"
    scope = {"__name__": "__main__"}
    for cell in cells(path, "code"):
        exec(compile(source(cell), cell["id"], "exec"), scope)
    plt.close("all")
    assert list(tmp_path.iterdir()) == []
    return scope


def test_first_federated_round(first_federated_round, capfd):
    found = first_federated_round
    result = found["result"]
    assert result.privacy.is_private
    assert result.privacy["epsilon"] == pytest.approx(8, abs=0.01)
    assert len(result.metrics) == found["config"].rounds
    assert found["accuracy"] > 0.8
    assert found["accuracy"] == pytest.approx(result.summary["test_accuracy"])
    assert len(found["predicted"]) == 8
    titles = [axis.get_title() for axis in result.figure().axes]
    assert titles == ["accuracy", "loss", "epsilon"]
