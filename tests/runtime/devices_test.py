import pytest

from tff_cnn.core.errors import UsageError
from tff_cnn.runtime import devices


@pytest.mark.parametrize(
    "names",
    [
        ["GPU:0"],
        ["gpu:3", "GPU:1"],
        ["CPU:0"],
        ["CPU:1", "CPU:0", "GPU:0"],
        [f"CPU:{number}" for number in range(64)],
    ],
)
def test_names_that_a_machine_could_have(names):
    devices.check_names(names)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["CPU:7"], "without a gap"),
        (["CPU:0", "CPU:2"], "without a gap"),
        ([f"CPU:{number}" for number in range(65)], "at most 64"),
        (["CPU:0", "cpu:0"], "names a CPU twice"),
        (["GPU:1", "GPU:1"], "names a GPU twice"),
        ([""], "must be auto"),
        (["GPU"], "must be auto"),
        (["GPU:-1"], "must be auto"),
        (["GPU:99999"], "must be auto"),
        (["GPU:0 "], "must be auto"),
        (["/device:GPU:0"], "must be auto"),
    ],
)
def test_names_that_none_has(names, reason):
    with pytest.raises(UsageError, match=f"runtime.devices=.*{reason}"):
        devices.check_names(names)
