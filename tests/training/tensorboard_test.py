import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator

from tff_cnn.training.loop import Round
from tff_cnn.training.tensorboard import TensorBoardWriter


def row(number):
    return {
        "round": number,
        "train_loss": 1.0 / number,
        "test_accuracy": 0.5 if number % 2 == 0 else None,
        "epsilon": None,
        "seconds": 0.1,
    }


def read(folder):
    events = event_accumulator.EventAccumulator(str(folder)).Reload()
    return {
        tag: [(e.step, events_value(e)) for e in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


def tags(folder):
    """Tag -> its steps, of scalars and histograms."""
    events = event_accumulator.EventAccumulator(str(folder)).Reload()
    return {
        tag: [event.step for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


def events_value(event):
    import tensorflow as tf

    return float(tf.make_ndarray(event.tensor_proto))


def test_scalars_are_those_of_the_rows_also_after_resuming(tmp_path):
    folder = tmp_path / "tensorboard"
    writer = TensorBoardWriter(folder, [])
    for number in (1, 2, 3):
        writer.after_round(Round(number, None, row(number)))
    writer.close()
    # Resumed after round 2: round 3 is run again.
    writer = TensorBoardWriter(folder, [row(1), row(2)])
    for number in (3, 4):
        writer.after_round(Round(number, None, row(number)))
    writer.close()
    scalars = read(folder)
    assert scalars["train/loss"] == [
        (n, pytest.approx(1.0 / n)) for n in (1, 2, 3, 4)
    ]
    assert scalars["test/accuracy"] == [(2, 0.5), (4, 0.5)]
    assert "privacy/epsilon" not in scalars


def test_what_is_known_of_each_client_is_a_histogram(tmp_path):
    writer = TensorBoardWriter(tmp_path / "board", [row(1)])
    found = {"client_accuracy": np.array([0.5, 1.0])}
    writer.after_round(Round(2, None, row(2), distributions=found))
    private = {**row(3), "epsilon": 2.0}
    writer.after_round(Round(3, None, private, distributions=found))
    writer.close()
    shown = tags(tmp_path / "board")
    assert shown["clients/accuracy"] == [2]
    label = "not private, simulation only"
    assert shown[f"{label}/client_accuracy"] == [3]


def test_raw_metrics_of_a_private_run_are_labelled(tmp_path):
    folder = tmp_path / "tensorboard"
    writer = TensorBoardWriter(folder, [])
    private = {**row(1), "epsilon": 2.0, "signal_to_noise": 0.5}
    writer.after_round(Round(1, None, private))
    writer.close()
    scalars = read(folder)
    label = "not private, simulation only"
    assert scalars[f"{label}/train_loss"] == [(1, 1.0)]
    assert scalars[f"{label}/signal_to_noise"] == [(1, 0.5)]
    assert "train/loss" not in scalars
    assert scalars["privacy/epsilon"] == [(1, 2.0)]
