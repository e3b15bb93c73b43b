import resource

import numpy as np
import pytest

from tff_cnn.core import client_states
from tff_cnn.core.client_states import ClientStates

INITIAL = np.array([1, 2, 3], np.float32)


def row(value):
    return np.full(3, value, np.float32)


def test_a_client_that_took_no_part_keeps_the_initial_values():
    states = ClientStates(INITIAL).after([4], [row(0.5)])
    np.testing.assert_array_equal(states.of([4, 7]), [row(0.5), INITIAL])


def test_a_round_that_is_dropped_leaves_nothing_behind():
    first = ClientStates(INITIAL).after([1, 2], [row(1), row(2)])
    second = first.after([2, 3], [row(20), row(30)])
    np.testing.assert_array_equal(
        first.of([1, 2, 3]), [row(1), row(2), INITIAL]
    )
    np.testing.assert_array_equal(
        second.of([1, 2, 3]), [row(1), row(20), row(30)]
    )


def test_what_is_given_may_change_afterwards():
    mine = row(1)
    states = ClientStates(INITIAL).after([1], [mine])
    mine[:] = 9
    np.testing.assert_array_equal(states.of([1])[0], row(1))
    with pytest.raises(ValueError, match="read-only"):
        states.of([1])[0][0] = 9


@pytest.mark.parametrize(
    ("clients", "rows", "message"),
    [([1, 1], [row(1), row(2)], "twice"), ([1], [np.zeros(2)], "keeps")],
)
def test_mistakes_are_refused(clients, rows, message):
    with pytest.raises(ValueError, match=message):
        ClientStates(INITIAL).after(clients, rows)


def test_it_comes_back_from_a_folder_bit_for_bit(tmp_path):
    odd = np.array([np.float32(0.1), np.finfo(np.float32).tiny, -0.0])
    states = ClientStates(INITIAL).after([5, 123456789], [odd, row(2)])
    states.save(tmp_path / "rows")
    found = ClientStates(INITIAL).restored(states.manifest, tmp_path / "rows")
    np.testing.assert_array_equal(found.manifest, states.manifest)
    for a, b in zip(
        found.of([5, 123456789, 6]),
        states.of([5, 123456789, 6]),
        strict=True,
    ):
        assert a.tobytes() == b.tobytes()
    files = {path.name for path in (tmp_path / "rows").iterdir()}
    assert (
        files == states.file_names == client_states.file_names(states.manifest)
    )


@pytest.mark.parametrize("damage", ["missing", "short", "flipped"])
def test_a_damaged_row_is_refused(tmp_path, damage):
    states = ClientStates(INITIAL).after([5], [row(1)])
    states.save(tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flipped" else content[:-1])
    with pytest.raises(ValueError, match=str(path)):
        ClientStates(INITIAL).restored(states.manifest, tmp_path)


def test_beyond_the_limit_what_took_part_longest_ago_is_mapped(tmp_path):
    states = ClientStates(INITIAL, scratch=tmp_path / "s", max_bytes=24)
    for client in range(5):
        states = states.after([client], [row(client)])
    states = states.after([0], [row(10)])
    in_memory = [c for c, r in states.rows.items() if r.file is None]
    assert in_memory == [4, 0]
    np.testing.assert_array_equal(
        states.of(range(5)), [row(v) for v in (10, 1, 2, 3, 4)]
    )
    states.save(tmp_path / "rows")  # Scratch files get a second name.
    found = states.restored(states.manifest, tmp_path / "rows")
    np.testing.assert_array_equal(found.of(range(5)), states.of(range(5)))


def test_memory_is_flat_with_many_clients(tmp_path):
    """10,000 clients of 40 KB, 10 a round, where 1 MB may be in memory."""
    initial = np.zeros(10_000, np.float32)
    states = ClientStates(initial, scratch=tmp_path, max_bytes=2**20)
    before = None
    for number in range(200):
        clients = range(10 * number, 10 * number + 10)
        states = states.after(clients, [initial + number] * 10)
        if number == 20:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert len(states.rows) == 2000
    held = [r for r in states.rows.values() if r.file is None]
    assert sum(r.values.nbytes for r in held) <= 2**20
    assert grown < 24 * 1024  # kB; all rows are 80 MB.
    np.testing.assert_array_equal(states.of([1234])[0], initial + 123)
