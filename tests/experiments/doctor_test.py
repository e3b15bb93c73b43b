"""In forks, and not the warm interpreter: devices are settled once."""

from tests import forked, processes

# The large job made small: that its report is right is told as well.
_PROGRAM = """
import dataclasses, runpy
from experiments.benchmarks import contenders
job = contenders.JOBS["mnist_cnn_round"]
contenders.JOBS["mnist_cnn_round"] = dataclasses.replace(
    job, num_clients=4, examples_per_client=30
)
runpy.run_module("experiments.doctor", run_name="__main__", alter_sys=True)
"""


def doctor(*flags: str) -> tuple[int, str, str]:
    program = forked.start("-c", _PROGRAM, *flags)
    out, err = program.communicate()
    return program.returncode, out, err


def test_says_what_there_is_and_what_was_chosen():
    status, out, err = doctor("--devices=CPU:0,CPU:1")
    assert status == 0, err
    for part in (
        "Python 3.11",
        "tensorflow 2.14.1",
        "cores for this process",
        "CUDA: TensorFlow was built for",
        "mnist_cnn_round: 4 clients of 30 images 28x28x1",
        "on CPU:0, CPU:1, ",
        "clients per step: 25",
        "examples/s",
    ):
        assert part in out


def test_a_device_that_is_not_there_is_one_sentence():
    status, _, err = doctor("--devices=GPU:9")
    assert status == 2
    assert "GPU:9" in err and err.count("\n") == 1


def test_names_that_are_none_answer_at_once():
    result = processes.run("-m", "experiments.doctor", "--devices=CPU:7")
    assert result.returncode == 2
    assert "without a gap" in result.stderr
    assert result.stderr.count("\n") == 1
