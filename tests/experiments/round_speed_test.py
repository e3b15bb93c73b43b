"""The benchmark runs and writes what it promises; speeds are not judged."""

import json

import pytest

from tests import processes

MODULE = "experiments.benchmarks.round_speed"


def test_writes_figures_of_each_runtime(tmp_path):
    path = tmp_path / "out.json"
    result = processes.call(
        MODULE,
        "--job=small_cnn_round",
        "--runtimes=in_process,ceiling,native_tuned",
        "--rounds=5",
        f"--json={path}",
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads(path.read_text())
    assert figures["job"] == "small_cnn_round"
    assert list(figures["runtimes"]) == [
        "in_process",
        "ceiling",
        "native_tuned",
    ]
    for figure in figures["runtimes"].values():
        assert len(figure["seconds"]) == 5
        assert figure["examples_per_second"] == pytest.approx(
            20 * figure["clients_per_second"]
        )
        assert figure["peak_rss_mb"] > 100
    assert "clients/s" in result.stdout


def test_mistakes_are_one_sentence():
    for flag, hint in (
        ("--job=small_cnn", "small_cnn_round"),
        ("--runtimes=natve", "native"),
    ):
        result = processes.call(MODULE, flag)
        assert result.returncode == 2
        assert hint in result.stderr and result.stderr.count("\n") == 1
