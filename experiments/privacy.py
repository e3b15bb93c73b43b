"""Answers about privacy, without training.

  python -m experiments.privacy plan --num_clients=10000 \\
      --clients_per_round=500 --rounds=200
  python -m experiments.privacy account --run_dir=runs/...

`plan`: with so many clients, rounds and this cohort, which noise does an
epsilon need, what signal is left, and how many clients would be enough.
`account`: a run's epsilon, computed anew from its run folder alone. `--help`
after the command lists its flags.
"""

import sys

from absl import flags

from experiments import entry, privacy_account, privacy_plan
from tff_cnn.core.errors import UsageError
from tff_cnn.core.registry import unknown_name

# Each has `define_flags()` and `main(argv)`.
COMMANDS = {"plan": privacy_plan, "account": privacy_account}


def _refuse(argv: list[str]) -> None:
    found = argv[1] if len(argv) > 1 else ""
    raise UsageError(unknown_name("command", found, COMMANDS))


def run() -> None:
    """Defines the flags, and runs `main` on them."""
    command = COMMANDS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if command is None:
        wants_help = set(sys.argv) & entry.HELP_FLAGS
        if wants_help:
            print(__doc__)
            return
        entry.run(lambda argv: _refuse(sys.argv), parse=False)
        return
    command.define_flags()
    flags.adopt_module_key_flags(command)
    del sys.argv[1]
    sys.modules["__main__"].__doc__ = command.__doc__
    entry.run(command.main)


if __name__ == "__main__":
    run()
