"""How a finished run's models serve each of its clients.

  python -m experiments.evaluate --run_dir=runs/... --personalize_epochs=1

It takes the run's last checkpoint, where the models are that clients keep for
themselves, and evaluates on each client's own examples: those that it holds
out, if the run was trained with --client_holdout, those of clients that were
never trained on (--holdout_clients, or --evaluate_on=validation), or else those
that it was trained on. It prints a table, and writes clients.csv, clients.png
and evaluation.json to the run folder.

With --personalize_epochs or --personalize_steps each client also goes on
training its model for itself, and is evaluated again.
"""

import os

from absl import flags

from experiments import entry
from tff_cnn import run as library
from tff_cnn.training.run_folder import CLIENT_SETS, RunFolder


def define_flags() -> None:
    """Defines the flags of `experiments.evaluate`."""
    flags.DEFINE_string("run_dir", None, "The folder of a run that has ended.")
    flags.DEFINE_list(
        "set",
        [],
        f"Which examples, of {', '.join(CLIENT_SETS)} (default: those that "
        "nothing was trained on, or, where there are none, training).",
    )
    flags.DEFINE_integer(
        "personalize_epochs",
        0,
        "Epochs for which each client trains its model for itself.",
    )
    flags.DEFINE_integer(
        "personalize_steps", 0, "The same in local steps; 0 is none."
    )
    flags.DEFINE_string(
        "data_dir", None, "Where the data is now (default: where it was)."
    )


def main(argv: list[str]) -> None:
    """Evaluates, prints a table, and writes it to the run folder."""
    del argv
    given = flags.FLAGS
    table = library.evaluate(
        given.run_dir,
        sets=given.set,
        personalize_epochs=given.personalize_epochs,
        personalize_steps=given.personalize_steps,
        data_dir=given.data_dir,
    )
    folder = RunFolder(given.run_dir)
    print(table)
    names = (folder.clients, folder.clients_picture, folder.evaluation)
    written = ", ".join(path.name for path in names)
    print(f"\n  written to {folder.path}{os.sep}: {written}")


def run() -> None:
    """Defines the flags, and runs `main` on them."""
    define_flags()
    entry.run(main)


if __name__ == "__main__":
    run()
