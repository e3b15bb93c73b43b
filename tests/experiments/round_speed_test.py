"""The benchmark runs and writes what it promises; speeds are not judged."""

import dataclasses
import json

import pytest

from experiments.benchmarks import contenders
from tests import processes

MODULE = "experiments.benchmarks.round_speed"


def test_writes_figures_of_each_runtime(tmp_path):
    path = tmp_path / "out.json"
    result = processes.call(
        MODULE,
        "--job=small_cnn_round",
        "--runtimes=in_process,ceiling",
        "--rounds=5",
        f"--json={path}",
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads(path.read_text())
    assert figures["job"] == "small_cnn_round"
    assert list(figures["runtimes"]) == ["in_process", "ceiling"]
    for figure in figures["runtimes"].values():
        assert len(figure["seconds"]) == 5
        assert figure["examples_per_second"] == pytest.approx(
            20 * figure["clients_per_second"]
        )
        assert figure["peak_rss_mb"] > 100
    assert "clients/s" in result.stdout


@pytest.mark.parametrize("name", contenders.CONTENDERS)
def test_each_contender_trains_a_round(name):
    job = dataclasses.replace(
        contenders.JOBS["small_cnn_round"], num_clients=2, examples_per_client=4
    )
    with contenders.CONTENDERS[name](job) as one_round:
        one_round()
        assert (getattr(one_round, "seconds", None) or 0) > 0 or (
            name != "ceiling"
        )


def test_mistakes_are_one_sentence():
    for flag, hint in (
        ("--job=small_cnn", "small_cnn_round"),
        ("--runtimes=natve", "native"),
    ):
        result = processes.call(MODULE, flag)
        assert result.returncode == 2
        assert hint in result.stderr and result.stderr.count("\n") == 1
