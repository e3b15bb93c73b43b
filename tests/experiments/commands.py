"""Commands of `experiments.train` that are parsed, and no more, in a test."""

from collections.abc import Iterator

from absl.testing import flagsaver

from experiments import entry, help, train
from experiments import flags as run_flags
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError

if "record" not in run_flags.flags.FLAGS:
    train.define_flags()


def parsed(*arguments: str) -> RunConfig:
    """The configuration of a command, as the binary finds it.

    Raises:
      UsageError: As the binary says it.
    """
    argv = ["train", *arguments]
    with flagsaver.flagsaver():
        entry.parse_flags(argv, help.show)
        return run_flags.config_from_flags(argv)


def refused(*arguments: str) -> str | None:
    """The sentence that a command is refused with; None of a good one."""
    try:
        parsed(*arguments)
    except UsageError as error:
        status, sentence = entry.describe(error)
        assert status == 2 and "\n" not in sentence
        return sentence
    return None


def good_values(leaf) -> Iterator[str]:
    """Values of an option, in range and not its default."""
    kind, allowed = leaf.field.kind, leaf.known.range
    if kind is bool:
        yield "true"
    elif kind is str:
        yield from {
            "devices": ["CPU:0"],
            "clients_per_step": ["4"],
            "image_size": ["8,9"],
            "backdoor_rounds": ["5"],
            "public_dataset": ["mnist"],
            "client_models": ["lenet5,digits_cnn"],
        }.get(leaf.name, [v for v in leaf.known.choices] or ["x"])
    else:
        for value in (0.005, 0.5, 2, 1, 50):
            if allowed.holds(value) and isinstance(value, kind | int):
                yield str(value)
