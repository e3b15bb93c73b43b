"""The tables of components and of algorithms, made from their entries.

  python -m experiments.components

writes them into BUILD_NOTES.md, each behind a comment.
"""

import pathlib
from collections.abc import Iterable, Iterator

from absl import flags

from experiments import entry, results
from tff_cnn.algorithms import ALGORITHMS
from tff_cnn.config import RunConfig
from tff_cnn.core.catalogue import Leaf
from tff_cnn.core.errors import UsageError
from tff_cnn.core.traits import Trait
from tff_cnn.privacy import STAGES

_BEGIN = "<!-- made by experiments.components -->\n"
_ALGORITHMS = "<!-- algorithms, made by experiments.components -->\n"
_DOCUMENT = pathlib.Path(__file__).parents[1] / "BUILD_NOTES.md"
_COLUMNS = ("flag, and names", "what it is", "flags", "needs that")


def table() -> str:
    """The table, in Markdown: choices, and below each its components."""
    found = [leaf for leaf in RunConfig.leaves().values() if leaf.is_choice]
    lines = [_COLUMNS, ("---",) * len(_COLUMNS)]
    registries = dict.fromkeys(leaf.known.registry for leaf in found)
    for registry in registries:
        lines += _rows([c for c in found if c.known.registry is registry])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def algorithms_table() -> str:
    """The table of algorithms, in Markdown.

    What is sound is what a configuration of it is not refused.
    """
    columns = ("algorithm", "paper", "down", "up", "a client keeps", "privacy")
    lines = [columns, ("---",) * len(columns)]
    for component in ALGORITHMS.entries:
        facts = component.facts
        told = [facts.get(n, "") for n in ("paper", "down", "up", "keeps")]
        lines.append(
            (f"`{component.name}`", *told, "; ".join(_sound(component.options)))
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _sound(algorithm: type) -> Iterator[str]:
    """Of each stage, the mechanisms that an algorithm goes with."""
    for stage in STAGES:
        refused = []
        for mechanism in stage.registry.entries:
            options = mechanism.options(noise_multiplier=1.0)
            try:
                RunConfig(
                    algorithm=algorithm(), **{stage.choice: options}
                ).resolved()
            except UsageError:
                refused.append(mechanism.name)
        names = stage.registry.names
        if not refused:
            yield f"`{stage.choice}`"
        elif len(refused) < len(names):
            found = [f"`{name}`" for name in names if name not in refused]
            yield f"`{stage.choice}`: {', '.join(found)}"
        else:
            yield f"no `{stage.choice}`"


def _rows(choices: list[Leaf]) -> Iterator[tuple[str, ...]]:
    """Of choices that have the same components; first what all share."""
    registry = choices[0].known.registry
    names = {choice.path for choice in choices}
    options = [o for o in RunConfig.leaves().values() if o.choice in names]
    common: list[Leaf] = []
    needs: list[Trait] = []
    if len(registry.entries) > 1:
        first, *others = registry.entries
        common = [o for o in options if len(o.owners) == 1 + len(others)]
        needs = [t for t in first.needs if all(t in e.needs for e in others)]
    yield (
        _flags(choices),
        f"**{registry.kind}**",
        _flags(common),
        _traits(needs),
    )
    for component in registry.entries:
        own = [o for o in options if component in o.owners and o not in common]
        yield (
            f"`{component.pattern}`",
            component.summary.rstrip("."),
            _flags(own),
            _traits(trait for trait in component.needs if trait not in needs),
        )


def _flags(leaves: Iterable[Leaf]) -> str:
    return ", ".join(f"`--{leaf.flag}`" for leaf in leaves)


def _traits(traits: Iterable[Trait]) -> str:
    return "; ".join(trait.name for trait in traits)


def define_flags() -> None:
    """Defines the flags of `experiments.components`."""
    flags.DEFINE_string("document", str(_DOCUMENT), "Where the table goes.")


def main(argv: list[str]) -> None:
    """Writes the tables into the document, and prints them."""
    del argv
    results.write_table(flags.FLAGS.document, table(), _BEGIN)
    results.write_table(flags.FLAGS.document, algorithms_table(), _ALGORITHMS)


def run() -> None:
    """Defines the flags, and runs `main` on them."""
    define_flags()
    entry.run(main)


if __name__ == "__main__":
    run()
