"""The table of components is what their entries say."""

from experiments import components
from tests import processes
from tff_cnn.algorithms import ALGORITHMS
from tff_cnn.config import RunConfig

LEAVES = RunConfig.leaves().values()


def test_the_document_has_the_table_of_today(tmp_path):
    notes = (processes.ROOT / "BUILD_NOTES.md").read_text()
    assert components.table() in notes, "run `python -m experiments.components`"
    assert components.algorithms_table() in notes
    copy = tmp_path / "notes.md"
    copy.write_text(notes.replace("Two convolutions", "Thirteen convolutions"))
    result = processes.call("experiments.components", f"--document={copy}")
    assert result.returncode == 0, result.stderr
    assert result.stdout == components.table() + components.algorithms_table()
    assert copy.read_text() == notes


def test_every_choice_component_and_option_is_in_it():
    found = components.table()
    for leaf in LEAVES:
        if leaf.is_choice or leaf.choice:
            assert f"`--{leaf.flag}`" in found
        if leaf.is_choice:
            for entry in leaf.known.registry.entries:
                assert f"| `{entry.pattern}` | " in found
    assert (
        "| `tree` | DP-FTRL: noise of a binary tree (Kairouz et al. 2021) | "
        "`--audit_canaries`, `--dp_single_tree` | a client's rounds lie far "
        "apart |\n" in found
    )


def test_every_algorithm_says_what_travels_and_what_is_sound():
    rows = components.algorithms_table().splitlines()[2:]
    assert len(rows) == len(ALGORITHMS.names)
    for name, row in zip(ALGORITHMS, rows, strict=True):
        cells = row.strip("| ").split(" | ")
        assert cells[0] == f"`{name}`" and all(cells), row
    assert rows[0].endswith("| `dp`; `local_randomizer`; `example_dp` |")


def test_an_unknown_place_is_refused(tmp_path):
    document = tmp_path / "other.md"
    document.write_text("Nothing.\n")
    result = processes.call("experiments.components", f"--document={document}")
    assert result.returncode == 2
    assert "must hold the line <!-- made by experiments.components" in (
        result.stderr
    )
