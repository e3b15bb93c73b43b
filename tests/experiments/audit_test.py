"""Audits of real runs: by canaries, and by membership inference."""

import json
import pathlib

import pytest

from tests import processes

FLAGS = (
    "--num_clients=20",
    "--sampling=full",
    "--rounds=3",
    "--eval_every=0",
    "--dp=fixed_clip",
    "--dp_noise_multiplier=2",
    "--dp_delta=1e-3",
)
# Several runs of one process: starting one takes longest.
_PROGRAM = """
import dataclasses, pathlib, sys
from absl import flags
from experiments import assembly, configuration, train
from tff_cnn.aggregators import private
from tff_cnn.algorithms import canaries as in_clients
from tff_cnn.training import canaries as in_training
from tff_cnn.training.run_folder import RunFolder

folder = pathlib.Path(sys.argv.pop(1))
flags.FLAGS(sys.argv)
config = configuration.config_from_flags(sys.argv)

def run(name, **changes):
    changed = dataclasses.replace(config, run_dir=str(folder / name), **changes)
    assembly.train(assembly.build(changed), RunFolder(changed.run_dir))

# Resuming must lose nothing.
run("honest", rounds=1)
run("honest")
honest = private._gaussian_sum
private._gaussian_sum = lambda clip, stddev, seed: honest(clip, stddev / 2, seed)
run("halved")
private._gaussian_sum = honest

off = dict(audit_canaries=0, rounds=1, test_only_deterministic_noise=True)
run("off", **off)
# As if the code that adds canaries did not exist.
in_clients.add_canary = in_training.audited = None
in_training.CanaryHook = in_training.report = None
run("never", **off)
"""  # noqa: E501


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("audited")
    result = processes.run(
        "-c", _PROGRAM, folder, *FLAGS, "--audit_canaries=300"
    )
    assert result.returncode == 0, result.stderr
    return folder


def audit_of(run_dir: pathlib.Path) -> dict:
    return json.loads((run_dir / "summary.json").read_text())["audit"]


def test_an_honest_run_is_estimated_near_what_the_accountant_says(runs):
    audit = audit_of(runs / "honest")
    low, high = audit["interval_final"]
    assert low < audit["accountant_epsilon"] < 1.2 * high
    assert not audit["exceeds_accountant"]
    assert (runs / "honest" / "canaries.f32").stat().st_size == 3 * 600 * 4


def test_a_run_whose_noise_is_secretly_halved_is_caught(runs):
    audit = audit_of(runs / "halved")
    assert audit["exceeds_accountant"]
    assert audit["interval_final"][0] > 1.2 * audit["accountant_epsilon"]


def test_canaries_off_changes_nothing(runs):
    found = []
    for folder in (runs / "off", runs / "never"):
        content = json.loads((folder / "summary.json").read_text())
        row = json.loads((folder / "metrics.jsonl").read_text())
        del content["seconds_per_round"], content["examples_per_second"]
        del row["seconds"]
        files = sorted(path.name for path in folder.iterdir())
        found.append((content, row, files))
    assert found[0] == found[1]
    assert "audit" not in found[0][0]
    assert "canaries.f32" not in found[0][2]
