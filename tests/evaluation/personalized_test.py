import numpy as np
import pytest

from tests.evaluation.federated_test import always, evaluation
from tff_cnn.data.examples import ClientExamples
from tff_cnn.evaluation.personalized import evaluate_fine_tuned

# Of labels 0, none, 1 and 1, and 2, 0.
HELD_OUT = [np.array([0, 3]), np.array([], int), np.array([1, 4, 2, 5])]
HELD_OUT += [np.array([2])]


@pytest.mark.parametrize("at_once", [1, 2, 32])
def test_clients_are_measured_by_what_training_makes_of_their_start(
    tiny_examples, at_once
):
    held_out = ClientExamples(tiny_examples, HELD_OUT)
    groups = []

    def train(clients, starts):
        """From label n to label n + 1."""
        groups.append(clients)
        labels = [int(np.argmax(bias)) for _, bias in starts]
        return [always((label + 1) % 3) for label in labels]

    measure = evaluation(tiny_examples)
    found = evaluate_fine_tuned(measure, held_out, always(0), train, at_once)
    np.testing.assert_array_equal(found.accuracy, [0, np.nan, 0.5, 0])
    assert found.examples.tolist() == [2, 0, 4, 1]
    assert np.isnan(found.loss[1]) and np.all(found.loss[[0, 2, 3]] > 0)
    # Who cannot be judged is not trained.
    assert [c for group in groups for c in group] == [0, 2, 3]
    assert max(map(len, groups)) == min(at_once, 3)
    personal = evaluate_fine_tuned(
        measure, held_out, lambda c: always((2, 0, 0, 1)[c]), train, at_once
    )
    np.testing.assert_array_equal(personal.accuracy, [1, np.nan, 0.5, 1])
