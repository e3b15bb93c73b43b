"""The binary that inverts updates."""

import json

from tests import processes

QUICKSTART = processes.ROOT / "experiments" / "quickstart.flags"


def test_prints_draws_and_writes(tmp_path):
    picture, figures = tmp_path / "leakage.png", tmp_path / "leakage.json"
    result = processes.call(
        "experiments.leakage",
        f"--flagfile={QUICKSTART}",
        "--clients=1",
        "--steps=30",
        "--cohort=2",
        f"--output={picture}",
        f"--json={figures}",
    )
    assert result.returncode == 0, result.stderr
    assert "digits from updates of digits_cnn: cosine" in result.stdout
    assert "Exception" not in result.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    found = json.loads(figures.read_text())
    assert list(found) == ["plain", "clipped", "noised", "secure"]
    assert found["plain"]["median_psnr"] > found["noised"]["median_psnr"]


def test_mistakes_answer_before_any_work():
    result = processes.call("experiments.leakage", "--output=leakage.gif")
    assert result.returncode == 2
    assert "--output=leakage.gif must end with .png" in result.stderr
