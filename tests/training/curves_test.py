import io

import numpy as np
import pytest
from PIL import Image

from tff_cnn.training import curves


def rows(count, epsilon):
    return [
        {
            "round": n,
            "train_loss": 1.0 / n,
            "train_accuracy": 0.5,
            "test_loss": 1.0 / n,
            "test_accuracy": 0.1 * n if n % 2 else None,
            "epsilon": epsilon,
            "delta": 1e-3,
        }
        for n in range(1, count + 1)
    ]


@pytest.mark.parametrize(("count", "epsilon"), [(1, None), (5, 2.0), (40, 8.0)])
def test_is_a_picture_with_a_panel_more_for_private_runs(
    tmp_path, count, epsilon
):
    path = tmp_path / "curves.png"
    curves.draw(path, rows(count, epsilon), "title", "test")
    picture = Image.open(io.BytesIO(path.read_bytes()))
    panels = 3 if epsilon else 2
    assert picture.width == pytest.approx(4.2 * 130 * panels, abs=2)
    # Something is drawn besides axes: lines in matplotlib's first color.
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    blue = np.abs(pixels - [31, 119, 180]).sum(axis=2) < 30
    assert blue.sum() > 20
