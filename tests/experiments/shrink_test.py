"""The binary that makes models small."""

import json

from tests import processes


def test_writes_files_and_prints_what_they_are_like(trained, tmp_path):
    run_dir = trained("--rounds=1").copy(tmp_path / "run")
    result = processes.call(
        "experiments.shrink", f"--run_dir={run_dir}", "--sparsities=0,0.9"
    )
    assert result.returncode == 0, result.stderr
    assert "model-int8-sparse0.9.tflite" in result.stdout
    found = json.loads((run_dir / "shrunk.json").read_text())
    by_name = {model["file"]: model for model in found["models"]}
    whole = by_name["model-float32.tflite"]
    # Zeros cost nothing where they are zipped, and what is of 8 bits is small.
    sparse = by_name["model-float32-sparse0.9.tflite"]
    assert sparse["zipped_bytes"] < whole["zipped_bytes"] / 2
    assert by_name["model-int8.tflite"]["bytes"] < whole["bytes"]
    assert (run_dir / "export" / "model-int8.tflite").is_file()


def test_mistakes_are_told():
    result = processes.call("experiments.shrink", "--sparsities=half")
    assert result.returncode == 2
    assert "--sparsities=half must be numbers" in result.stderr
    result = processes.call("experiments.shrink")
    assert result.returncode == 2 and "--run_dir is missing" in result.stderr
