"""Choices of several components of one kind, one behind the other.

    --aggregator=norm_bounding+quantize+secure_sum

A `Chain` stands where the options of one component stand else: it has the
fields of all its parts, and its `Entry` the needs of each. A value that is set
for a chain is set for each part that has such an option.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import fields_of
from tff_cnn.core.registry import Entry, Registry

_LINK = "+"


@dataclasses.dataclass(frozen=True)
class Chain:
    """Options of components, from the first to the last.

    Attributes:
      parts: At least two.
    """

    parts: tuple

    def __getattr__(self, name: str) -> Any:
        # Copies are looked at before they have parts.
        for part in self.__dict__.get("parts", ()):
            if hasattr(part, name):
                return getattr(part, name)
        raise AttributeError(name)

    def check(self, config: Any) -> None:
        """Raises `UsageError` where a part does not go with the rest."""
        for part in self.parts:
            if hasattr(part, "check"):
                part.check(config)


class ChainRegistry(Registry):
    """A registry whose components can be chosen several at a time."""

    def __init__(
        self, kind: str, check_order: Callable[[Sequence[Entry]], None]
    ):
        """Args:
        kind: As of a `Registry`.
        check_order: Raises `UsageError` for components that cannot stand one
          behind the other; gets two or more.
        """
        super().__init__(kind)
        self._check_order = check_order

    def chained(self, parts: Iterable[Any]) -> Any:
        """What parts are together; one alone is itself.

        Args:
          parts: Options of components.

        Raises:
          UsageError: They cannot stand in this order, or are none.
        """
        parts = tuple(parts)
        if not parts:
            raise UsageError(
                f"an empty list is no choice of {self.kind}: give one or more "
                f"of {', '.join(self.patterns)}."
            )
        if len(parts) == 1:
            return parts[0]
        self._check_order(
            [super(ChainRegistry, self).entry_of(p) for p in parts]
        )
        return Chain(parts)

    def options_of(
        self, name: str, path: str | None = None, others: Iterable[str] = ()
    ) -> Any:
        """As a `Registry`'s, of a chain as well."""
        return self.chained(
            super(ChainRegistry, self).options_of(part, path, others)
            for part in name.split(_LINK)
        )

    def entry_of(self, options: Any) -> Entry | None:
        """Of a chain all that is known of its parts together: their needs and
        refusals, the traits that each of them offers, no facts and no builder.
        """
        if not isinstance(options, Chain):
            return super().entry_of(options)
        entries = [
            super(ChainRegistry, self).entry_of(p) for p in options.parts
        ]
        return Entry(
            _LINK.join(entry.name for entry in entries),
            Chain,
            "",
            _union(entry.needs for entry in entries),
            tuple(
                trait
                for trait in entries[0].offers
                if all(trait in entry.offers for entry in entries)
            ),
            _union(entry.refuses for entry in entries),
            _union(entry.decides for entry in entries),
            {},
            is_public=False,
        )

    def name_of(self, options: Any) -> str:
        """As a `Registry`'s, of a chain as well."""
        name_of = super().name_of
        return _LINK.join(name_of(part) for part in parts_of(options))


def parts_of(options: Any) -> tuple:
    """The options of each component that was chosen."""
    return options.parts if isinstance(options, Chain) else (options,)


def each_changed(options: Any, change: Callable[[Any], Any]) -> Any:
    """The same choice with other options of each component."""
    if isinstance(options, Chain):
        return Chain(tuple(map(change, options.parts)))
    return change(options)


def with_values(options: Any, values: Mapping[str, Any]) -> Any:
    """The same choice with other values, each wherever there is such an option.

    Args:
      options: Of a component or a chain.
      values: By the options' names.
    """

    def change(part: Any) -> Any:
        names = {field.name for field in fields_of(type(part))}
        own = {name: v for name, v in values.items() if name in names}
        return dataclasses.replace(part, **own) if own else part

    return each_changed(options, change)


def _union(mappings: Iterable[Mapping[Any, Any]]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for mapping in mappings:
        found = {**mapping, **found}
    return found
