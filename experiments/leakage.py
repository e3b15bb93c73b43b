"""What a client's update tells of the image that it was trained on.

  python -m experiments.leakage --flagfile=experiments/quickstart.flags

It takes a run's flags, lets some clients take one local step on one image each,
and inverts what they send: as it is, clipped, clipped and noised as --dp has
it, and in the mean of a cohort's, which is what secure aggregation shows. It
prints how well the images are found, and draws them beside the originals.
"""

import os

import tqdm
from absl import flags

from experiments import entry, help, outputs
from experiments import flags as run_flags
from tff_cnn import leakage, runtime
from tff_cnn.core import pictures

_OWN_FLAGS = (
    "clients",
    "cohort",
    "method",
    "steps",
    "restarts",
    "output",
    "json",
)


def define_flags() -> None:
    """Defines the flags of `experiments.leakage`."""
    run_flags.define()
    flags.DEFINE_integer("clients", 3, "Whose updates are inverted.", 1)
    flags.DEFINE_integer("cohort", 10, "Clients in a secure sum.", 2)
    flags.DEFINE_string(
        "method",
        "cosine_similarity",
        "How: cosine_similarity (Geiping et al. 2020) or dlg (Zhu et al. "
        "2019).",
    )
    flags.DEFINE_integer("steps", 1200, "Steps of an inversion.", 1)
    flags.DEFINE_integer("restarts", 1, "Starts; the nearest counts.", 1)
    flags.DEFINE_string(
        "output",
        os.path.join("runs", "leakage.png"),
        "Where to draw it, as PNG; --output= draws nothing.",
    )
    flags.DEFINE_string("json", None, "File for the figures.")


def main(argv: list[str]) -> None:
    """Prints the figures and draws the picture; `argv` is what was typed."""
    given = flags.FLAGS
    outputs.check(given.output, "--output", ".png")
    outputs.check(given.json, "--json")
    config = run_flags.config_from_flags(argv)
    count = leakage.num_inversions(config, given.clients)
    total = count * given.steps * given.restarts
    try:
        with tqdm.tqdm(total=total, unit="steps", leave=False) as bar:
            found = leakage.leak(
                config,
                given.clients,
                given.method,
                given.steps,
                given.restarts,
                given.cohort,
                bar.update,
            )
    finally:
        runtime.close()
    print(found)
    if given.output:
        outputs.write(given.output, pictures.png(found.figure()))
        print(f"\n{given.output}")
    outputs.write_json(given.json, found.figures)


def run() -> None:
    """Defines the flags, and runs `main` on them."""
    define_flags()
    entry.run(
        main,
        show_help=lambda topic, expanded: help.show(
            topic, expanded, __doc__, _OWN_FLAGS
        ),
    )


if __name__ == "__main__":
    run()
