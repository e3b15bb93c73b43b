"""What a partition looks like, before an hour is spent on it.

tff_cnn.inspect("mnist", partition=tff_cnn.Dirichlet(alpha=0.1))
"""

import dataclasses
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tff_cnn import components
from tff_cnn.algorithms import PublicData
from tff_cnn.config import RunConfig
from tff_cnn.core import pictures
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import fields_of
from tff_cnn.data import PARTITIONERS, SOURCES

if TYPE_CHECKING:  # They take a moment.
    import numpy as np
    from matplotlib.figure import Figure

    from tff_cnn.data.examples import Source
    from tff_cnn.data.heterogeneity import Partition


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Inspection:
    """A partition, in numbers and as a picture.

    As a text it is what there is to know in a few lines.

    Attributes:
      title: Which data, dealt how.
      about: What this way of dealing is.
      partition: Of which it is.
      notes: Sentences on what was found.
    """

    title: str
    about: str
    partition: "Partition"
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> "np.ndarray":
        """Examples of each client, [clients]."""
        return self.partition.sizes

    @property
    def counts(self) -> "np.ndarray":
        """Of each client, examples of each label: [clients, labels]."""
        return self.partition.counts

    @property
    def figures(self) -> Mapping[str, float]:
        """Name -> number: see `tff_cnn.data.heterogeneity`."""
        return self.partition.figures

    def figure(self) -> "Figure":
        """One picture that explains the partition at a glance."""
        from tff_cnn.data import picture

        return picture.draw(self.partition, self.title, self.about)

    def show(self) -> "Figure | None":
        """Shows it in a notebook; elsewhere returns the figure."""
        return pictures.show(self.figure())

    def __repr__(self) -> str:
        from tff_cnn.data import picture

        words = f"{self.about} {picture.in_words(self.partition)}"
        lines = [self.title, *textwrap.wrap(words, 79), ""]
        lines += [
            f"  {name:<22} {text}"
            for name, text in picture.told(self.partition).items()
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def inspect(
    what: Any,
    partition: Any = None,
    num_clients: int | None = None,
    seed: int | None = None,
) -> Inspection:
    """Deals a data set as a run would, and looks at what comes of it.

    Images are read for the few that are drawn only.

    Args:
      what: A `RunConfig`, which says all the rest; a data set, by its name or
        as options, as `RunConfig.dataset`; or a `data.examples.Source`.
      partition: As `RunConfig.partition`.
      num_clients: As `RunConfig.num_clients`.
      seed: As `RunConfig.seed`.

    Raises:
      UsageError: Data that is not there, or cannot be dealt so.
      FailedRunError: Data that cannot be read.
    """
    given = {"partition": partition, "num_clients": num_clients, "seed": seed}
    given = {name: value for name, value in given.items() if value is not None}
    if isinstance(what, RunConfig):
        if given:
            raise UsageError(
                f"<{next(iter(given))}> is said by the RunConfig already: set "
                "it there."
            )
        return _inspect(what, SOURCES.build(what.dataset))
    from tff_cnn.data.examples import Source

    if isinstance(what, Source):
        return _inspect(RunConfig(**given), what)
    config = RunConfig(dataset=what, **given)
    return _inspect(config, SOURCES.build(config.dataset))


def _inspect(config: RunConfig, source: "Source") -> Inspection:
    # Imported here: NumPy takes a moment, mistakes should not.
    from tff_cnn.core import randomness
    from tff_cnn.data import dealing, public_examples
    from tff_cnn.data.heterogeneity import Partition

    config = components.with_clients(config)
    if isinstance(config.algorithm, PublicData):
        # What is public is dealt to nobody.
        source, _ = public_examples.split(
            source, config.algorithm, config.dataset, config.seed
        )
    dealt = dealing.dealt(
        source,
        PARTITIONERS.builder(config.partition),
        config.num_clients,
        randomness.seed_sequence(config.seed, randomness.Purpose.PARTITION),
    )
    found = Partition(source, dealt)
    entry = PARTITIONERS.entry_of(config.partition)
    return Inspection(
        _title(config, source, len(found.sizes)),
        entry.summary,
        found,
        (*source.notes, *dealt.notes, *_held_out(config, len(found.sizes))),
    )


def _title(config: RunConfig, source: "Source", num_clients: int) -> str:
    options = ", ".join(
        f"{field.name}={getattr(config.partition, field.name)}"
        for field in fields_of(type(config.partition))
    )
    entry = PARTITIONERS.entry_of(config.partition)
    how = f"{entry.name} ({options})" if options else entry.name
    return (
        f"{source.name}: {len(source.train):,} images dealt by {how} to "
        f"{num_clients:,} clients, seed {config.seed}"
    )


def _held_out(config: RunConfig, num_clients: int) -> list[str]:
    """What a run would set aside of these clients."""
    found = []
    if config.evaluate_on == "validation":
        found.append(
            "of these clients a fifth is set aside by "
            "evaluate_on=validation: a run evaluates on them, and trains on "
            "the others."
        )
    if config.holdout_clients:
        found.append(
            f"of these clients a part of {config.holdout_clients:g} is set "
            "aside by holdout_clients: a run evaluates on each of them, and "
            "trains on the others."
        )
    if config.client_holdout:
        found.append(
            f"of each client's examples, a part of {config.client_holdout:g} "
            "is held out of its training by client_holdout."
        )
    return found
