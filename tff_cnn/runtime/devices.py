"""Names of devices, as flags have them. Nothing here imports TensorFlow."""

import re
from collections.abc import Sequence

from tff_cnn.core.errors import UsageError

# As many as one CPU is divided into, for trying out several devices.
_MOST_CPUS = 64


def check_names(names: Sequence[str]) -> None:
    """Refuses names that no machine could have.

    Args:
      names: Such as "GPU:0" and "CPU:1", in any case. CPUs are made, as many
        as are named, so they are counted from 0 without a gap.

    Raises:
      UsageError: What is wrong with them.
    """
    shown = ",".join(names)
    numbers: dict[str, list[int]] = {"CPU": [], "GPU": []}
    for name in names:
        match = re.fullmatch(r"(CPU|GPU):([0-9]{1,4})", name.upper())
        if not match:
            raise UsageError(
                f"<runtime.devices>={shown} must be auto, or names such as "
                "GPU:0 or GPU:0,GPU:1."
            )
        numbers[match[1]].append(int(match[2]))
    for kind, found in numbers.items():
        if len(set(found)) < len(found):
            raise UsageError(f"<runtime.devices>={shown} names a {kind} twice.")
    cpus = sorted(numbers["CPU"])
    if cpus != list(range(len(cpus))) or len(cpus) > _MOST_CPUS:
        raise UsageError(
            f"<runtime.devices>={shown}: CPUs are named from CPU:0 on, without "
            f"a gap, and at most {_MOST_CPUS} of them."
        )
