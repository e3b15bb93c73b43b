"""`experiments.privacy` as a person uses it."""

import json
import re

import pytest

from tests import processes
from tests.experiments.train_test import RANDOMIZED


def privacy(*arguments):
    return processes.call("experiments.privacy", *arguments)


def table(text: str) -> list[list[str]]:
    lines = [line.split() for line in text.splitlines()]
    start = next(i for i, line in enumerate(lines) if line[:1] == ["epsilon"])
    end = lines.index([], start)
    return lines[start + 1 : end]


def test_plan_prints_a_table_and_draws_a_plot(tmp_path):
    result = privacy(
        "plan",
        "--num_clients=2000",
        "--clients_per_round=100",
        "--rounds=40",
        "--epsilons=1,4",
        "--dp_noise_multiplier=1.5",
        f"--plot={tmp_path}/plan.png",
    )
    assert result.returncode == 0, result.stderr
    rows = table(result.stdout)
    assert [round(float(row[0])) for row in rows] == [1, 4]
    for row in rows:
        epsilon, by_rdp, noise, signal = map(float, row[:4])
        assert by_rdp > epsilon
        assert signal == pytest.approx(100 / noise / 5450**0.5, rel=0.01)
    assert float(rows[0][2]) > float(rows[1][2])
    for part in ("unit: client", "add or remove", "Poisson with rate 0.05"):
        assert part in result.stdout
    found = re.findall(r"([\d,]+) clients for epsilon (\d)", result.stdout)
    counts = [int(count.replace(",", "")) for count, _ in found]
    assert [epsilon for _, epsilon in found] == ["1", "4"]
    assert counts[0] > counts[1] >= 100
    assert (tmp_path / "plan.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize("dp", ["tree", "banded", "blt"])
def test_plan_knows_every_mechanism(dp, tmp_path):
    result = privacy(
        "plan", f"--dp={dp}", "--epsilons=2", f"--plot={tmp_path}/plan.png"
    )
    assert result.returncode == 0, result.stderr
    assert 1.99 < float(table(result.stdout)[0][0]) <= 2
    assert "zero out one client" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["plna"], ["unknown command 'plna'", "did you mean 'plan'"]),
        ([], ["unknown command ''", "valid are plan, account"]),
        (["plan", "--rounds=0"], ["--rounds=0"]),
        (["plan", "--run_dir=x"], ["run_dir"]),
        (["plan", "--dp=none"], ["unknown --dp 'none'"]),
        (["plan", "--epsilons=one"], ["--epsilons=one must be numbers"]),
        (["plan", "--dp_delta=0.1"], ["--dp_delta=0.1"]),
        (["plan", "--epsilons="], ["--epsilons= must be numbers from"]),
        (["plan", "--epsilons=-1"], ["--epsilons=-1 must be numbers from"]),
        (["plan", "--epsilons=1,nan"], ["--epsilons=1,nan must be"]),
        (
            ["plan", "--epsilons=1", "--dp_epsilon=2"],
            ["--epsilons=1 would be ignored", "--dp_epsilon=2"],
        ),
        # What would be ignored or is out of range, as in training.
        (["plan", "--dp_bits=99"], ["would be ignored", "distributed"]),
        (["plan", "--dp_bits=23", "--dp=distributed_skellam"], ["most 22"]),
        (["plan", "--min_separation=3"], ["would be ignored", "shuffled"]),
        (["plan", "--dp_bands=3"], ["would be ignored", "--dp=banded"]),
        (["plan", "--dp_single_tree"], ["would be ignored", "--dp=tree"]),
        (
            ["plan", "--sampling=full", "--clients_per_round=5"],
            ["--clients_per_round=5 would be ignored"],
        ),
        (["plan", "--test_only_deterministic_noise"], ["Unknown"]),
        (["plan", "--rounds=1000000000000"], ["at most 1,000,000"]),
        (["plan", "--dp_noise_multiplier=1e-300"], ["from 0.01"]),
        (["plan", "--plot=plan.pdf"], ["--plot=plan.pdf", ".png"]),
        (["plan", "--plot=/proc/plan.png"], ["--plot=/proc/plan.png"]),
        (["plan", "--dp=tree", "--sampling=poisson"], ["does not fit"]),
        (["account"], ["--run_dir is missing"]),
        (["account", "--run_dir=/nowhere"], ["/nowhere holds no config.json"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_mistakes(arguments, parts):
    result = privacy(*arguments)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    for part in parts:
        assert part in result.stderr


def test_help_names_the_commands_and_their_flags():
    assert "account" in privacy("--help").stdout
    shown = privacy("plan", "--help")
    assert shown.returncode == 0
    for flag in ("num_clients", "epsilons", "dp_bands", "min_separation"):
        assert f"  --{flag}:" in shown.stdout


def test_no_command_imports_tensorflow():
    program = (
        "import sys, experiments.privacy as p;"
        "sys.argv = ['privacy', 'plan', '--dp=blt', '--epsilons=4',"
        " '--plot=/dev/null'];"
        "c = p.COMMANDS['plan']; c.define_flags();"
        "from absl import flags; flags.FLAGS(sys.argv[:1] + sys.argv[2:-1]);"
        "config, _ = c.config_from_flags(sys.argv); config.make_mechanism(1.0);"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert processes.run("-c", program).returncode == 0


@pytest.fixture
def finished_run(trained):
    return trained(
        "--num_clients=20",
        "--clients_per_round=5",
        "--rounds=6",
        "--dp=blt",
        "--dp_noise_multiplier=2",
        "--evaluate_on=validation",
    ).folder


def test_account_recomputes_what_the_run_claims(finished_run):
    claimed = json.loads((finished_run / "summary.json").read_text())
    result = privacy("account", f"--run_dir={finished_run}")
    assert result.returncode == 0, result.stderr
    assert "The run's summary says the same" in result.stdout
    statement = json.loads(result.stdout[: result.stdout.index("\n}") + 2])
    assert statement["epsilon"] == pytest.approx(claimed["epsilon"])
    assert statement["rounds"] == 6
    # A fifth of the clients is set aside.
    assert statement["mechanism"]["participation"]["num_clients"] == 16


def edited(finished_run, folder, name, change):
    """A copy of the run in which one file was changed."""
    folder.mkdir()
    names = ("config.json", "metrics.jsonl", "summary.json", "ledger.jsonl")
    for path in names:
        text = (finished_run / path).read_text()
        (folder / path).write_text(change(text) if path == name else text)
    return folder


def test_account_does_not_believe_the_summary(finished_run, tmp_path):
    def lie(text):
        content = json.loads(text)
        content["epsilon"] /= 2
        return json.dumps(content)

    folder = edited(finished_run, tmp_path / "a", "summary.json", lie)
    result = privacy("account", f"--run_dir={folder}")
    assert result.returncode == 1
    assert "claims epsilon" in result.stderr


def test_account_accepts_a_claim_of_an_older_accountant(finished_run, tmp_path):
    def cautious(text):
        content = json.loads(text)
        content["epsilon"] *= 1.01
        for stage in content["privacy"]["stages"]:
            stage["epsilon"] *= 1.01
        return json.dumps(content)

    folder = edited(finished_run, tmp_path / "a", "summary.json", cautious)
    result = privacy("account", f"--run_dir={folder}")
    assert result.returncode == 0, result.stderr
    assert "The run's summary claims more" in result.stdout


def test_account_refuses_files_that_contradict_each_other(
    finished_run, tmp_path
):
    def louder(text):
        content = json.loads(text)
        content["mechanism"]["noise_multiplier"] *= 2
        return json.dumps(content)

    def headless(text):
        return text.split("\n", 1)[1]

    def cut(text):
        return "".join(text.splitlines(keepends=True)[:-2])

    def nonsense(text):
        content = json.loads(text)
        content["mechanism"] = {"name": "BltMatrixFactorization", "x": []}
        return json.dumps(content)

    for number, (name, change, part) in enumerate(
        [
            (
                "config.json",
                louder,
                "contradicts itself: noise_multiplier is 4.0",
            ),
            ("config.json", nonsense, "describes no mechanism"),
            ("metrics.jsonl", headless, "round 2 instead of 1"),
            ("ledger.jsonl", headless, "is damaged in line 1"),
            ("ledger.jsonl", cut, "has 4 rounds, but"),
            ("summary.json", lambda text: "{}", "has no rounds"),
        ]
    ):
        folder = edited(finished_run, tmp_path / str(number), name, change)
        result = privacy("account", f"--run_dir={folder}")
        assert result.returncode == 2, result.stderr
        assert part in result.stderr
    (folder / "ledger.jsonl").unlink()
    result = privacy("account", f"--run_dir={folder}")
    assert result.returncode == 2
    assert "ledger.jsonl has 0 rounds" in result.stderr


def test_account_of_a_run_without_noise_is_refused(finished_run, tmp_path):
    def without(text):
        content = json.loads(text)
        content["flags"]["dp"] = "none"
        return json.dumps(content)

    folder = edited(finished_run, tmp_path / "a", "config.json", without)
    result = privacy("account", f"--run_dir={folder}")
    assert result.returncode == 2
    assert "trained with --dp=none" in result.stderr


def test_account_knows_the_clients_own_randomizer(trained):
    result = privacy("account", f"--run_dir={trained(*RANDOMIZED).folder}")
    assert result.returncode == 0, result.stderr
    assert '"stage": "client update"' in result.stdout
    assert "The run's summary says the same" in result.stdout
