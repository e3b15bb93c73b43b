import numpy as np
import pytest

from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.identity import fingerprint
from tff_cnn.selection import Available as Options
from tff_cnn.selection.availability import Available


def diurnal(num_clients, per_round, day=10, fraction=0.3):
    return Available(num_clients, per_round, 1, day, fraction)


def test_each_client_is_there_once_a_day_for_its_part_of_it():
    pattern = diurnal(200, 5).pattern
    there = np.zeros((30, 200), bool)
    for round_num in range(1, 31):
        there[round_num - 1, pattern.clients(round_num, 7)] = True
    assert (there.sum(0) == 9).all()  # 3 of 10 rounds a day.
    np.testing.assert_array_equal(there[:10], there[10:20])
    # In one go: it comes once a day.
    assert (np.diff(np.int8(there), axis=0, prepend=there[-1:]) == 1).sum(
        0
    ).tolist() == [3] * 200
    # At all times of the day, and others with another seed.
    counts = there[:10].sum(1)
    assert counts.min() > 30 and counts.max() < 95  # 60 +- 5 deviations.
    assert {*pattern.clients(1, 7)} != {*pattern.clients(1, 8)}


def test_who_is_there_is_drawn_from_uniformly():
    sampler = diurnal(40, 4, day=1, fraction=1.0)
    counts = np.zeros(40)
    for round_num in range(1, 4001):
        cohort = sampler.sample(round_num, 0)
        assert len({*cohort}) == 4
        counts[cohort] += 1
    slack = 5 * np.sqrt(0.1 * 0.9 / 4000)
    np.testing.assert_allclose(counts / 4000, 0.1, atol=slack)


def test_fewer_than_asked_for_are_a_smaller_cohort_and_none_an_empty_one():
    sampler = diurnal(6, 6, day=12, fraction=0.25)
    found = [sampler.sample(r, 3) for r in range(1, 13)]
    for round_num, cohort in enumerate(found, 1):
        there = sampler.pattern.clients(round_num, 3)
        np.testing.assert_array_equal(cohort, there)
    sizes = [len(cohort) for cohort in found]
    assert sum(sizes) == 6 * 3 and min(sizes) == 0
    # Binomial(6, 1/4), which is never above six.
    assert sampler.expected_cohort == pytest.approx(1.5)


@pytest.fixture
def trace(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "trace.csv"
        path.write_bytes(text.encode(encoding))
        return str(path)

    return write


def of_trace(path, num_clients=4, per_round=2, rounds=3, day=None):
    return Available(num_clients, per_round, rounds, day, None, path)


def test_a_trace_of_rounds(trace):
    path = trace("client,round\n0,1\n3,1\n1,1\n\n2,3\n2,3\n", "utf-8-sig")
    sampler = of_trace(path)
    there = [sampler.pattern.clients(r, 0).tolist() for r in (1, 2, 3)]
    assert there == [[0, 1, 3], [], [2]]
    assert len(sampler.sample(1, 0)) == 2
    assert sampler.sample(2, 0).tolist() == []
    assert sampler.sample(2, 0).dtype == np.int64
    assert sampler.sample(3, 0).tolist() == [2]
    assert sampler.expected_cohort == 1  # (2 + 0 + 1) / 3
    drawn = {tuple(of_trace(path).sample(1, seed)) for seed in range(40)}
    assert drawn == {(0, 1), (0, 3), (1, 3)}


def test_a_trace_of_stretches_that_repeats(trace):
    path = trace("Client, First, Last\r\n0,1,2\r\n1,2,4\r\n")
    sampler = of_trace(path, rounds=99, day=5)
    there = [sampler.pattern.clients(r, 0).tolist() for r in range(1, 12)]
    assert there[:5] == [[0], [0, 1], [1], [1], []]
    assert there[5:10] == there[:5] and there[10] == [0]
    assert sampler.expected_cohort == 1


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("client,round\n4,1\n", {}, "line 2 client 4, but .* 0 to 3: correct"),
        ("client,round\n0,0\n", {}, "line 2 rounds 0 to 0, but"),
        ("client,first,last\n0,1,3\n0,3,2\n", {}, "line 3 rounds 3 to 2"),
        ("client,round\n0,one\n", {}, "'0,one' in line 2: it needs 2 integers"),
        ("client,round\n0\n", {}, "'0' in line 2: it needs 2 integers"),
        ("client,round\n0,9" + "9" * 30 + "\n", {}, "it needs 2 integers"),
        ("client,time\n0,1\n", {}, "columns client, time: it needs client and"),
        ("", {}, "columns : it needs"),
        ("client,round\n", {}, "has no rows"),
        ("client,round\n0,2\n", {}, "ends with round 2, but rounds=3: length"),
        ("client,round\n0,2\n", {"day": 1}, "round 2, but a day has .*=1"),
        ('client,round\n"0,2\n', {}, "is no CSV file"),
    ],
)
def test_mistakes_in_a_trace_are_one_sentence(trace, text, changes, message):
    with pytest.raises(UsageError, match=message) as error:
        of_trace(trace(text), **changes)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("sampling.availability_trace=")


def test_what_is_no_text(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_bytes(b"client,round\n\xff,1\n")
    with pytest.raises(UsageError, match="is no CSV file"):
        of_trace(str(path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"availability_trace": "/nowhere.csv"}, "cannot be read .No such"),
        ({"availability_trace": "/tmp"}, "cannot be read .Is a directory"),
        ({"available_fraction": 0.0}, "available_fraction=0.0 must be in"),
        ({"rounds_per_day": 0}, "rounds_per_day=0 must be at least 1"),
        (
            {"availability_trace": "x", "available_fraction": 0.5},
            "available_fraction=0.5 would be ignored",
        ),
    ],
)
def test_mistakes_that_need_no_clients(options, message):
    with pytest.raises(UsageError, match=message):
        RunConfig(sampling=Options(**options)).resolved()


def test_a_part_of_a_day_that_is_less_than_a_round():
    with pytest.raises(UsageError, match="0.05 of .*=10 is less than a round"):
        diurnal(5, 2, day=10, fraction=0.05)


def test_a_run_is_known_by_what_its_trace_says(trace, tmp_path):
    def print_of(path):
        sampling = Options(availability_trace=str(path))
        return fingerprint(RunConfig(sampling=sampling).resolved())

    first = print_of(trace("client,round\n0,1\n"))
    other = tmp_path / "other.csv"
    other.write_text("client,round\n0,1\n")
    assert print_of(other) == first
    other.write_text("client,round\n1,1\n")
    assert print_of(other) != first
