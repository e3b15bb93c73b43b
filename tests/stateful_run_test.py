"""Runs whose clients keep values: memory, resuming, and what is exported."""

import pathlib

import psutil
import pytest
import tensorflow as tf

import tff_cnn
from tests.run_test import assert_same, build_model, fail_after, stripes
from tff_cnn import runtime
from tff_cnn.training import assembly

K = tf.keras.layers


def config(**fields):
    return tff_cnn.RunConfig(
        **{
            "dataset": tff_cnn.Arrays(*stripes(90), test=stripes(30, 1)),
            "model": build_model,
            "algorithm": "scaffold",
            "num_clients": 6,
            "clients_per_round": 3,
            "rounds": 4,
            # Several at once would be compiled twice.
            "runtime": tff_cnn.InProcess(clients_per_step="1"),
            **fields,
        }
    )


def private_bytes() -> int:
    """Of this process, without the files that it maps."""
    return psutil.Process().memory_full_info().uss - sum(
        mapped.rss
        for mapped in psutil.Process().memory_maps()
        if mapped.path.endswith(".f32")
    )


def wide_model():
    layers = [K.InputLayer((6, 6, 1)), K.Flatten(), K.Dense(1000), K.Dense(3)]
    return tf.keras.Sequential(layers)


def test_memory_is_flat_with_10_000_clients(tmp_path):
    """Of which ten take part a round; each keeps 160 kB."""
    built = assembly.build(
        config(
            dataset=tff_cnn.Arrays(*stripes(10_000), test=stripes(30, 1)),
            model=wide_model,
            num_clients=10_000,
            clients_per_round=10,
            client_states_mb=0,
        ).resolved()
    )
    with runtime.use("in_process", clients_per_step=1):
        engine = built.engine(tmp_path / "scratch")
        state = engine.initialize()
        for number in range(1, 46):
            state = engine.step(state, engine.plan(number)).state
            if number == 15:
                before = private_bytes()
        grown = private_bytes() - before
    # Rows are 72 MB, those of the last 30 rounds 48.
    assert len(state.clients.rows) > 430
    assert grown < 24 * 2**20
    assert len(list((tmp_path / "scratch").iterdir())) == 450


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """(run folder, result)."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, tff_cnn.train(config(), folder)


def rows(folder: pathlib.Path) -> dict[str, bytes]:
    """Name of the file of each client's values -> its bytes."""
    found = (folder / "checkpoints" / "clients").iterdir()
    return {path.name: path.read_bytes() for path in found}


def test_a_run_that_was_interrupted_is_continued(
    uninterrupted, tmp_path, monkeypatch
):
    """What clients keep included, to the bit; wherever that is held."""
    folder, expected = uninterrupted
    with monkeypatch.context() as patch:
        fail_after(2, KeyboardInterrupt(), patch)
        with pytest.raises(KeyboardInterrupt):
            tff_cnn.train(config(), tmp_path / "run")
    found = tff_cnn.train(config(client_states_mb=0), tmp_path / "run")
    assert_same(expected, found)
    assert rows(tmp_path / "run") == rows(folder)
    assert len(rows(folder)) >= 6


def test_nothing_that_clients_keep_is_exported(uninterrupted):
    folder, _ = uninterrupted
    # Whatever the format, numbers stand in it one after the other.
    parts = [
        row[at : at + 32] for row in rows(folder).values() for at in (0, 64)
    ]
    parts = [part for part in parts if len(set(part)) > 8]
    assert len(parts) > 8

    def holds(place: pathlib.Path) -> set[str]:
        files = [path for path in place.rglob("*") if path.is_file()]
        return {
            path.name
            for path in files
            if any(part in path.read_bytes() for part in parts)
        }

    assert holds(folder / "checkpoints") == set(rows(folder))
    assert holds(folder / "export") == set()
    assert len(list((folder / "export").rglob("*"))) > 5
