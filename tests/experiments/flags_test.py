"""What becomes of flags before anything else sees them, without a process."""

import dataclasses
import math

import pytest
from absl import flags as absl_flags

from experiments import flags as run_flags
from tests import processes
from tests.experiments.commands import good_values, parsed, refused
from tff_cnn import components, identity
from tff_cnn.config import RunConfig
from tff_cnn.core import traits
from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import (
    EXAMPLE_MECHANISMS,
    LOCAL_RANDOMIZERS,
    MECHANISMS,
    STAGES,
)
from tff_cnn.selection import SAMPLERS

LEAVES = RunConfig.leaves()
OPTIONS = [leaf for leaf in LEAVES.values() if not leaf.is_choice]
NUMBERS = [leaf for leaf in OPTIONS if leaf.field.kind in (int, float)]
IDS = {"ids": lambda leaf: getattr(leaf, "flag", None)}
NOISE = {
    stage.choice: run_flags.flag_of(f"{stage.choice}.noise_multiplier")
    for stage in STAGES
}


# Data of one's own, and where some is.
SOURCES = processes.ROOT / "tests" / "experiments" / "fixtures" / "sources"
FILES = {
    "image_folder": {"data_dir": SOURCES / "images"},
    "arrays": {"data_file": SOURCES / "arrays.npz"},
    "index": {"data_file": SOURCES / "index.csv"},
}
# Values that no cohort is too small or too large for.
FITTING = {"assumed_attackers": 1, "secure_max_clients": 1000}
TRACE = SOURCES.parent / "availability.csv"
# What follows the name, where not anything may.
ARGUMENTS = {"trace": SOURCES / "speeds.csv"}


# An option that needs another one of its component's.
WITH = {
    "client_nesterov": "--client_momentum=0.5",
    "server_nesterov": "--server_momentum=0.5",
    "bound_learning_rate": "--bound_quantile=0.5",
    "flip_from": "--flip_to=1",
    "flip_to": "--flip_from=1",
    "secure_dropout": "--secure_protocol=masking",
    "secure_neighbours": "--secure_protocol=masking",
    "secure_threshold": "--secure_protocol=masking",
    "zeroing_learning_rate": "--zeroing_quantile=0.5",
}


def chosen(choice: str, name: str) -> list[str]:
    """A choice, and what it cannot do without."""
    flags = [f"--{choice}={name}"]
    flags += [f"--{flag}={path}" for flag, path in FILES.get(name, {}).items()]
    if choice in NOISE:
        flags.append(f"{NOISE[choice]}=1")
    return flags


@pytest.mark.parametrize("leaf", OPTIONS, **IDS)
def test_an_option_is_kept_where_it_has_an_effect_and_refused_elsewhere(leaf):
    entries = LEAVES[leaf.choice].known.registry.entries if leaf.choice else ()
    for entry in entries:
        is_owner = entry in leaf.owners
        (value, *_) = good_values(leaf.of(entry) if is_owner else leaf)
        value = str(FILES.get(entry.name, {}).get(leaf.flag, value))
        value = str(FITTING.get(leaf.flag, value))
        if leaf.flag == "availability_trace":
            value = str(TRACE)
        name = entry.name
        if entry.argument:
            name = f"{name}:{ARGUMENTS.get(name, 'x')}"
        flags = [*chosen(leaf.choice, name), f"--{leaf.flag}={value}"]
        if is_owner and leaf.flag in WITH:
            assert "would be ignored" in refused(*flags)
            flags.append(WITH[leaf.flag])
        message = refused(*flags)
        if not is_owner:
            assert f"--{leaf.flag}={'True' if value == 'true' else ''}" in (
                message
            )
            assert "would be ignored" in message
            assert f"but --{leaf.choice} is '{name}'" in message
        elif message is None:
            found = parsed(*flags).flat()[leaf.key]
            assert str(found).lower() == value.lower() or (
                found == float(value)
            )
        else:  # A rule of this component alone.
            assert "would be ignored" not in message
            assert leaf.path in entry.refuses


@pytest.mark.parametrize("leaf", OPTIONS, **IDS)
def test_what_does_not_apply_is_none_or_false_in_files(leaf):
    flat = RunConfig().flat()
    if leaf.choice is not None:
        is_on = leaf.choice in {name for name, _, _ in RunConfig().chosen()}
        if not is_on:
            assert flat[leaf.key] is leaf.absent


def test_a_flag_of_a_flagfile_gives_way_to_a_typed_choice(tmp_path, capsys):
    path = tmp_path / "x.flags"
    path.write_text("--dp=fixed_clip\n--dp_clip_norm=1\n--dp_epsilon=8\n")
    config = parsed(f"--flagfile={path}", "--dp=none")
    assert config.dp is None and config.flat()["dp_clip_norm"] is None
    said = capsys.readouterr().out
    assert (
        "note: --dp_clip_norm of the flagfile has no effect with --dp=none."
    ) in said
    path.write_text("--dp_clip_norm=1\n")
    assert "would be ignored" in refused(f"--flagfile={path}")


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.choice)
def test_a_typed_noise_replaces_the_flagfile_s_epsilon(stage, tmp_path, capsys):
    noise = run_flags.flag_of(f"{stage.choice}.noise_multiplier")
    epsilon = run_flags.flag_of(f"{stage.choice}.epsilon")
    path = tmp_path / "x.flags"
    name = stage.registry.names[0]
    path.write_text(f"--{stage.choice}={name}\n{noise}=1\n{epsilon}=2\n")
    for typed, left in (
        ([f"{noise}=3"], (3.0, None)),
        ([f"{epsilon}=4"], (None, 4.0)),
        ([f"{noise}=3", f"{epsilon}=4"], (3.0, 4.0)),
        ([], (1.0, 2.0)),
    ):
        config = parsed(f"--flagfile={path}", *typed)
        options = getattr(config, stage.choice)
        assert (options.noise_multiplier, options.epsilon) == left
    assert f"note: {epsilon} of the flagfile gives way to {noise}." in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(("before", "now"), run_flags.former_flags().items())
def test_former_flags_work_with_a_notice(before, now, capsys):
    stage = next(s for s in STAGES if LEAVES[now].path.startswith(s.choice))
    name = stage.registry.names[0]
    leaf = LEAVES[now]
    value = name if leaf.is_choice else next(good_values(leaf))
    on = chosen(stage.choice, name)
    others = [flag for flag in on if not flag.startswith(f"--{now}=")]
    for given in ([f"--{before}={value}"], [f"-{before}", value]):
        assert parsed(*others, *given) == parsed(*others, f"--{now}={value}")
        assert f"note: --{before} is now --{now}; both work." in (
            capsys.readouterr().out
        )


def test_the_flags_of_former_times_are_these():
    assert run_flags.former_flags() == {
        "local_update_clip": "local_update_clip_norm",
        "local_dp": "example_dp",
        "local_clip": "example_clip_norm",
        "local_noise_multiplier": "example_noise_multiplier",
        "local_epsilon": "example_epsilon",
        "local_delta": "example_delta",
    }


@pytest.mark.parametrize("leaf", NUMBERS, **IDS)
def test_every_number_has_a_range_with_its_default(leaf):
    allowed = leaf.known.range
    default = run_flags.default_of(leaf)
    assert default is None or allowed.holds(default)
    for value in (math.nan, math.inf, -math.inf, -1, 1e31, 10**400):
        assert not allowed.holds(value)
    on = chosen(leaf.choice, leaf.owners[0].name) if leaf.choice else []
    message = refused(*on, f"--{leaf.flag}=-1")
    assert message.startswith(f"error: --{leaf.flag}=-1")
    assert "must be" in message


@pytest.mark.parametrize(
    ("flag", "lowest", "highest"),
    [
        ("num_clients", 1, 10**9),
        ("rounds", 1, 10**6),
        ("batch_size", 1, 2**31 - 1),
        ("seed", 0, 2**63 - 1),
        ("threads", 1, 1024),
        ("dirichlet_alpha", 1e-4, 1e9),
        ("client_learning_rate", 1e-30, 1e30),
        ("server_momentum", 0, 1 - 1e-9),
        ("dp_clip_norm", 1e-9, 1e9),
        ("dp_noise_multiplier", 0.01, 1e6),
        ("dp_clip_learning_rate", 1e-9, 10),
        ("dp_bits", 1, 22),
        ("dp_buffers", 1, 10),
        ("example_clip_norm", 1e-9, 1e9),
        ("local_update_epsilon", 1e-6, 1e6),
        ("audit_canaries", 10, 10**6),
        ("target_accuracy", 1e-9, 1),
    ],
)
def test_limits_are_those_of_the_documentation(flag, lowest, highest):
    found = LEAVES[flag].known.range
    assert (found.lowest, found.highest) == (lowest, highest)


def test_no_canaries_are_allowed_and_few_are_not():
    allowed = LEAVES["audit_canaries"].known.range
    assert [allowed.holds(n) for n in (0, 1, 9, 10, 10**6, 10**6 + 1)] == [
        True,
        False,
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("given", "is_refused"),
    [("auto", False), ("1", False), ("999999999", False), ("0", True),
     ("1000000000", True), ("9" * 5000, True), ("-1", True), ("\u0663", True),
     ("1.0", True), ("", True)],
)  # fmt: skip
def test_clients_per_step(given, is_refused):
    message = refused(f"--clients_per_step={given}")
    assert (message is not None) is is_refused
    assert message is None or "--clients_per_step=" in message


def test_a_noise_of_zero_is_told_how_to_go_without():
    for stage in STAGES:
        clip = run_flags.flag_of(f"{stage.choice}.clip_norm")
        on = chosen(stage.choice, stage.registry.names[0])
        message = refused(*on, f"{clip}=0")
        assert f"for a run without noise use --{stage.choice}=none" in message


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.choice)
def test_every_stage_needs_noise_and_uniform_weights(stage):
    on = chosen(stage.choice, stage.registry.names[0])
    message = refused(*on, "--client_weighting=examples")
    assert "--client_weighting=examples does not fit" in message
    assert "use --client_weighting=uniform" in message
    assert "neither of" in refused(on[0])
    epsilon = run_flags.flag_of(f"{stage.choice}.epsilon")
    assert refused(on[0], f"{epsilon}=1") is None
    assert parsed(*on).client_weighting == "uniform"
    assert parsed().client_weighting == "examples"


@pytest.mark.parametrize("choice", ["dp", "local_randomizer"])
def test_a_delta_is_below_one_over_the_clients(choice):
    registry = LEAVES[choice].known.registry
    on = [*chosen(choice, registry.names[0]), "--num_clients=100"]
    flag = run_flags.flag_of(f"{choice}.delta")
    message = refused(*on, f"{flag}=0.01")
    assert f"{flag}=0.01 must be below 1/num_clients = 0.01" in message
    assert refused(*on, f"{flag}=0.0099") is None


def test_cohorts_are_no_larger_than_the_population():
    few = "--num_clients=20"
    assert refused(few, "--clients_per_round=20") is None
    assert "more than" in refused(few, "--clients_per_round=21")


@pytest.mark.parametrize("name", MECHANISMS.needing(traits.FIXED_COHORT))
def test_what_does_not_go_with_distributed_noise(name):
    on = chosen("dp", name)
    assert refused(*on) is None
    for flags, part in (
        (
            chosen("local_randomizer", "gaussian"),
            f"--dp={name} does not fit --local_randomizer=gaussian",
        ),
        (["--sampling=poisson"], "--sampling=poisson does not fit"),
        (["--dp_metrics"], "--dp_metrics=True does not go with --dp="),
        (["--audit_canaries=50"], "--audit_canaries=50 does not go with"),
        (["--test_only_deterministic_noise"], "does not go with"),
    ):
        assert part in refused(*on, *flags)


@pytest.mark.parametrize("choice", ["local_randomizer", "example_dp"])
def test_canaries_measure_the_server_s_noise_alone(choice):
    registry = LEAVES[choice].known.registry
    flags = [*chosen("dp", "fixed_clip"), *chosen(choice, registry.names[0])]
    assert refused(*flags) is None
    message = refused(*flags, "--audit_canaries=50")
    assert f"--{choice}={registry.names[0]} does not go with" in message
    assert "--audit_canaries=50" in message


def test_samplers_fit_mechanisms_by_their_traits():
    for entry in MECHANISMS.entries:
        for sampler in SAMPLERS.entries:
            needed = set(entry.needs) & {
                traits.FIXED_COHORT,
                traits.KNOWN_COHORTS,
                traits.SEPARATED_ROUNDS,
            }
            message = refused(
                *chosen("dp", entry.name), f"--sampling={sampler.name}"
            )
            if needed <= set(sampler.offers):
                assert message is None
            elif "dp" in sampler.refuses:
                assert sampler.refuses["dp"] in message
            else:
                assert (
                    f"--sampling={sampler.name} does not fit --dp={entry.name}"
                ) in message


def test_default_sampling_fits_the_mechanism():
    assert SAMPLERS.entry_of(parsed().sampling).name == "fixed_size"
    for entry in MECHANISMS.entries:
        config = parsed(*chosen("dp", entry.name))
        expected = "poisson"
        if traits.SEPARATED_ROUNDS in entry.needs:
            expected = "shuffled_epochs"
        if traits.FIXED_COHORT in entry.needs:
            expected = "fixed_size"
        assert SAMPLERS.entry_of(config.sampling).name == expected


def test_clipping_of_examples_needs_float32():
    on = chosen("example_dp", EXAMPLE_MECHANISMS.names[0])
    message = refused(*on, "--compute_dtype=bfloat16")
    assert "use --compute_dtype=float32" in message


@pytest.mark.parametrize(
    "flag",
    [leaf.flag for leaf in LEAVES.values() if leaf.is_choice]
    + ["evaluate_on", "compute_dtype", "client_weighting"],
)
def test_names_are_those_of_the_registries(flag):
    message = refused(f"--{flag}=nothing")
    assert f"unknown --{flag} 'nothing'" in message
    allows_none = getattr(LEAVES[flag].known, "allows_none", False)
    assert ("valid are none, " in message) is allows_none
    assert refused(f"--{flag}=") is not None


@pytest.mark.parametrize(
    ("flags", "weighting", "sampling", "folder"),
    [
        ([], "examples", "fixed_size", "digits-digits_cnn-fedavg"),
        (
            ["--dp=fixed_clip", "--dp_noise_multiplier=1"],
            "uniform",
            "poisson",
            "digits-digits_cnn-fedavg-fixed_clip",
        ),
        (
            ["--local_dp=dp_sgd", "--local_noise_multiplier=1"],
            "uniform",
            "fixed_size",
            "digits-digits_cnn-fedavg-dp_sgd",
        ),
        (
            ["--local_randomizer=laplace", "--local_update_epsilon=1"],
            "uniform",
            "fixed_size",
            "digits-digits_cnn-fedavg-local_laplace",
        ),
    ],
)
def test_what_a_command_resolves_to(flags, weighting, sampling, folder):
    config = parsed(*flags)
    assert config.client_weighting == weighting
    assert config.flat()["sampling"] == sampling
    assert identity.run_name(config).rpartition("-")[0] == folder
    config = parsed(*flags, "--sampling=full")
    assert config.clients_per_round == config.num_clients == 100


# Of commit 9fc2b2e: its commands find their folders again.
@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("", "digits-digits_cnn-fedavg-29647168"),
        (
            "--dp=fixed_clip --dp_epsilon=3",
            "digits-digits_cnn-fedavg-fixed_clip-1c599834",
        ),
        (
            "--dp=distributed_skellam --dp_noise_multiplier=1 --num_clients=50",
            "digits-digits_cnn-fedavg-distributed_skellam-7e492f41",
        ),
        (
            "--local_dp=dp_sgd --local_noise_multiplier=1 "
            "--server_momentum=0.5",
            "digits-digits_cnn-fedavg-dp_sgd-f99ebdea",
        ),
        (
            "--dataset=mnist --partition=shards --local_randomizer=laplace "
            "--local_update_epsilon=9 --sampling=full",
            "mnist-mcmahan_cnn-fedavg-local_laplace-30abe60c",
        ),
        (
            "--dp=banded --dp_noise_multiplier=2 --audit_canaries=20 "
            "--dp_bands=3 --target_accuracy=0.5",
            "digits-digits_cnn-fedavg-banded-0f998124",
        ),
    ],
)
def test_the_same_command_finds_its_folder(flags, name):
    assert identity.run_name(parsed(*flags.split())) == name


def test_options_of_a_runtime_are_those_of_the_flags():
    config = parsed(
        "--devices=CPU:0,CPU:1", "--clients_per_step=7", "--threads=3"
    )
    assert config.runtime.opening() == {
        "devices": ["CPU:0", "CPU:1"],
        "threads": 3,
        "clients_per_step": 7,
    }
    assert config.runtime.preparation()["devices"] == ["CPU:0", "CPU:1"]
    assert parsed().runtime.opening() == dict.fromkeys(
        ("devices", "threads", "clients_per_step")
    )
    native = parsed("--runtime=native").runtime
    assert native.opening() == native.preparation() == {}


def test_flags_are_defined_once_and_name_no_field():
    before = set(absl_flags.FLAGS)
    run_flags.define()
    assert set(absl_flags.FLAGS) == before
    for leaf in LEAVES.values():
        assert "<" not in run_flags.help_of(leaf).replace("< ", "")
        assert "{" not in run_flags.help_of(leaf)


def test_the_typed_configuration_says_the_same_in_python():
    for stage in (MECHANISMS, LOCAL_RANDOMIZERS, EXAMPLE_MECHANISMS):
        kind = stage.entries[0].options
        with pytest.raises(UsageError, match="clip_norm=0.0 must be") as error:
            RunConfig(
                **{
                    s.choice: kind(clip_norm=0.0)
                    for s in STAGES
                    if s.registry is stage
                }
            )
        assert "--" not in str(error.value)
    with pytest.raises(UsageError, match="client_weighting=examples does not"):
        RunConfig(
            dp=MECHANISMS.entries[0].options(noise_multiplier=1.0),
            client_weighting="examples",
        ).resolved()
    config = parsed("--dp=fixed_clip", "--dp_epsilon=3", "--rounds=7")
    typed = RunConfig(
        dp=MECHANISMS.find("fixed_clip").options(epsilon=3.0), rounds=7
    )
    assert components.filled_in(typed) == config
    assert dataclasses.replace(config) == config
