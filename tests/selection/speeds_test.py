"""How long clients take: by hand, by distribution, and from files."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tff_cnn import selection
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.selection import SPEEDS

DRAWN = {
    "equal": selection.EqualSpeed(),
    "half_normal": selection.HalfNormalSpeed(),
    "log_normal": selection.LogNormalSpeed(spread=0.7),
    "pareto": selection.ParetoSpeed(tail_index=1.2),
}
# P(slowness <= x), where the median is 1.
DISTRIBUTIONS = {
    "half_normal": lambda x: math.erf(x * 0.6744897501960817 / math.sqrt(2)),
    "log_normal": lambda x: (1 + math.erf(math.log(x) / 0.7 / 2**0.5)) / 2,
    "pareto": lambda x: max(0.0, 1 - x**-1.2 / 2),
}


def build(options, num_clients=10, seed=0):
    return SPEEDS.build(options, num_clients, seed)


def trace(tmp_path, content, num_clients=2, **options):
    path = tmp_path / "speeds.csv"
    path.write_bytes(content)
    return build(selection.TraceSpeed(file=str(path), **options), num_clients)


def test_every_drawn_speed_is_tested_here():
    assert {*DRAWN, "trace"} == set(SPEEDS)


@pytest.mark.parametrize("name", DRAWN)
@given(
    seed=st.integers(0, 2**63),
    client=st.integers(0, 9),
    number=st.integers(1, 10**6),
    examples=st.integers(0, 10**6),
)
def test_seconds_are_a_pure_function(name, seed, client, number, examples):
    first, second = (build(DRAWN[name], seed=seed) for _ in range(2))
    found = first.seconds(client, number, examples)
    first.seconds(0, 1, 1)
    assert found == first.seconds(client, number, examples)
    assert found == second.seconds(client, number, examples)
    assert 0 <= found < math.inf
    # Without jitter a client is as fast in all rounds, and time is examples.
    assert found == first.seconds(client, 1, examples)
    one = first.seconds(client, 1, 1)
    assert found == pytest.approx(one * examples)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_clients_are_as_fast_as_their_distribution_says(name):
    speed = build(DRAWN[name], 4000, seed=5)
    found = np.sort([speed.seconds(c, 1, 100) for c in range(4000)])
    # One hundred examples take the median client one second. The largest
    # distance of 4,000 draws is above 0.031 once in a thousand times.
    ranks = np.arange(1, 4001) / 4000
    distances = [
        abs(DISTRIBUTIONS[name](x) - rank)
        for x, rank in zip(found, ranks, strict=True)
    ]
    assert max(distances) < 0.031


def test_equal_clients_differ_by_their_examples_alone():
    speed = build(selection.EqualSpeed(seconds_per_example=0.5))
    assert [speed.seconds(c, 3, 4) for c in range(10)] == [2.0] * 10
    assert speed.seconds(0, 1, 0) == 0


def test_the_network_takes_its_time_whatever_is_computed():
    speed = build(
        selection.EqualSpeed(seconds_per_example=0.5, network_seconds=3.0)
    )
    assert [speed.seconds(0, 1, n) for n in (0, 4)] == [3.0, 5.0]


def test_jitter_is_of_each_client_and_round():
    speed = build(selection.EqualSpeed(jitter=0.5), 100)
    found = np.array(
        [[speed.seconds(c, n, 100) for c in range(100)] for n in range(1, 41)]
    )
    assert len(np.unique(found)) == found.size
    # Of 4,000 logarithms: standard errors are 0.008 and 0.0056.
    assert np.mean(np.log(found)) == pytest.approx(0, abs=0.04)
    assert np.std(np.log(found)) == pytest.approx(0.5, abs=0.03)


def test_another_seed_makes_other_clients_fast():
    first, second = (
        [build(DRAWN["pareto"], seed=s).seconds(c, 1, 1) for c in range(10)]
        for s in (0, 1)
    )
    assert not set(first) & set(second)


def test_a_trace_says_what_an_example_takes(tmp_path):
    content = b"\xef\xbb\xbfclient,seconds_per_example\r\n1,2\r\n\r\n0,0.5\r\n"
    speed = trace(tmp_path, content, network_seconds=1.0)
    assert [speed.seconds(c, 1, 10) for c in (0, 1)] == [6.0, 21.0]


def test_a_trace_may_say_what_a_round_takes(tmp_path):
    speed = trace(tmp_path, b"client,seconds\n0,3\n1,0\n7,9\n")
    assert [speed.seconds(c, 1, n) for c in (0, 1) for n in (0, 5)] == [
        3.0,
        3.0,
        0.0,
        0.0,
    ]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "begins with ''"),
        (b"client;seconds\n0;1\n", "must be client,seconds_per_example or"),
        (b"client,speed\n0,1\n", "begins with 'client,speed'"),
        (b"client,seconds\n0,1\n", "no row of client 1 and 1 of 2 clients"),
        (b"client,seconds\n0,1\n0,2\n", "row 3, is of client 0, which has"),
        (b"client,seconds\n0,-1\n", "row 2, is '0,-1': it must be"),
        (b"client,seconds\n0,nan\n", "row 2, is '0,nan'"),
        (b"client,seconds\n0,inf\n", "row 2, is '0,inf'"),
        (b"client,seconds\n0.5,1\n", "row 2, is '0.5,1'"),
        (b"client,seconds\n-1,1\n", "row 2, is '-1,1'"),
        (b"client,seconds\n0,1,2\n", "row 2, is '0,1,2'"),
        (b"client,seconds\n0\n", "row 2, is '0'"),
        (b"\xff\xfe\0", "is no CSV file"),
        (b'client,seconds\n"0,1\n', "is no CSV file"),
    ],
)
def test_a_trace_that_is_none(tmp_path, content, part):
    with pytest.raises(UsageError) as refused:
        trace(tmp_path, content)
    assert part in str(refused.value)
    assert str(refused.value).count(". ") == 0  # One sentence.


@pytest.mark.parametrize("name", ["", "none.csv", "a\0b", "../.."])
def test_a_trace_that_is_not_there(tmp_path, name):
    with pytest.raises(UsageError, match="=trace:.* is no file that is there:"):
        build(selection.TraceSpeed(file=f"{tmp_path}/{name}"))


def test_a_run_knows_its_trace_by_what_it_holds(tmp_path):
    path = tmp_path / "a.csv"
    found = []
    for content in ("client,seconds\n0,1\n", "client,seconds\n0,2\n"):
        path.write_text(content)
        config = RunConfig(client_speed=f"trace:{path}")
        found.append(config.digests()["client_speed_digest"])
        assert config.flat()["client_speed"] == f"trace:{path}"
    assert found[0] != found[1]
    for file, part in (
        ("trace:/nowhere.csv", "client_speed=trace:/nowhere.csv is no file"),
        (f"trace:{__file__}", "its first row must be"),
        ("trace:", "says not which: write trace:FILE"),
    ):
        with pytest.raises(UsageError, match=part):
            RunConfig(client_speed=file).resolved()
    with pytest.raises(UsageError, match="has the file ''"):
        selection.TraceSpeed()
