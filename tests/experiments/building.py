"""What a command line resolves to and builds, short of training."""

import subprocess

from tests import processes

_PROGRAM = """
from experiments import entry, flags, help, train

train.define_flags()


def main(argv):
    from tff_cnn import runtime
    from tff_cnn.training import assembly

    config = flags.config_from_flags(argv)
    runtime.close()
    run = assembly.build(config)
    leaves = run.config.leaves()
    for leaf in leaves.values():
        if leaf.is_choice or leaf.flag == "rounds":
            print(f"{leaf.flag}={run.config.get(leaf)}")
    print(f"parameters={run.task.num_parameters}")
    print(f"expected_cohort={run.sampler.expected_cohort:g}")


entry.run(
    main, show_help=lambda topic, line: help.show(topic, line, "Builds.")
)
"""


def build(*flags: str) -> subprocess.CompletedProcess:
    """As `processes.train`, up to the first round.

    All flags are checked and resolved, data loaded and dealt, noise found,
    model, aggregation and process built; then what came of it is printed, a
    "name=value" a line.
    """
    return processes.call("-c", _PROGRAM, *flags)


def found(result: subprocess.CompletedProcess) -> dict[str, str]:
    """What `build` has printed."""
    lines = [line for line in result.stdout.splitlines() if "=" in line]
    return dict(line.split("=", 1) for line in lines if " " not in line)
