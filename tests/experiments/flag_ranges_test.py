"""Every number that a flag takes has limits, and both ends are tried."""

import math

import pytest
from absl import flags
from hypothesis import given
from hypothesis import strategies as st

from experiments import flag_ranges, train_flags
from experiments import train as train  # Defines the flags.
from tff_cnn.core.errors import UsageError

NUMBERS = sorted(
    flag.name
    for flag in flags.FLAGS.get_key_flags_for_module(train_flags)
    if type(flag.parser).__name__ in ("IntegerParser", "FloatParser")
)


def refuses(name, value) -> bool:
    try:
        flag_ranges.check({name: value})
    except UsageError as error:
        assert str(error).startswith(f"--{name}={value} must be ")
        return True
    return False


def test_every_flag_that_is_a_number_has_a_range():
    assert len(NUMBERS) > 30
    missing = set(NUMBERS) - set(flag_ranges.RANGES)
    assert missing == {"audit_canaries"}  # 0, or from a lowest number on.


@pytest.mark.parametrize("name", NUMBERS)
def test_defaults_are_in_range_and_what_is_no_number_is_not(name):
    flag_ranges.check({name: flags.FLAGS[name].default})
    for value in (math.nan, math.inf, -math.inf, -1, 1e31, 10**400):
        assert refuses(name, value), value


@given(st.sampled_from(sorted(flag_ranges.RANGES)), st.data())
def test_ends_belong_to_closed_ranges_only(name, data):
    allowed = flag_ranges.RANGES[name]
    for end, outside in (
        (allowed.lowest, -math.inf),
        (allowed.highest, math.inf),
    ):
        assert refuses(name, end) is allowed.is_open
        beyond = end + math.copysign(1, outside)
        if beyond != end:
            assert refuses(name, beyond)
        assert refuses(name, math.nextafter(float(end), outside)) or (
            isinstance(end, int) and abs(end) >= 2**53
        )
    inside = data.draw(
        st.floats(
            float(allowed.lowest),
            float(allowed.highest),
            exclude_min=True,
            exclude_max=True,
        )
    )
    assert not refuses(name, inside)


@pytest.mark.parametrize(
    ("value", "refused"),
    [(0, False), (1, True), (9, True), (10, False), (10**6, False),
     (10**6 + 1, True), (-1, True)],
)  # fmt: skip
def test_canaries(value, refused):
    assert refuses("audit_canaries", value) is refused


@pytest.mark.parametrize(
    ("given", "refused"),
    [("auto", False), ("1", False), ("999999999", False), ("0", True),
     ("1000000000", True), ("9" * 5000, True), ("-1", True), ("\u0663", True),
     ("1.0", True), ("", True), (None, False)],
)  # fmt: skip
def test_clients_per_step(given, refused):
    assert refuses("clients_per_step", given) is refused


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [
        ("num_clients", 1, 10**9),
        ("rounds", 1, 10**6),
        ("batch_size", 1, 2**31 - 1),
        ("seed", 0, 2**63 - 1),
        ("threads", 1, 1024),
        ("dirichlet_alpha", 1e-4, 1e9),
        ("client_learning_rate", 1e-30, 1e30),
        ("dp_clip_norm", 1e-9, 1e9),
        ("dp_noise_multiplier", 0.01, 1e6),
        ("local_update_epsilon", 1e-6, 1e6),
    ],
)
def test_limits_are_those_of_the_documentation(name, lowest, highest):
    found = flag_ranges.RANGES[name]
    assert (found.lowest, found.highest) == (lowest, highest)


def test_a_noise_of_zero_is_told_how_to_go_without():
    for name, switch in (("dp_clip_norm", "dp"), ("local_clip", "local_dp")):
        with pytest.raises(UsageError, match=f"use --{switch}=none"):
            flag_ranges.check({name: 0.0})
