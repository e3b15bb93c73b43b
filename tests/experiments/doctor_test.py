from tests import processes


def test_says_what_there_is_and_what_was_chosen():
    result = processes.run("-m", "experiments.doctor", "--devices=CPU:0,CPU:1")
    assert result.returncode == 0, result.stderr
    lines = result.stdout
    for part in (
        "Python 3.11",
        "tensorflow 2.14.1",
        "cores for this process",
        "CUDA: TensorFlow was built for",
        "mnist_cnn_round: 10 clients of 600 images 28x28x1",
        "on CPU:0, CPU:1, ",
        "clients per step: 25",
        "examples/s",
    ):
        assert part in lines


def test_a_device_that_is_not_there_is_one_sentence():
    result = processes.run("-m", "experiments.doctor", "--devices=GPU:9")
    assert result.returncode == 2
    assert "GPU:9" in result.stderr and result.stderr.count("\n") == 1


def test_names_that_are_none_answer_at_once():
    result = processes.run("-m", "experiments.doctor", "--devices=CPU:7")
    assert result.returncode == 2
    assert "without a gap" in result.stderr
    assert result.stderr.count("\n") == 1
