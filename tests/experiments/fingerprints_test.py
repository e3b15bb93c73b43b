"""Fingerprints: what makes two configurations the same run."""

import dataclasses
import json

import pytest

from experiments import configuration
from experiments.configuration import TrainConfig
from tests.experiments.resuming_test import OLD
from tff_cnn.core.errors import UsageError


@pytest.fixture(scope="module")
def old():
    return json.loads((OLD / "config.json").read_text())["flags"]


@pytest.fixture(scope="module")
def config(old):
    return TrainConfig(**old)


# As the program of commit 95961ba wrote it into the checkpoint beside it.
_FINGERPRINT = (
    "c764477d916f60040ef4bc2a70ed28a1fdf99dc45490bafc8a690bcec1b055ed"
)


def test_digests_of_the_old_form_are_known(config):
    assert config.fingerprint_of_format_1() == _FINGERPRINT
    assert config.fingerprint() != _FINGERPRINT


@dataclasses.dataclass(frozen=True)
class Newer(TrainConfig):
    """Of a program that knows more flags."""

    proximal_mu: float | None = None
    partial_work: bool = False
    attack: str = "none"
    trim_fraction: float = 0.0


@pytest.mark.parametrize(
    "digest",
    [
        TrainConfig.fingerprint,
        TrainConfig.fingerprint_of_format_1,
        configuration._default_run_dir,
    ],
)
def test_a_flag_that_is_new_and_has_no_effect_changes_no_run(
    config, old, digest
):
    newer = Newer(**old)
    assert digest(newer) == digest(config)
    assert configuration.changes(newer, old) == []


@pytest.mark.parametrize(
    "change",
    [
        {"proximal_mu": 0.5},
        {"partial_work": True},
        {"attack": "label_flip"},
        {"trim_fraction": 0.1},
        {"batch_size": 7},
        {"seed": 9},
    ],
)
def test_a_flag_that_has_one_is_another_run(old, change):
    newer = dataclasses.replace(Newer(**old), **change)
    assert newer.fingerprint() != Newer(**old).fingerprint()
    (told,) = configuration.changes(newer, old)
    ((name, value),) = change.items()
    assert told.startswith(f"--{name}={value} (was ")
    folders = {configuration._default_run_dir(c) for c in (newer, Newer(**old))}
    assert len(folders) == 2


@pytest.mark.parametrize(
    "change", [{"threads": 7}, {"run_dir": "x"}, {"checkpoint_every": 9}]
)
def test_where_and_how_fast_is_no_matter(config, change):
    changed = dataclasses.replace(config, **change)
    assert changed.fingerprint() == config.fingerprint()


def test_rounds_matter_where_noise_follows_from_them(config):
    assert config.dp_epsilon == 3
    longer = dataclasses.replace(config, rounds=9)
    assert longer.fingerprint() != config.fingerprint()
    free = dataclasses.replace(config, dp_epsilon=None)
    longer = dataclasses.replace(longer, dp_epsilon=None)
    assert longer.fingerprint() == free.fingerprint()


def test_what_was_resolved_is_read_back(config, old):
    asked = dataclasses.replace(config, dp_noise_multiplier=None, dp_delta=None)
    assert asked.resolved_as(old) == config
    other = {**old, "dp_noise_multiplier": 0.123}
    assert asked.resolved_as(other).dp_noise_multiplier == 0.123
    typed = dataclasses.replace(asked, dp_noise_multiplier=2.0)
    assert typed.resolved_as(other).dp_noise_multiplier == 2.0


@pytest.mark.parametrize(
    "value", [None, True, "x", [], {}, 0, -1.0, float("nan"), float("inf")]
)
def test_what_was_resolved_is_a_positive_number(config, old, value):
    asked = dataclasses.replace(config, dp_delta=None)
    with pytest.raises(UsageError, match="config.json has --dp_delta="):
        asked.resolved_as({**old, "dp_delta": value})
