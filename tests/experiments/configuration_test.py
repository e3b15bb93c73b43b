"""What becomes of flags before anything else sees them, without a process."""

import dataclasses
import itertools

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import (
    configuration,
    flag_checks,
    flag_conditions,
    train_flags,
)
from experiments import train as train  # Defines the flags.
from tff_cnn.core.errors import UsageError
from tff_cnn.data import SOURCES
from tff_cnn.privacy import (
    CORRELATED,
    DISTRIBUTED,
    FACTORIZATIONS,
    LOCAL_MECHANISMS,
    LOCAL_RANDOMIZERS,
    MECHANISMS,
)
from tff_cnn.selection import SAMPLERS

NAMES = [field.name for field in dataclasses.fields(configuration.TrainConfig)]
FLAGS = {
    flag.name: flag
    for flag in flags.FLAGS.get_key_flags_for_module(train_flags)
}
NOISE = {
    "dp": "dp_noise_multiplier",
    "local_randomizer": "local_update_noise_multiplier",
    "local_dp": "local_noise_multiplier",
}


def values_of(**changes) -> dict:
    """Defaults with `changes`, resolved as a command's are."""
    values = {name: FLAGS[name].default for name in NAMES}
    values |= {"model": "digits_cnn", "run_dir": "x"} | changes
    values["sampling"] = values["sampling"] or configuration.default_sampling(
        values["dp"]
    )
    private = any(values[switch] != "none" for switch in NOISE)
    values["client_weighting"] = values["client_weighting"] or (
        "uniform" if private else "examples"
    )
    for switch, noise in NOISE.items():
        if values[switch] != "none" and noise not in changes:
            values[noise] = 1.0
    return values


def dropped(values, given=(), typed=()):
    values = dict(values)
    argv = ["train", *(f"--{name}=x" for name in typed)]
    flag_conditions.drop_ineffective(values, set(given), argv)
    return values


def refused(**changes) -> str | None:
    """Why a command with these flags is refused, if it is."""
    try:
        values = dropped(values_of(**changes), given=changes, typed=changes)
        flag_checks.check_values(values)
    except UsageError as error:
        return str(error)
    return None


# Flag -> a value, and what it has an effect with.
PRIVATE = [{"dp": name} for name in MECHANISMS]
RANDOMIZED = [{"local_randomizer": name} for name in LOCAL_RANDOMIZERS]
LOCAL = [{"local_dp": name} for name in LOCAL_MECHANISMS]
EFFECTIVE = {
    "clients_per_step": ("4", [{"runtime": "in_process"}]),
    "devices": ("CPU:0", [{"runtime": "in_process"}]),
    "threads": (2, [{"runtime": "in_process"}]),
    "intra_op_threads": (2, [{"runtime": "in_process"}]),
    "inter_op_threads": (2, [{"runtime": "in_process"}]),
    "data_dir": ("x", [{"dataset": s} for s in SOURCES if s != "digits"]),
    "download": (True, [{"dataset": s} for s in SOURCES if s != "digits"]),
    "dirichlet_alpha": (1.0, [{"partition": "dirichlet"}]),
    "shards_per_client": (2, [{"partition": "shards"}]),
    "server_momentum": (0.5, [{"server_optimizer": "sgd"}]),
    "clients_per_round": (
        20,
        [{"sampling": s} for s in SAMPLERS if s != "full"],
    ),
    "min_separation": (2, [{"sampling": "shuffled_epochs"}]),
    "dp_clip_norm": (1.0, PRIVATE),
    "dp_noise_multiplier": (1.0, PRIVATE),
    "dp_epsilon": (1.0, PRIVATE),
    "dp_delta": (1e-3, PRIVATE),
    "dp_metrics": (True, [p for p in PRIVATE if p["dp"] not in DISTRIBUTED]),
    "test_only_deterministic_noise": (
        True,
        [
            *(p for p in PRIVATE if p["dp"] not in DISTRIBUTED),
            *RANDOMIZED,
            *LOCAL,
        ],
    ),
    "local_update_clip": (1.0, RANDOMIZED),
    "local_update_noise_multiplier": (1.0, RANDOMIZED),
    "local_update_epsilon": (1.0, RANDOMIZED),
    "local_update_delta": (1e-3, RANDOMIZED),
    "local_clip": (1.0, LOCAL),
    "local_noise_multiplier": (1.0, LOCAL),
    "local_epsilon": (1.0, LOCAL),
    "local_delta": (1e-5, LOCAL),
    "audit_canaries": (
        50,
        [
            p
            for p in PRIVATE
            if p["dp"] != "per_layer_clip" and p["dp"] not in DISTRIBUTED
        ],
    ),
    "dp_target_quantile": (0.4, [{"dp": "adaptive_clip"}]),
    "dp_clip_learning_rate": (0.1, [{"dp": "adaptive_clip"}]),
    "dp_single_tree": (True, [{"dp": "tree"}]),
    "dp_bands": (2, [{"dp": "banded"}]),
    "dp_buffers": (2, [{"dp": "blt"}]),
    "dp_bits": (16, [{"dp": name} for name in DISTRIBUTED]),
    "target_accuracy": (0.9, [{"eval_every": 1}]),
}
# In which none of them has one: the choices, beside the defaults, that switch
# off what is on.
WITHOUT = {
    "clients_per_step": {"runtime": "native"},
    "devices": {"runtime": "native"},
    "threads": {"runtime": "native"},
    "intra_op_threads": {"runtime": "native"},
    "inter_op_threads": {"runtime": "native"},
    "server_momentum": {"server_optimizer": "adam"},
    "clients_per_round": {"sampling": "full"},
    "target_accuracy": {"eval_every": 0},
    "audit_canaries": {"dp": "per_layer_clip"},
}


def test_every_condition_is_tried():
    assert set(EFFECTIVE) == set(flag_conditions._CONDITIONS)


@pytest.mark.parametrize("name", EFFECTIVE)
def test_a_flag_is_kept_where_it_has_an_effect_and_refused_elsewhere(name):
    value, choices = EFFECTIVE[name]
    for choice in choices:
        assert refused(**choice, **{name: value}) is None, choice
        values = values_of(**choice, **{name: value})
        assert dropped(values, given={name}, typed={name})[name] == value
    without = WITHOUT.get(name, {})
    message = refused(**without, **{name: value})
    assert message and f"--{name}={value} would be ignored" in message
    # Not asked for, it is None, or false.
    neutral = False if isinstance(value, bool) else None
    assert dropped(values_of(**without))[name] is neutral


def test_a_typed_choice_drops_flags_of_a_flagfile(capsys):
    values = values_of(dp="none", dp_clip_norm=1.0)
    found = dropped(values, given={"dp_clip_norm", "dp"}, typed={"dp"})
    assert found["dp_clip_norm"] is None
    assert "note: --dp_clip_norm of the flagfile" in capsys.readouterr().out
    with pytest.raises(UsageError, match="would be ignored"):
        dropped(values, given={"dp_clip_norm", "dp"})


@pytest.mark.parametrize("prefix", ["dp", "local_update", "local"])
def test_a_typed_noise_replaces_the_flagfile_s_epsilon(prefix, capsys):
    noise, epsilon = f"{prefix}_noise_multiplier", f"{prefix}_epsilon"
    switch = {"dp": PRIVATE, "local_update": RANDOMIZED, "local": LOCAL}[prefix]
    values = values_of(**switch[0], **{noise: 1.0, epsilon: 2.0})
    for typed, left in (
        ({noise}, (1.0, None)),
        ({epsilon}, (None, 2.0)),
        ({noise, epsilon}, (1.0, 2.0)),
        (set(), (1.0, 2.0)),
    ):
        found = dropped(values, given={noise, epsilon}, typed=typed)
        assert (found[noise], found[epsilon]) == left
    capsys.readouterr()


@pytest.mark.parametrize("dp", DISTRIBUTED)
def test_what_does_not_go_with_distributed_noise(dp):
    assert refused(dp=dp) is None
    for changes, part in (
        ({"local_randomizer": "gaussian"}, "--local_randomizer=gaussian does"),
        ({"sampling": "poisson"}, "--sampling=poisson does not fit"),
        ({"dp_metrics": True}, "--dp_metrics does not go"),
        ({"audit_canaries": 50}, "--audit_canaries does not go"),
        ({"test_only_deterministic_noise": True}, "does not go"),
    ):
        assert part in refused(dp=dp, **changes)


@pytest.mark.parametrize("changes", [RANDOMIZED[0], LOCAL[0]])
def test_canaries_measure_the_server_s_noise_alone(changes):
    (flag,) = changes
    assert refused(dp="fixed_clip", **changes) is None
    message = refused(dp="fixed_clip", audit_canaries=50, **changes)
    assert f"use --{flag}=none" in message


@pytest.mark.parametrize("stage", [PRIVATE[0], RANDOMIZED[0], LOCAL[0]])
def test_every_stage_needs_noise_and_uniform_weights(stage):
    (switch,) = stage
    assert "uniform" in refused(**stage, client_weighting="examples")
    noise = NOISE[switch]
    assert "neither of" in refused(**stage, **{noise: None})
    epsilon = noise.replace("noise_multiplier", "epsilon")
    assert refused(**stage, **{noise: None, epsilon: 1.0}) is None


@pytest.mark.parametrize("prefix", ["dp", "local_update"])
def test_a_delta_is_below_one_over_the_clients(prefix):
    stage = {"dp": PRIVATE[0], "local_update": RANDOMIZED[0]}[prefix]
    flag = f"{prefix}_delta"
    message = refused(**stage, **{flag: 0.01}, num_clients=100)
    assert f"--{flag}=0.01 must be below 1/num_clients = 0.01" in message
    assert refused(**stage, **{flag: 0.0099}, num_clients=100) is None


def test_cohorts_are_no_larger_than_the_population():
    assert refused(num_clients=20, clients_per_round=20) is None
    assert "more than" in refused(num_clients=20, clients_per_round=21)


def test_records_are_of_the_test_split():
    assert refused(record="x") is None
    assert "test split" in refused(record="x", evaluate_on="validation")


def test_default_sampling_fits_the_mechanism():
    expected = {"none": "fixed_size", **dict.fromkeys(MECHANISMS, "poisson")}
    expected |= dict.fromkeys(CORRELATED, "shuffled_epochs")
    expected |= dict.fromkeys(DISTRIBUTED, "fixed_size")
    for dp, sampling in expected.items():
        assert configuration.default_sampling(dp) == sampling


def config_of(**changes) -> configuration.TrainConfig:
    return configuration.TrainConfig(**dropped(values_of(**changes)))


def test_rounds_are_material_where_the_noise_depends_on_them():
    for stage in (*PRIVATE, *RANDOMIZED, *LOCAL):
        (switch,) = stage
        name = stage[switch]
        matters = switch == "dp" and name in FACTORIZATIONS
        assert ("rounds" in config_of(**stage).material()) is matters
        epsilon = NOISE[switch].replace("noise_multiplier", "epsilon")
        assert "rounds" in config_of(**stage, **{epsilon: 1.0}).material()
    assert "rounds" not in config_of().material()


def test_runtime_options_are_those_of_the_flags():
    config = config_of(devices="CPU:0,CPU:1", clients_per_step="7", threads=3)
    assert config.runtime_options() == {
        "devices": ["CPU:0", "CPU:1"],
        "threads": 3,
        "clients_per_step": 7,
    }
    assert config.preparation()["devices"] == ["CPU:0", "CPU:1"]
    assert config_of().runtime_options() == dict.fromkeys(
        ("devices", "threads", "clients_per_step")
    )
    native = config_of(runtime="native")
    assert native.runtime_options() == native.preparation() == {}


def test_stages_are_those_that_are_on():
    for on in itertools.product((False, True), repeat=3):
        stages = zip(on, (PRIVATE[0], RANDOMIZED[0], LOCAL[0]), strict=True)
        chosen = [stage for is_on, stage in stages if is_on]
        config = config_of(**{k: v for s in chosen for k, v in s.items()})
        assert on == (
            config.is_private,
            config.randomizes_updates,
            config.is_locally_private,
        )


@pytest.mark.parametrize("dp", CORRELATED)
def test_correlated_noise_needs_separated_clients(dp):
    assert refused(dp=dp) is None
    assert "does not fit" in refused(dp=dp, sampling="poisson")


def test_clipping_of_examples_needs_float32():
    assert refused(local_dp="dp_sgd", compute_dtype="float32") is None
    message = refused(local_dp="dp_sgd", compute_dtype="bfloat16")
    assert "use --compute_dtype=float32" in message


@pytest.mark.parametrize(
    "name",
    ["dataset", "model", "dp", "local_dp", "evaluate_on", "compute_dtype"],
)
def test_names_are_those_of_the_registries(name):
    flag_checks.check_names(values_of())
    flag_checks.check_names(values_of() | {"model": None})
    with pytest.raises(UsageError, match=r"unknown .*'nothing'"):
        flag_checks.check_names(values_of() | {name: "nothing"})


@pytest.mark.parametrize(
    ("changes", "weighting", "sampling", "folder"),
    [
        ({}, "examples", "fixed_size", "digits-digits_cnn-fedavg"),
        (
            {"dp": "fixed_clip", "dp_noise_multiplier": 1.0},
            "uniform",
            "poisson",
            "digits-digits_cnn-fedavg-fixed_clip",
        ),
        (
            {"local_dp": "dp_sgd", "local_noise_multiplier": 1.0},
            "uniform",
            "fixed_size",
            "digits-digits_cnn-fedavg-dp_sgd",
        ),
    ],
)
def test_what_a_command_resolves_to(changes, weighting, sampling, folder):
    with flagsaver.flagsaver(**changes):
        config = configuration.config_from_flags(["train"])
    assert config.client_weighting == weighting
    assert config.sampling == sampling
    assert config.run_dir.rpartition("-")[0] == f"runs/{folder}"
    with flagsaver.flagsaver(**changes, sampling="full", run_dir="x"):
        config = configuration.config_from_flags(["train"])
    assert config.clients_per_round == config.num_clients == 100
    assert config.run_dir == "x"
