import collections
import json
import re

import pytest

from experiments import results
from tests import processes
from tff_cnn.core.errors import UsageError

FLAGS = {
    "rounds": 3,
    "dp": "fixed_clip",
    "dp_clip_norm": 0.5,
    "local_dp": "none",
    "sampling": "poisson",
    "num_clients": 1000,
}


def write(folder, name, **record):
    record = {
        "baseline": "paper/method",
        "flags": FLAGS,
        "seed": 0,
        "test_accuracy": 0.5,
        "epsilon": 1.996,
        "delta": 1e-5,
        "unit": "client",
        "is_private": True,
        **record,
    }
    path = folder / "paper" / "results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def rows(text):
    return [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in text.splitlines()[2:]
    ]


@pytest.fixture
def baselines(tmp_path):
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "method.flags").write_text(
        "# A comment with --rounds=9.\n--rounds=3\n--dp=fixed_clip\n"
        "--dp_clip_norm=0.5\n"
        "--intra_op_threads=2\n"
    )
    (tmp_path / "published.json").write_text('{"paper/method": "52 %"}')
    return tmp_path


def test_a_row_is_the_median_of_the_seeds(baselines):
    for seed, accuracy in enumerate((0.5, 0.6, 0.51)):
        write(baselines, f"m-seed{seed}", seed=seed, test_accuracy=accuracy)
    assert rows(results.table(baselines)) == [
        [
            "`paper/method.flags`",
            "client of 1,000, 2.00, 1e-5",
            "`poisson`",
            "52 %",
            "51.00 % (50.00 % to 60.00 %, 3 seeds)",
        ]
    ]


def test_what_a_run_changed_of_its_flagfile_has_a_row_of_its_own(baselines):
    write(baselines, "m-seed0")
    write(baselines, "m2-seed0", flags={**FLAGS, "dp_clip_norm": 2.0})
    first, second = rows(results.table(baselines))
    assert first[0] == "`paper/method.flags`"
    assert second[0] == "`paper/method.flags --dp_clip_norm=2.0`"
    assert second[-1] == "50.00 % (1 seed)"


def test_what_a_choice_leaves_without_effect_is_no_change(baselines):
    (baselines / "paper" / "method.flags").write_text(
        "--attack=sign_flip\n--attack_fraction=0.3\n--attack_scale=4\n"
    )
    # So they stand in the record of a run in which nobody attacks.
    nothing = {"attack": "none", "attack_fraction": 0.1, "attack_scale": None}
    write(baselines, "m-seed0", flags={**FLAGS, **nothing})
    ((command, *_),) = rows(results.table(baselines))
    assert command == "`paper/method.flags --attack=none`"


@pytest.mark.parametrize(
    ("reached", "shown"),
    [
        ([20], "99 % after 20 rounds (1 seed)"),
        ([20, 14, 17], "99 % after 17 rounds (14 to 20, 3 seeds)"),
        ([20, None, 17], "99 % after 20 rounds (17 to inf, 3 seeds)"),
        ([None], "not 99 % in 60 rounds: 50.00 % (1 seed)"),
    ],
)
def test_a_run_to_a_target_shows_how_long_it_took(baselines, reached, shown):
    for seed, rounds in enumerate(reached):
        write(
            baselines,
            f"m-seed{seed}",
            seed=seed,
            test_accuracy=0.5,
            flags={**FLAGS, "target_accuracy": 0.99},
            rounds=60,
            rounds_to_target=rounds,
        )
    ((*_, found),) = rows(results.table(baselines))
    assert found == shown


def test_what_else_was_measured_stands_behind_it(baselines):
    for seed, robust in enumerate((0.25, 0.75, 0.5)):
        write(
            baselines,
            f"m-seed{seed}",
            seed=seed,
            measured={
                "under attack": robust,
                "simulated s to the target": 1234.56,
                "times smaller uploads": 32.04,
                "MB sent": 3.0,
                **({"mean client": 0.5} if seed else {}),
            },
        )
    ((*_, found),) = rows(results.table(baselines))
    assert found == (
        "50.00 % (50.00 % to 50.00 %, 3 seeds); under attack 50.00 %; "
        "1,234.6 simulated s to the target; 32.0 times smaller uploads"
    )


def test_a_run_whose_noise_was_not_random_promises_nothing(baselines):
    write(baselines, "m-seed0", is_private=False)
    ((_, promise, *_),) = rows(results.table(baselines))
    assert promise == "none"


def test_the_readme_has_the_table_of_the_records():
    document = (processes.ROOT / "README.md").read_text()
    assert results.replace_table(document, results.table()) == document


def test_the_command_writes_the_table(tmp_path):
    document = tmp_path / "document.md"
    document.write_text(
        "before\n<!-- made by experiments.results -->\n"
        "an old table\n<!-- until here -->\nafter\n"
    )
    result = processes.call("experiments.results", f"--document={document}")
    assert result.returncode == 0, result.stderr
    assert result.stdout == results.table()
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    assert results.table() in text and "an old table" not in text


def test_a_document_without_a_place_is_left_alone(tmp_path):
    with pytest.raises(UsageError, match="must hold the line"):
        results.replace_table("no place", "a table")
    document = tmp_path / "document.md"
    document.write_text("no place")
    result = processes.call("experiments.results", f"--document={document}")
    assert result.returncode == 2
    assert document.read_text() == "no place"


def test_the_records_are_of_their_flagfiles():
    """One a seed, on the test set, within the epsilon that was asked for."""
    found = results.load()
    assert len(found) >= 36
    seen = collections.Counter()
    for record in found:
        changed = results.changed_flags(record)
        # Grids of clips and of mixtures, who attacks and what is made of it,
        # are all that commands add.
        assert set(changed) <= {
            "aggregator",
            "attack",
            "dp_clip_norm",
            "dirichlet_alpha",
            "distill_steps",
            "partition",
        }, record["baseline"]
        seen[record["baseline"], str(changed), record["seed"]] += 1
        flags = record["flags"]
        assert flags["evaluate_on"] == "test"
        assert flags["seed"] == record["seed"]
        reached = record.get("rounds_to_target")
        assert record["rounds"] == (reached or flags["rounds"])
        if reached:
            assert record["test_accuracy"] >= flags["target_accuracy"]
        limit = flags.get("dp_epsilon", flags.get("local_epsilon"))
        assert record["is_private"] == (limit is not None)
        if record["is_private"]:
            assert 0.99 * limit < record["epsilon"] <= limit
        else:
            assert record["stages"] == [] and record["epsilon"] is None
            path = results.BASELINES / f"{record['baseline']}.flags"
            text = path.read_text()
            # A bound on pixels is no budget.
            budget = r"--(?!adversarial_)\w*(epsilon|noise_multiplier)="
            assert not re.search(budget, text)
    assert set(seen.values()) == {1}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"baseline": "a/b"}'])
def test_what_is_no_record_is_named(tmp_path, content):
    path = tmp_path / "paper" / "results" / "x.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(UsageError, match=r"x\.json is no record"):
        results.load(tmp_path)


def test_a_document_may_have_several_tables():
    first, second = "<!-- first -->\n", "<!-- second -->\n"
    end = "<!-- until here -->\n"
    document = f"a\n{first}1\n{end}b\n{second}2\n{end}c\n"
    found = results.replace_table(document, "new", second)
    assert found == f"a\n{first}1\n{end}b\n{second}\nnew\n{end}c\n"
    found = results.replace_table(document, "new", first)
    assert found == f"a\n{first}\nnew\n{end}b\n{second}2\n{end}c\n"
    with pytest.raises(UsageError, match="must hold the line"):
        results.replace_table(document + second, "new", second)
