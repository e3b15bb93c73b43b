import csv
import io

import numpy as np
import pytest
from PIL import Image

from tff_cnn.core.errors import UsageError
from tff_cnn.evaluation.federated import ClientMetrics
from tff_cnn.training import client_table
from tff_cnn.training.client_table import ClientTable
from tff_cnn.training.diagnostics import NOT_PRIVATE

HELD_OUT = ClientMetrics(
    np.array([4, 0, 1]),
    np.array([0.75, np.nan, 0.0]),
    np.array([0.1, np.nan, 1 / 3]),
)
TUNED = HELD_OUT._replace(accuracy=np.array([1.0, np.nan, 0.5]))
UNSEEN = ClientMetrics(np.array([2]), np.array([0.5]), np.array([1.5]))


def a_table(**changes):
    sets = {
        "holdout": {"": HELD_OUT, "tuned_": TUNED},
        "unseen": {"": UNSEEN},
    }
    return ClientTable(
        **{"round": 7, "sets": sets, "training": "2 local epochs", **changes}
    )


def test_a_row_for_each_client_of_each_set():
    first, empty, last, unseen = a_table().rows
    assert first == {
        "round": 7,
        "set": "holdout",
        "client": 0,
        "examples": 4,
        "accuracy": 0.75,
        "loss": 0.1,
        "tuned_accuracy": 1.0,
        "tuned_loss": 0.1,
        "tuned_after": "2 local epochs",
    }
    assert (empty["client"], empty["examples"]) == (1, 0)
    assert empty["accuracy"] is empty["loss"] is empty["tuned_loss"] is None
    assert (last["client"], last["loss"]) == (2, 1 / 3)
    assert (unseen["set"], unseen["client"]) == ("unseen", 0)
    assert "tuned_accuracy" not in unseen
    assert len(a_table().to_pandas()) == 4


def test_both_files_are_written(tmp_path):
    paths = tmp_path / "clients.csv", tmp_path / "clients.png"
    a_table().write(*paths)
    assert paths[0].read_text() == a_table().to_csv()
    picture = Image.open(io.BytesIO(paths[1].read_bytes()))
    assert picture.width > 1000 and picture.height > 800


@pytest.mark.parametrize("is_private", [False, True])
def test_the_file_holds_every_number(tmp_path, is_private):
    table = a_table(is_private=is_private)
    path = tmp_path / "clients.csv"
    path.write_text(table.to_csv())
    again = client_table.read(path)
    assert again.rows == table.rows
    assert again.summary == table.summary
    assert again.is_private is is_private
    with open(path, newline="") as file:
        labels = [row.get("privacy") for row in csv.DictReader(file)]
    assert labels == [NOT_PRIVATE if is_private else None] * 4


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("holdout,1,", "holdout,2,"),
        ("unseen", "others"),
        ("0.75", "x"),
        ("\n7,unseen", "\n8,unseen"),
        ("examples", "size"),
    ],
)
def test_damaged_tables(tmp_path, before, after):
    path = tmp_path / "clients.csv"
    text = a_table().to_csv()
    assert before in text
    path.write_text(text.replace(before, after))
    with pytest.raises(UsageError, match="is no table of clients"):
        client_table.read(path)


def test_what_a_round_s_row_tells():
    row = a_table().row
    assert row == {
        "client_accuracy_mean": 0.375,
        "client_accuracy_worst_decile": 0.0,
        "client_accuracy_variance": 0.375**2,
        "client_tuned_accuracy_mean": 0.75,
        "client_tuned_accuracy_worst_decile": 0.5,
        "client_tuned_accuracy_variance": 0.25**2,
        "client_unseen_accuracy_mean": 0.5,
        "client_unseen_accuracy_worst_decile": 0.5,
        "client_unseen_accuracy_variance": 0.0,
    }
    found = a_table().distributions
    assert found["client_accuracy"].tolist() == [0.75, 0.0]
    assert found["client_unseen_accuracy"].tolist() == [0.5]


def test_the_summary_has_all_figures_and_says_of_what():
    summary = a_table(is_private=True).summary
    assert summary["main_set"] == "holdout" and summary["round"] == 7
    assert summary["privacy"] == NOT_PRIVATE
    assert summary["local_training"] == "2 local epochs"
    accuracy = summary["sets"]["holdout"]["accuracy"]
    assert accuracy["num_without_examples"] == 1
    assert accuracy["weighted"]["mean"] == 0.6
    loss = summary["sets"]["holdout"]["loss"]
    assert loss["weighted"] == {"mean": pytest.approx((0.4 + 1 / 3) / 5)}
    assert a_table().summary["privacy"] is None


def test_the_text_is_what_a_person_wants_to_know():
    text = repr(a_table(is_private=True))
    for part in (
        "after round 7",
        NOT_PRIVATE,
        "3 clients, 1 without examples, 5 examples",
        "37.50%",
        "after 2 local epochs",
        "75.00%",
        "never trained on",
    ):
        assert part in text
    assert NOT_PRIVATE not in repr(a_table())
    only = {"training": {"": UNSEEN._replace(examples=np.array([0]))}}
    table = a_table(sets=only, training=None)
    assert "none are held out" in repr(table) and "-" in repr(table)
    assert table.row["client_accuracy_mean"] is None
    table.figure()  # Of no client at all.
