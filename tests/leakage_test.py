import dataclasses

import numpy as np
import pytest

import tff_cnn
from tests.run_test import config
from tff_cnn import privacy
from tff_cnn.core import pictures
from tff_cnn.core.errors import UsageError

CLIENTS, STEPS = 2, 150
PRIVATE = config(
    client_optimizer=tff_cnn.Sgd(0.4),
    dp=tff_cnn.FixedClip(clip_norm=0.3, noise_multiplier=2.0),
)


@pytest.fixture(scope="module")
def leakage():
    steps = []
    found = tff_cnn.leak(
        PRIVATE,
        CLIENTS,
        steps=STEPS,
        cohort=3,
        after_step=lambda: steps.append(1),
    )
    from tff_cnn import leakage

    assert len(steps) == leakage.num_inversions(PRIVATE, CLIENTS) * STEPS
    return found


def test_what_is_sent_as_it_is_gives_images_away_and_noise_does_not(leakage):
    assert leakage.views == ["plain", "clipped", "noised", "secure"]
    assert leakage.psnr("plain") > 20 and leakage.psnr("clipped") > 20
    assert leakage.psnr("noised") < 12
    assert leakage.figures["plain"]["labels_found"] == CLIENTS
    for leak in leakage.leaks:
        assert leak.found.shape == leak.original.shape == (6, 6, 1)
    plain = [leak for leak in leakage.leaks if leak.view == "plain"]
    assert plain[0].client != plain[1].client
    assert np.any(plain[0].original != plain[1].original)


def test_an_adversary_knows_the_learning_rate():
    """By which an update is a gradient: `dlg` looks at its length."""
    slow = config(client_optimizer=tff_cnn.Sgd(0.05))
    found = tff_cnn.leak(slow, 1, "dlg", steps=150, cohort=2)
    assert found.psnr("plain") > 30


def test_it_is_told_and_drawn(leakage):
    text = repr(leakage)
    assert "plain" in text and " of 2" in text
    assert pictures.png(leakage.figure()).startswith(b"\x89PNG")
    assert len(leakage.figure().axes) == CLIENTS * 5


def test_without_noise_there_are_two_adversaries():
    found = tff_cnn.leak(config(), 1, steps=1, cohort=2)
    assert found.views == ["plain", "secure"]


@pytest.mark.parametrize(
    ("fields", "arguments", "message"),
    [
        ({}, {"method": "magic"}, "unknown method 'magic': .*dlg"),
        ({}, {"cohort": 1}, "a cohort of 1 hides nobody"),
        ({}, {"cohort": 7}, "6 clients have an image, and 7"),
        (
            {"dp": tff_cnn.AdaptiveClip(noise_multiplier=1.0)},
            {},
            "adaptive_clip cannot be looked at: use dp=fixed_clip",
        ),
        (
            {"local_randomizer": privacy.LocalGaussian(noise_multiplier=1.0)},
            {},
            "local_randomizer=gaussian would be ignored",
        ),
        (
            {"example_dp": privacy.DpSgd(noise_multiplier=1.0)},
            {},
            "example_dp=dp_sgd would be ignored",
        ),
    ],
)
def test_what_cannot_be_inverted_is_refused(fields, arguments, message):
    given = dataclasses.replace(config(), **fields)
    with pytest.raises(UsageError, match=message):
        tff_cnn.leak(given, steps=1, **arguments)
