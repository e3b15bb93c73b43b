import numpy as np
import pytest

from tests.reference import attacks as reference
from tff_cnn.core.errors import UsageError
from tff_cnn.evaluation.attacks.attack import Element
from tff_cnn.evaluation.attacks.label_flip import build_label_flip

LABELS = np.arange(10, dtype=np.int32).repeat(2)


def poisoned(attack, labels):
    element = Element(images=np.zeros((len(labels), 1)), labels=labels)
    found = attack.poison(element, np.zeros(2, np.int64))
    assert list(found) == ["images", "labels"]
    assert found["labels"].dtype == np.int32
    return found["labels"]


def test_digits_are_flipped_to_9_less_each():
    attack = build_label_flip(None, None, num_classes=10)
    before = LABELS.copy()
    found = poisoned(attack, LABELS)
    np.testing.assert_array_equal(found, reference.label_flip(LABELS, 10))
    np.testing.assert_array_equal(found, 9 - LABELS)
    np.testing.assert_array_equal(LABELS, before)
    np.testing.assert_array_equal(attack.success.targets(LABELS), 9 - LABELS)
    # Twice is no attack, and of an odd number one stays.
    np.testing.assert_array_equal(poisoned(attack, found), LABELS)
    three = build_label_flip(None, None, num_classes=3)
    targets = three.success.targets(np.array([0, 1, 2], np.int32))
    np.testing.assert_array_equal(targets, [2, -1, 0])


def test_one_class_becomes_another():
    attack = build_label_flip(0, 7, num_classes=10)
    found = poisoned(attack, LABELS)
    expected = reference.label_flip(LABELS, 10, 0, 7)
    np.testing.assert_array_equal(found, expected)
    targets = attack.success.targets(LABELS)
    np.testing.assert_array_equal(targets, np.where(LABELS == 0, 7, -1))
    assert attack.success.name == "label_flip_success"


@pytest.mark.parametrize("pair", [(3, 1), (1, 3)])
def test_labels_are_those_of_the_data(pair):
    with pytest.raises(UsageError, match=r"=3 is no label .*from 0 to 2"):
        build_label_flip(*pair, num_classes=3)
