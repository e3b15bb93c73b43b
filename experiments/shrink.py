"""A finished run's model made small: pruned, with weights of 8 bits, as TFLite.

  python -m experiments.shrink --run_dir=runs/... --sparsities=0,0.5,0.8

It writes a file for each format and sparsity to the run's export folder, prints
their bytes and their accuracy on the run's test set, as TFLite computes it, and
writes both to shrunk.json in the run folder. No example is looked at for
anything but that accuracy: a small model is as private as the run's.
"""

from absl import flags

from experiments import entry
from tff_cnn import run as library
from tff_cnn.core.errors import UsageError
from tff_cnn.training.run_folder import SHRUNK_FORMATS, RunFolder


def define_flags() -> None:
    """Defines the flags of `experiments.shrink`."""
    flags.DEFINE_string("run_dir", None, "The folder of a run that has ended.")
    flags.DEFINE_list(
        "formats", list(SHRUNK_FORMATS), "Of the kernels: float32, int8."
    )
    flags.DEFINE_list(
        "sparsities",
        ["0"],
        "Shares of the kernels' weights that are set to zero, in [0, 1).",
    )
    flags.DEFINE_string(
        "data_dir", None, "Where the data is now (default: where it was)."
    )


def main(argv: list[str]) -> None:
    """Makes the files, and prints what they are like."""
    del argv
    given = flags.FLAGS
    found = library.shrink(
        given.run_dir,
        formats=given.formats,
        sparsities=[_number(text) for text in given.sparsities],
        data_dir=given.data_dir,
    )
    print(found)
    folder = RunFolder(given.run_dir)
    print(f"\n  written to {folder.export} and {folder.shrunk}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"--sparsities={text} must be numbers from 0 to below 1, as 0,0.5."
        ) from None


def run() -> None:
    """Defines the flags, and runs `main` on them."""
    define_flags()
    entry.run(main)


if __name__ == "__main__":
    run()
