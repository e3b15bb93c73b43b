import numpy as np

from tff_cnn.training import narrowing
from tff_cnn.training.engine import Work


def test_the_work_of_those_who_are_chosen_is_left():
    asked = []

    def losses(weights, cohort):
        asked.append((weights, list(cohort)))
        return np.array([0.5, np.nan, 2.0])

    def choose(candidates, found):
        np.testing.assert_array_equal(candidates, [2, 5, 9])
        np.testing.assert_array_equal(found, [0.5, np.nan, 2.0])
        return np.array([5, 9])

    work = Work(4, np.array([2, 5, 9]), ["a", "b", "c"])
    found = narrowing.by_losses(losses, choose, "weights", work)
    assert found.number == 4 and found.data == ["b", "c"]
    assert found.cohort.tolist() == [5, 9]
    assert asked == [("weights", [2, 5, 9])]


def test_nobody_is_narrowed_to_nobody():
    work = Work(1, [], [])
    found = narrowing.by_losses(
        lambda *_: [], lambda candidates, losses: candidates, (), work
    )
    assert list(found.cohort) == [] and found.data == []
