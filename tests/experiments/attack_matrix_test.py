"""Attack matrices: what is asked for, what is run, and what is shown."""

import csv
import dataclasses
import io
import types

import pytest
from absl.testing import flagsaver

import tff_cnn
from experiments import (
    attack_matrix,
    entry,
    flags,
    matrix_cells,
    matrix_picture,
    matrix_tables,
)
from tff_cnn.aggregators import AGGREGATORS
from tff_cnn.core.errors import UsageError
from tff_cnn.evaluation.attacks import ATTACKS

if "attacks" not in flags.flags.FLAGS:
    attack_matrix.define_flags()

MIDDLE = f"{__name__}:Middle"


@AGGREGATORS.entry("middle_of_a_test", f"{__name__}:build", is_public=False)
@dataclasses.dataclass(frozen=True)
class Middle:
    """A rule of the test's own, which is no sum."""


def build():
    raise UsageError("the middle has no builder: use another.")


def parsed(*arguments):
    argv = ["attack_matrix", *arguments]
    with flagsaver.flagsaver():
        entry.parse_flags(argv, attack_matrix._show_help)
        return attack_matrix.plan_from_flags(argv)


def refused(*arguments):
    with pytest.raises(UsageError) as found:
        parsed(*arguments)
    status, sentence = entry.describe(found.value)
    assert status == 2 and "\n" not in sentence
    return sentence


def test_by_default_there_is_all_that_is_registered():
    plan = parsed()
    assert plan.attacks == ("none", *ATTACKS)
    assert plan.aggregators[0] == "mean"
    assert plan.levels == ("off", "on")
    size = len(plan.attacks) * len(plan.aggregators) * 2
    assert len(plan.cells) == len({c.name for c in plan.cells}) == size
    assert {c.config is not None for c in plan.cells if c.level == "off"} == {
        True
    }
    (plain, private) = (c.config for c in plan.cells[:2])
    assert plain.attack is plain.dp is None and plain.rounds == 30
    assert private.dp.epsilon == 8


def test_rules_that_are_no_sum_are_refused_beside_noise_and_shown():
    plan = parsed(
        "--attacks=none,alie", f"--aggregators=mean,{MIDDLE}", "--dp=off,on"
    )
    found = {(c.aggregator, c.level): c for c in plan.cells}
    assert found[MIDDLE, "off"].config is not None
    cell = found[MIDDLE, "on"]
    assert cell.config is None
    assert "--aggregator=middle_of_a_test does not fit --dp=" in cell.reason


def test_on_is_the_flagfiles_mechanism(tmp_path):
    path = tmp_path / "x.flags"
    path.write_text("--dp=tree\n--dp_noise_multiplier=1\n--attack=ipm\n")
    for arguments in ((), ("--dp=off,on",)):
        plan = parsed(
            f"--flagfile={path}",
            "--attacks=none",
            "--aggregators=mean",
            *arguments,
        )
        levels = {c.level: c.config.dp for c in plan.cells}
        assert levels["off"] is None
        assert type(levels["on"]).__name__ == "Tree"
        assert levels["on"].epsilon is None
    plan = parsed("--attacks=none", "--dp=none,blt")
    assert plan.levels == ("off", "blt")
    assert type(plan.cells[1].config.dp).__name__ == "Blt"


def test_a_flagfile_is_taken_as_it_is(tmp_path):
    path = tmp_path / "x.flags"
    path.write_text("--num_clients=20\n--rounds=7\n--sampling=full\n")
    plan = parsed(
        f"--flagfile={path}",
        "--attacks=none",
        "--aggregators=mean",
        "--dp=off",
    )
    (config,) = {c.config for c in plan.cells}
    assert (config.num_clients, config.rounds) == (20, 7)


def test_options_are_of_the_cells_that_have_them():
    plan = parsed("--attacks=none,ipm,alie", "--dp=off", "--ipm_epsilon=3")
    options = {c.attack: c.config.attack for c in plan.cells}
    assert options["none"] is None and options["ipm"].ipm_epsilon == 3
    assert not hasattr(options["alie"], "ipm_epsilon")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--attacks=ipn"], "unknown --attacks 'ipn': did you mean 'ipm'"),
        (["--attacks="], "--attacks= must be a list of different names"),
        (["--attacks=ipm,ipm"], "must be a list of different names"),
        (["--aggregators=meen"], "unknown --aggregators 'meen': did you"),
        (["--dp=off,strong"], "--dp=off,strong has 'strong': a matrix takes"),
        (["--attack=ipm"], "--attack would be ignored: a matrix has several"),
        (["--aggregator=mean"], "use --aggregators"),
        (
            ["--attacks=none", "--ipm_epsilon=2"],
            "--ipm_epsilon would be ignored: it has no effect in any cell",
        ),
        (
            ["--algorithm=hierarchical", "--dp=on"],
            "every cell is refused; the first: --dp=",
        ),
        (["--rounds=0"], "error: --rounds=0 must be at least 1"),
        (["--ipm_epsilon=-1"], "error: --ipm_epsilon=-1.0 must be positive"),
        (["--model=mcmahan"], "every cell is refused; the first: unknown"),
    ],
)
def test_mistakes_are_one_sentence(arguments, part):
    assert part in refused(*arguments)


GIVEN = {
    "num_clients": 10,
    "clients_per_round": 2,
    "rounds": 1,
    "eval_every": 0,
    "clients_per_step": "1",
}


def plan_of(*attacks, given=GIVEN, aggregators=("mean",)):
    return matrix_cells.plan(given, attacks, aggregators, ("off",), "x")


def test_a_matrix_goes_on_where_it_was(tmp_path, monkeypatch, capfd):
    train, trained = tff_cnn.train, []

    def stops_at_two(config, run_dir):
        if trained:
            raise KeyboardInterrupt
        trained.append(run_dir.name)
        return train(config, run_dir)

    monkeypatch.setattr(tff_cnn, "train", stops_at_two)
    plan = plan_of("none", "label_flip")
    with pytest.raises(KeyboardInterrupt):
        matrix_cells.run(plan, tmp_path)
    assert trained == ["none-mean-off"]

    def counted(config, run_dir):
        trained.append(run_dir.name)
        return train(config, run_dir)

    monkeypatch.setattr(tff_cnn, "train", counted)
    results = matrix_cells.run(plan, tmp_path)
    assert trained == ["none-mean-off", "label_flip-mean-off"]
    assert matrix_cells.run(plan, tmp_path) == results and len(trained) == 2
    none, flipped = results
    assert 0 < none.accuracy <= 1 and none.success is None
    name, rate = flipped.success
    assert name == "label_flip_success" and 0 <= rate <= 1
    # Runs talk into their files, and the bar alone is seen.
    out, err = capfd.readouterr()
    assert out == "" and "cell" in err and "round" not in err
    assert "parameters" in (tmp_path / "runs/none-mean-off.log").read_text()
    # Of another matrix are other runs.
    other = plan_of("none", given={**GIVEN, "seed": 1})
    with pytest.raises(UsageError, match="other settings: seed=1"):
        matrix_cells.run(other, tmp_path)


def test_what_is_refused_when_it_is_built_is_shown_too(tmp_path, monkeypatch):
    def train(config, run_dir):
        if config.attack is None:
            return types.SimpleNamespace(summary=SUMMARY)
        raise UsageError("<attack>=x is not for this: use another.")

    monkeypatch.setattr(tff_cnn, "train", train)
    results = matrix_cells.run(plan_of("none", "ipm"), tmp_path)
    assert results[0].accuracy == 0.5
    assert results[1].summary is None
    assert results[1].cell.reason == "--attack=x is not for this: use another."
    with pytest.raises(UsageError, match="every cell is refused; the first: "):
        matrix_cells.run(plan_of("ipm"), tmp_path)


SUMMARY = {
    "test_accuracy": 0.5,
    "evaluated_on": "test",
    "epsilon": None,
    "delta": None,
    "rounds": 1,
    "diverged_in_round": None,
    "clients_excluded": 0,
}


def shown():
    """A plan of four cells, of which one is refused, and its results."""
    plan = plan_of("none", "backdoor", aggregators=("mean", MIDDLE))
    summaries = [
        SUMMARY,
        SUMMARY,
        {**SUMMARY, "test_backdoor_success": 0.875, "diverged_in_round": 3},
    ]
    results = [
        matrix_cells.Result(cell, summary)
        for cell, summary in zip(plan.cells, summaries, strict=False)
    ]
    last = dataclasses.replace(plan.cells[3], config=None, reason="No: no.")
    return plan, [*results, matrix_cells.Result(last)]


def test_tables_show_every_cell():
    plan, results = shown()
    lines = matrix_tables.markdown(plan, results).splitlines()
    assert "| aggregator | none | backdoor |" in lines
    assert "| `mean` | 50.0 % | 50.0 % (87.5 %), diverged in round 3 |" in lines
    assert f"| `{MIDDLE}` | 50.0 % | refused (1) |" in lines
    assert "1. No: no." in lines
    assert "## Without differential privacy" in lines
    rows = list(csv.DictReader(io.StringIO(matrix_tables.csv_of(results))))
    assert [row["attack"] for row in rows] == ["none"] * 2 + ["backdoor"] * 2
    assert rows[2]["success"] == "0.875"
    assert rows[2]["success_is"] == "backdoor_success"
    assert rows[3]["refused_because"] == "No: no." and not rows[3]["accuracy"]


def test_the_picture_is_one_of_all_cells():
    image = matrix_picture.draw(*shown())
    assert image.startswith(b"\x89PNG") and len(image) > 10_000
    plan, results = shown()
    plain = [r for r in results if r.cell.attack == "none"]
    one = dataclasses.replace(plan, attacks=("none",))
    assert matrix_picture.draw(one, plain).startswith(b"\x89PNG")


def test_mistakes_leave_nothing_behind(tmp_path, monkeypatch):
    out = tmp_path / "out"
    argv = ["x", f"--out={out}", "--attacks=ipm", "--rounds=0"]
    with flagsaver.flagsaver():
        entry.parse_flags(argv, attack_matrix._show_help)
        with pytest.raises(UsageError):
            attack_matrix.main(argv)
    assert not out.exists()


def test_the_binary_writes_three_files(tmp_path, monkeypatch, capsys):
    plan, results = shown()
    monkeypatch.setattr(matrix_cells, "run", lambda *_: results)
    monkeypatch.setattr(attack_matrix, "plan_from_flags", lambda _: plan)
    argv = ["x", f"--out={tmp_path}/out"]
    with flagsaver.flagsaver():
        entry.parse_flags(argv, attack_matrix._show_help)
        attack_matrix.main(argv)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "matrix.csv",
        "matrix.md",
        "matrix.png",
    ]
    assert "87.5 %" in capsys.readouterr().out
