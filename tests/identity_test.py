"""Fingerprints: what makes two configurations the same run."""

import dataclasses
import json
import pathlib

import pytest

from tff_cnn import identity
from tff_cnn.algorithms import Adam, Sgd
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import option
from tff_cnn.data import Dirichlet
from tff_cnn.privacy import MECHANISMS, STAGES, AdaptiveClip, FixedClip
from tff_cnn.runtime import InProcess, Native

_FIXTURES = pathlib.Path(__file__).parent / "experiments" / "fixtures"


def flags_of(name: str) -> dict:
    return json.loads((_FIXTURES / name / "config.json").read_text())["flags"]


@pytest.fixture(scope="module")
def old():
    return flags_of("run_of_95961ba")


@pytest.fixture(scope="module")
def config(old):
    return RunConfig.from_flat(old)


# As the program of each commit wrote it into the checkpoints beside it.
@pytest.mark.parametrize(
    ("name", "digest_of", "digest"),
    [
        (
            "run_of_95961ba",
            identity.fingerprint_of_format_1,
            "c764477d916f60040ef4bc2a70ed28a1fdf99dc45490bafc8a690bcec1b055ed",
        ),
        (
            "run_of_9fc2b2e",
            identity.fingerprint,
            "3b7c112379d58ddfe02fd8fffe28c6f5c58f2c5948deec18d57b54c1d5772fb3",
        ),
    ],
)
def test_digests_of_former_times_are_known(name, digest_of, digest):
    flags = flags_of(name)
    config = RunConfig.from_flat(flags)
    assert digest_of(config) == digest
    assert identity.changes(config, flags) == []


@pytest.mark.parametrize("name", ["run_of_95961ba", "run_of_9fc2b2e"])
def test_a_file_says_the_same_when_it_is_written_again(name):
    flags = flags_of(name)
    flat = RunConfig.from_flat(flags).flat()
    own = {"run_dir", "resume", "record"}
    assert {k: v for k, v in flags.items() if k not in own}.items() <= (
        flat.items()
    )
    assert RunConfig.from_flat(flat) == RunConfig.from_flat(flags)


@dataclasses.dataclass(frozen=True)
class Newer(RunConfig):
    """Of a program that knows more options."""

    proximity: float | None = option(None, "Of another time.")
    partial_work: bool = option(False, "Likewise.")
    attack: str = option("none", "Likewise.")
    made_up_fraction: float = option(0.0, "Likewise.")
    order: str = option("mean", "Likewise.", neutral="mean")


@pytest.mark.parametrize(
    "digest",
    [
        identity.fingerprint,
        identity.fingerprint_of_format_1,
        identity.run_name,
    ],
)
def test_an_option_that_is_new_and_has_no_effect_changes_no_run(
    config, old, digest
):
    newer = Newer.from_flat(old)
    assert digest(newer.resolved()) == digest(config.resolved())
    assert identity.changes(newer, old) == []


@pytest.mark.parametrize(
    "change",
    [
        {"proximity": 0.5},
        {"partial_work": True},
        {"attack": "label_flip"},
        {"made_up_fraction": 0.1},
        {"order": "median"},
        {"batch_size": 7},
        {"seed": 9},
    ],
)
def test_an_option_that_has_one_is_another_run(old, change):
    first = Newer.from_flat(old).resolved()
    newer = dataclasses.replace(first, **change)
    assert identity.fingerprint(newer) != identity.fingerprint(first)
    (told,) = identity.changes(newer, old)
    ((name, value),) = change.items()
    assert told.startswith(f"<{name}>={value} (was ")
    assert identity.run_name(newer) != identity.run_name(first)


@pytest.mark.parametrize(
    "change",
    [
        {"partition": Dirichlet(0.7)},
        {"client_optimizer": Sgd(0.1, momentum=0.5)},
        {"client_optimizer": Adam(0.1)},
        {"dp": AdaptiveClip(epsilon=3.0)},
        {"dp": None},
        {"runtime": Native()},
    ],
)
def test_another_component_or_option_of_one_is_another_run(config, change):
    changed = dataclasses.replace(config, **change)
    assert identity.fingerprint(changed) != identity.fingerprint(config)
    assert identity.changes(changed, config.flat())


@pytest.mark.parametrize(
    "change",
    [{"runtime": InProcess(threads=7)}, {"checkpoint_every": 9}],
)
def test_how_fast_is_no_matter(config, change):
    changed = dataclasses.replace(config, **change)
    assert identity.fingerprint(changed) == identity.fingerprint(config)
    assert identity.changes(changed, config.flat()) == []


def test_rounds_matter_where_noise_follows_from_them(config):
    assert config.dp.epsilon == 3
    longer = dataclasses.replace(config, rounds=9)
    assert identity.fingerprint(longer) != identity.fingerprint(config)
    free = config.with_options("dp", epsilon=None)
    longer = longer.with_options("dp", epsilon=None)
    assert identity.fingerprint(longer) == identity.fingerprint(free)


def test_rounds_matter_to_what_is_optimized_for_them():
    for stage in STAGES:
        for entry in stage.registry.entries:
            options = entry.options(noise_multiplier=1.0)
            found = RunConfig(**{stage.choice: options}).resolved()
            matters = entry.name in ("banded", "blt")
            assert ("rounds" in identity.material(found)) is matters
            found = found.with_options(stage.choice, epsilon=1.0)
            assert "rounds" in identity.material(found)
    assert "rounds" not in identity.material(RunConfig())


def test_what_was_resolved_is_read_back(config, old):
    asked = config.with_options("dp", noise_multiplier=None, delta=None)
    assert asked.resolved_as(old) == config
    other = {**old, "dp_noise_multiplier": 0.123}
    assert asked.resolved_as(other).dp.noise_multiplier == 0.123
    assert identity.changes(asked, other) == []
    typed = asked.with_options("dp", noise_multiplier=2.0)
    assert typed.resolved_as(other).dp.noise_multiplier == 2.0


@pytest.mark.parametrize(
    "value", [None, True, "x", [], {}, 0, -1.0, float("nan"), float("inf")]
)
def test_what_was_resolved_is_a_positive_number(config, old, value):
    asked = config.with_options("dp", delta=None)
    with pytest.raises(UsageError, match="config.json has dp.delta="):
        asked.resolved_as({**old, "dp_delta": value})


def test_runs_are_named_after_what_is_chosen():
    config = RunConfig(dp=FixedClip(epsilon=1.0), model="tanh_cnn").resolved()
    name = identity.run_name(config)
    assert name.startswith("digits-tanh_cnn-fedavg-fixed_clip-")
    other = dataclasses.replace(config, rounds=3)
    assert identity.run_name(other) != name


def test_every_mechanism_has_its_own_fingerprint():
    digests = {
        identity.fingerprint(
            RunConfig(dp=entry.options(noise_multiplier=1.0)).resolved()
        )
        for entry in MECHANISMS.entries
    }
    assert len(digests) == len(MECHANISMS.names)
