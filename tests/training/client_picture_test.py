import numpy as np

from tests.training.client_table_test import UNSEEN, a_table
from tff_cnn.training.diagnostics import NOT_PRIVATE


def test_the_picture_says_what_is_not_private():
    title = a_table(is_private=True).figure()._suptitle.get_text()
    assert NOT_PRIVATE in title
    assert NOT_PRIVATE not in a_table().figure()._suptitle.get_text()
    left, right, *_ = a_table().figure().axes
    shown = [text.get_text() for text in left.get_legend().get_texts()]
    assert shown == [
        "the server's model: mean 37.5%, worst 10 % 0.0%",
        "after local training: mean 75.0%, worst 10 % 50.0%",
    ]
    deciles = [line for line in right.lines if line.get_marker() == "o"]
    assert list(deciles[0].get_xdata()) == [0.0] * 5 + [0.75] * 4


def test_where_all_do_well_differences_are_still_seen():
    for accuracies, lowest in (([0.99, 0.97], 0.9), ([0.45, 1.0], 0.4)):
        metrics = UNSEEN._replace(
            examples=np.array([1, 1]),
            accuracy=np.array(accuracies),
            loss=np.zeros(2),
        )
        left, right = a_table(sets={"unseen": {"": metrics}}).figure().axes
        for axis in (left, right):
            assert lowest - 0.02 <= axis.get_xlim()[0] < lowest
            assert axis.get_xlim()[1] > 1
