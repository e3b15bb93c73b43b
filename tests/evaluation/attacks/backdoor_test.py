import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.attacks.eager import flat, sent, updates
from tests.reference import attacks as reference
from tff_cnn.core.errors import UsageError
from tff_cnn.data.examples import Examples
from tff_cnn.data.preprocessing import Batching
from tff_cnn.evaluation.attacks.backdoor import Replacement, build_backdoor

BATCHING = Batching(epochs=2, batch_size=4)


def build(**changes):
    options = {
        "backdoor_target": 2,
        "backdoor_size": 2,
        "backdoor_share": 0.5,
        "backdoor_boost": None,
        "backdoor_rounds": None,
        "num_classes": 5,
        "image_shape": (6, 7, 1),
        "pixel_max": 16,
        "server_rate": 1.0,
    }
    return build_backdoor(**{**options, **changes})


def element_of(count):
    rng = np.random.default_rng(count)
    examples = Examples(
        rng.integers(0, 9, (count, 6, 7, 1)).astype(np.uint8),
        rng.integers(0, 5, count).astype(np.int32),
    )
    return BATCHING.client_data(examples, np.array([1, 2], np.int64))[0]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 13), st.floats(0, 1), st.integers(0, 99))
def test_a_share_of_what_is_real_is_stamped_and_labelled(count, share, seed):
    element = element_of(count)
    images, labels = element["images"].copy(), element["labels"].copy()
    attack = build(backdoor_share=share)
    found = attack.poison(element, np.array([seed, 1], np.int64))
    np.testing.assert_array_equal(element["images"], images)
    np.testing.assert_array_equal(element["labels"], labels)
    changed = np.any(found["images"] != images, axis=(1, 2, 3))
    expected = min(max(round(share * count), bool(share)), count)
    assert changed.sum() == expected and not changed[count:].any()
    for image, before in zip(
        found["images"][changed], images[changed], strict=True
    ):
        stamped = reference.stamped(before, 2, 16)
        np.testing.assert_array_equal(image, stamped)
    np.testing.assert_array_equal(found["labels"], np.where(changed, 2, labels))


def test_which_images_depends_on_the_seed():
    found = {
        build()
        .poison(element_of(13), np.array([s, -s], np.int64))["images"]
        .tobytes()
        for s in (1, 1, 2, 3)
    }
    assert len(found) == 3


@pytest.mark.parametrize("num_attackers", [1, 3])
@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_the_model_is_replaced_where_others_stand_still(num_attackers, rate):
    """The mean becomes the attackers' own; of one, the paper's formula."""
    model = np.linspace(-1, 1, 9)
    mine, zeros = updates(num_attackers), updates(4, scale=0.0)
    n = 4 + num_attackers
    total = 0
    for first in range(num_attackers):
        order = [mine[first], *mine[:first], *mine[first + 1 :]]
        total = total + flat(sent(Replacement(None, rate), zeros, order))
    after = model - rate / n * total
    local = model - flat(mine).mean(0)
    np.testing.assert_allclose(after, local, atol=1e-6)
    if num_attackers == 1:
        replaced = reference.model_replacement(local, model, n, rate)
        everyone = [model] * 4 + [replaced]
        expected = reference.federated_averaging(model, everyone, rate)
        np.testing.assert_allclose(after, expected, atol=1e-6)


def test_replacement_weighs_as_the_round_does():
    (mine,) = updates(1)
    weights = [5, 7, 3]
    found = sent(
        Replacement(None, 1.0), updates(2, 1, 0.0), [mine], weights=weights
    )
    np.testing.assert_allclose(3 / 15 * flat(found), flat(mine), atol=1e-6)


def test_a_boost_of_one_is_poisoned_data_alone():
    (mine,) = updates(1)
    found = sent(build(backdoor_boost=1.0).update, updates(3, 1), [mine])
    np.testing.assert_array_equal(flat(found), flat(mine))


def test_success_is_the_target_where_it_is_not_the_label():
    success = build().success
    targets = success.targets(np.array([0, 2, 4], np.int32))
    np.testing.assert_array_equal(targets, [2, -1, 2])
    images = np.zeros((2, 6, 7, 1), np.uint8)
    assert success.changed(images).sum() == 2 * 4 * 16 and not images.any()
    assert success.name == "backdoor_success"


def test_rounds_in_which_it_is_made():
    assert [build(backdoor_rounds="3").is_in(r) for r in (2, 3, 4)] == [
        False,
        True,
        False,
    ]
    assert build().is_in(2)


def test_what_does_not_fit_the_data():
    with pytest.raises(UsageError, match=r"backdoor_target=5 is no label"):
        build(backdoor_target=5)
    with pytest.raises(UsageError, match=r"size=6 leaves nothing .*6x7"):
        build(backdoor_size=6)
