"""The benchmarks run and write what they promise; figures are not judged."""

import json

import pytest

from tests import forked, processes


def test_scaling_writes_a_row_for_each_size(tmp_path):
    path = tmp_path / "out.json"
    result = processes.call(
        "experiments.benchmarks.scaling",
        "--rounds=1",
        "--largest=3",
        f"--json={path}",
    )
    assert result.returncode == 0, result.stderr
    rows = json.loads(path.read_text())["rows"]
    sizes = [(row["clients"], row["examples_per_client"]) for row in rows]
    assert sizes == [(1, 20), (3, 20), (10, 1)]
    assert all(row["clients_per_second"] > 0 for row in rows)
    assert "clients/step" in result.stdout


def test_memory_growth_compares_two_rounds(tmp_path):
    path = tmp_path / "out.json"
    program = forked.start(
        "-m",
        "experiments.benchmarks.memory_growth",
        "--early=2",
        "--late=6",
        f"--json={path}",
    )
    assert program.wait(120) == 0, program.communicate()[1]
    figures = json.loads(path.read_text())
    assert figures["early_mb"] > 300
    assert figures["growth"] == figures["late_mb"] / figures["early_mb"] - 1


def test_per_example_gradients_agree_and_are_measured(tmp_path):
    path = tmp_path / "out.json"
    result = processes.call(
        "experiments.benchmarks.per_example_gradients",
        "--models=tanh_cnn",
        "--batch_size=8",
        "--steps=1",
        f"--json={path}",
    )
    assert result.returncode == 0, result.stderr
    plain, ghost, one_by_one, materialized = json.loads(path.read_text())[
        "rows"
    ]
    assert plain["way"] == "plain"
    for row in ghost, one_by_one:
        assert row["norm"] == pytest.approx(materialized["norm"], rel=1e-5)
    assert ghost["examples_per_second"] > 0


def test_algorithms_are_compared_with_fedavg_per_example(tmp_path):
    path = tmp_path / "out.json"
    result = processes.call(
        "experiments.benchmarks.algorithm_speed",
        "--algorithms=hierarchical",
        "--rounds=1",
        f"--json={path}",
    )
    assert result.returncode == 0, result.stderr
    base, edges = json.loads(path.read_text())["rows"]
    assert (base["algorithm"], base["ratio"]) == ("fedavg", 1)
    # Each of 100 clients of 20 trains in two rounds of its edge.
    assert (base["examples"], edges["examples"]) == (2000, 4000)
    ratio = edges["ms_per_1000"] / base["ms_per_1000"]
    assert edges["ratio"] == pytest.approx(ratio) and ratio > 0
    assert "hierarchical" in result.stdout
    result = processes.call(
        "experiments.benchmarks.algorithm_speed", "--algorithms=fedavgg"
    )
    assert result.returncode == 2 and "did you mean 'fedavg'" in result.stderr


def test_large_data_tells_its_memory_and_its_waiting(tmp_path):
    path = tmp_path / "out.json"
    program = forked.start(
        "-m",
        "experiments.benchmarks.large_data",
        "--images=400",
        "--clients=20",
        "--cohort=2",
        "--rounds=2",
        "--cache_mb=1",
        f"--json={path}",
    )
    assert program.wait(120) == 0, program.communicate()[1]
    figures = json.loads(path.read_text())
    assert figures["data_mb"] == pytest.approx(1400 * 3073 / 2**20, rel=1e-3)
    assert figures["peak_mb"] > 300
    (waiting,) = figures["waiting"]
    assert 0 <= waiting < 1


def test_a_model_is_trained_with_and_without_privacy(tmp_path):
    path = tmp_path / "out.json"
    result = processes.call(
        "experiments.benchmarks.models",
        "--models=niid_cnn",
        "--ways=none,fixed_clip",
        f"--json={path}",
    )
    assert result.returncode == 0, result.stderr
    rows = json.loads(path.read_text())["rows"]
    assert len(rows) == 2
    for row in rows:
        assert (row["rounds"], row["refused"]) == (2, None)
        assert row["is_vectorized"] and row["clients_excluded"] == 0
        assert f"{row['model']:<15} {row['way']:<11} 2 rounds" in result.stdout


def test_a_masked_sum_is_exact_and_measured_by_phase(tmp_path):
    path = tmp_path / "out.json"
    module = "experiments.benchmarks.secure_sum"
    result = processes.call(
        module,
        "--clients=10",
        "--size=1000",
        "--neighbours=6",
        "--threshold=0.51",
        f"--json={path}",
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads(path.read_text())
    names = [phase["phase"] for phase in figures["phases"]]
    assert names == ["sharing", "masking", "unmasking"]
    assert (figures["dropped"], figures["neighbours"]) == (2, 6)
    # 1,000 numbers of 4 bytes, and shares for six.
    assert 4000 + 6 * 98 < figures["bytes_up"] < 4000 + 6 * 98 + 400
    assert "exact" in result.stdout
    result = processes.call(
        module, "--clients=10", "--size=10", "--dropped=0.5"
    )
    assert result.returncode == 1 and "aborted" in result.stderr
    result = processes.call(module, "--neighbours=3")
    assert result.returncode == 2 and "must be even" in result.stderr


def test_aggregations_are_compared_by_time_and_memory(tmp_path):
    path = tmp_path / "out.json"
    result = processes.call(
        "experiments.benchmarks.aggregation_cost",
        "--clients=3",
        "--parameters=10",
        "--aggregators=norm_bounding+median",
        f"--json={path}",
    )
    assert result.returncode == 0, result.stderr
    (row,) = json.loads(path.read_text())["rows"]
    assert row["aggregator"] == "norm_bounding+median"
    assert row["seconds"] > 0
    assert 0.2 < row["peak_gb"] < 6
    assert "peak GB" in result.stdout
    result = processes.call(
        "experiments.benchmarks.aggregation_cost", "--aggregators=mode"
    )
    assert result.returncode == 2
    assert "unknown" in result.stderr
