import errno
import os
import tempfile

import numpy as np
import pytest
import tensorflow as tf

from tff_cnn.runtime.in_process import rows as rows_module
from tff_cnn.runtime.in_process.rows import NoRoomError, build_rows, trimming

MIB = 2**20


def memory(kind: str = "VmRSS") -> float:
    """Of this process, in MiB."""
    with open("/proc/self/status") as file:
        (line,) = [line for line in file if line.startswith(f"{kind}:")]
    return int(line.split()[1]) / 1024


@pytest.fixture
def all_in_files(monkeypatch):
    monkeypatch.setattr(rows_module, "IN_MEMORY", 0)
    monkeypatch.setattr(rows_module, "_WRITTEN", 4 * MIB)


@pytest.mark.parametrize("in_memory", [0, 2**31])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, np.bool_])
def test_rows_stand_below_what_they_began_with(monkeypatch, in_memory, dtype):
    monkeypatch.setattr(rows_module, "IN_MEMORY", in_memory)
    start = np.ones([2, 3], dtype)
    given = np.random.default_rng(0).integers(0, 2, [4, 3]).astype(dtype)
    (rows,) = build_rows([start], 4)
    for row in given:
        rows.append(row)
    assert rows.is_in_file == (in_memory == 0 and dtype != np.bool_)
    np.testing.assert_array_equal(rows.tensor(), [*start, *given])


def test_scalars_and_nobody():
    (scalars, nobody) = build_rows(
        [np.zeros([0], np.float32), np.zeros([0, 3], np.float32)], 2
    )
    scalars.append(np.float32(1))
    scalars.append(np.float32(2))
    assert scalars.tensor().numpy().tolist() == [1, 2]
    (nobody,) = build_rows([np.zeros([0, 3], np.float32)], 0)
    assert nobody.tensor().shape == [0, 3]


def test_all_leaves_together_decide_where_they_go(monkeypatch):
    monkeypatch.setattr(rows_module, "IN_MEMORY", 7 * 8 * 4 - 1)
    starts = [np.zeros([0, 3], np.float32), np.zeros([0, 5], np.float32)]
    assert [r.is_in_file for r in build_rows(starts, 7)] == [True, True]
    assert [r.is_in_file for r in build_rows(starts, 6)] == [False, False]


def test_a_tensor_outlives_its_rows_and_is_no_copy(all_in_files):
    (rows,) = build_rows([np.zeros([0, 4], np.float32)], 1)
    rows.append(np.arange(4, dtype=np.float32))
    tensor = rows.tensor()
    rows._array[0, 0] = 7
    rows.trim()
    del rows
    assert tensor.numpy().tolist() == [[7, 1, 2, 3]]


def test_what_is_in_a_file_is_not_in_memory(all_in_files):
    count = 200  # Rows of 1 MiB.
    row = np.ones(MIB // 4, np.float32)
    before = memory()
    (rows,) = build_rows([np.zeros([0, MIB // 4], np.float32)], count)
    for _ in range(count):
        rows.append(row)
    assert memory() < before + 50
    tensor = rows.tensor()
    assert memory() < before + 50
    with trimming([rows]):
        pass
    assert tf.reduce_sum(tensor).numpy() == count * MIB / 4
    assert memory() > before + 150  # Or it would not be told from the rest.
    rows.trim()
    assert memory() < before + 50


def test_rows_are_trimmed_while_they_are_read(all_in_files, monkeypatch):
    (rows,) = build_rows([np.zeros([0], np.float32)], 1)
    calls = iter(range(100))
    is_done = rows_module.threading.Event()
    monkeypatch.setattr(rows, "trim", lambda: next(calls) < 2 or is_done.set())
    with trimming([rows]):
        assert is_done.wait(10)
    with pytest.raises(ZeroDivisionError), trimming([rows]):
        raise ZeroDivisionError


def test_no_room_is_told_with_the_remedy(all_in_files, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(NoRoomError) as error:
        build_rows([np.zeros([0, 10**9], np.float32)], 2)
    assert f"need 8.0 GB in {tempfile.gettempdir()}" in str(error.value)
    assert "set TMPDIR" in str(error.value)
