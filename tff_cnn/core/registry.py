"""Registries: the components of one kind, each an entry.

    ALGORITHMS = Registry("algorithm")

    @ALGORITHMS.entry("fedprox", "tff_cnn.algorithms.fedprox:build_fedprox")
    @dataclasses.dataclass(frozen=True)
    class FedProx:
        \"\"\"FedAvg with a pull towards the weights that were sent.\"\"\"

        proximal_mu: float = option(0.01, "Strength of the pull, >= 0.")

An entry is a name, a frozen dataclass of options (`core.options`), where the
component is built, and its traits. Nothing of it imports TensorFlow: what
builds it is the text `"module:attribute"` (dots allowed in both), imported when
it is first asked for. It gets the options as keyword arguments, by their names.

A component may be one of a family, as the data sets of a library: what it is
chosen by is then "name:argument", and the argument is a field of its options.
"""

import dataclasses
import difflib
import functools
import importlib
import inspect
import operator
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tff_cnn.core.errors import UsageError
from tff_cnn.core.traits import Trait

_OURS = "tff_cnn."


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """One component.

    Attributes:
      name: That people choose it by.
      options: Class of its options.
      builder: "module:attribute" of what builds it.
      needs: Trait -> why it cannot do without.
      offers: Traits that it gives.
      refuses: Path of a field of `RunConfig` -> why it cannot be used with it.
      decides: Field of `RunConfig` that the choice makes meaningless -> the
        field whose value it then takes; or an option of the component, which
        does so where it is given.
      facts: What else packages know of their own components.
      is_public: Whether its name can be chosen.
      argument: Field of the options that what follows "name:" is the value of;
        None where the name says all.
    """

    name: str
    options: type
    builder: str
    needs: Mapping[Trait, str]
    offers: tuple[Trait, ...]
    refuses: Mapping[str, str]
    decides: Mapping[str, str]
    facts: Mapping[str, Any]
    is_public: bool
    argument: str | None = None

    @property
    def full_name(self) -> str:
        """What names it in a file: of a component from elsewhere its class."""
        if self.options.__module__.startswith(_OURS):
            return self.name
        return f"{self.options.__module__}:{self.options.__qualname__}"

    @property
    def pattern(self) -> str:
        """How it is written: its name, and what has to follow it."""
        if self.argument is None:
            return self.full_name
        return f"{self.full_name}:{self.argument.upper()}"

    @property
    def summary(self) -> str:
        """The first line of what the options' class says of itself."""
        return (self.options.__doc__ or "").strip().partition("\n")[0]

    def load(self) -> Any:
        """Imports and returns what builds the component."""
        return load(self.builder)


class Registry:
    """A mapping from a name to what builds a component."""

    def __init__(
        self, kind: str, read: Callable[[str], Any] = lambda name: None
    ):
        """Args:
        kind: What the components are ("model"), for messages.
        read: Options of what else a text may name, as the path of a file;
          None of what it does not know.
        """
        self.kind = kind
        self._read = read
        self._entries: dict[str, Entry] = {}
        self._by_options: dict[type, Entry] = {}

    def entry(
        self,
        name: str,
        builder: str,
        *,
        needs: Mapping[Trait, str] = types.MappingProxyType({}),
        offers: Iterable[Trait] = (),
        refuses: Mapping[str, str] = types.MappingProxyType({}),
        decides: Mapping[str, str] = types.MappingProxyType({}),
        is_public: bool = True,
        argument: str | None = None,
        **facts: Any,
    ) -> Callable[[type], type]:
        """Decorates the options' dataclass of a component: see `Entry`.

        Raises:
          ValueError: The name is taken by another component.
        """

        def add(kind: type) -> type:
            before = self._entries.get(name)
            # A notebook's cell, or a module, may be executed again.
            if before and _place(before.options) != _place(kind):
                raise ValueError(f"there is a {self.kind} {name!r} already.")
            entry = Entry(
                name,
                kind,
                builder,
                needs,
                tuple(offers),
                refuses,
                decides,
                facts,
                is_public,
                argument,
            )
            self._entries[name] = self._by_options[kind] = entry
            return kind

        return add

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(n for n, e in self._entries.items() if e.is_public)

    @property
    def patterns(self) -> tuple[str, ...]:
        """How the entries that can be chosen are written."""
        return tuple(e.pattern for e in self.entries)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries that can be chosen, in the order of `names`."""
        return tuple(e for e in self._entries.values() if e.is_public)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def needing(self, trait: Trait) -> tuple[str, ...]:
        """Names of the components that need a trait."""
        return tuple(e.name for e in self.entries if trait in e.needs)

    def check(self, name: str) -> str:
        """Returns `name`; raises `UsageError` naming the nearest valid one."""
        if name not in self:
            raise UsageError(unknown_name(self.kind, name, self.names))
        return name

    def get(self, name: str) -> Any:
        """Imports and returns what builds the component of this name."""
        return self._entries[self.check(name)].load()

    def options_of(
        self, name: str, path: str | None = None, others: Iterable[str] = ()
    ) -> Any:
        """The options that a text stands for; as `find`."""
        found = self._read(name)
        if found is not None:
            return found
        entry, given = self.chosen(name, path, others)
        return entry.options(**given)

    def is_hidden(self, name: str) -> bool:
        """Whether a name is of what only an object can give."""
        return name in self._entries and name not in self

    def find(
        self, name: str, path: str | None = None, others: Iterable[str] = ()
    ) -> Entry:
        """The entry of a name, or of "module:Class" for one from elsewhere.

        Args:
          name: As a person gives it.
          path: Of the field that has it, for the message.
          others: What is valid there besides, for the message.

        Raises:
          UsageError: There is none.
        """
        return self.chosen(name, path, others)[0]

    def chosen(
        self, name: str, path: str | None = None, others: Iterable[str] = ()
    ) -> tuple[Entry, dict[str, str]]:
        """The entry of a name, and the options that the name itself gives.

        Args:
          name: As a person gives it: a name, "name:argument", "module:Class"
            or "module:Class:argument".
          path: As of `find`.
          others: As of `find`.

        Raises:
          UsageError: There is none, or the argument is missing.
        """
        entry, argument = self._split(name, path, others)
        if entry.argument is None:
            if argument:
                raise UsageError(
                    f"<{path or self.kind}>={name} says more than there is to "
                    f"say: write {entry.full_name}."
                )
            return entry, {}
        if not argument:
            raise UsageError(_lacks_argument(entry, path or self.kind))
        return entry, {entry.argument: argument}

    def _split(
        self, name: str, path: str | None, others: Iterable[str]
    ) -> tuple[Entry, str]:
        """The entry, and what follows its name."""
        head, colon, argument = name.partition(":")
        found = self._entries.get(head) if head in self else None
        if found is not None and (found.argument or not colon):
            return found, argument
        if colon:
            module, _, rest = name.partition(":")
            kind, _, argument = rest.partition(":")
            entry = self._find_elsewhere(f"{module}:{kind}", name, path)
            return entry, argument
        kind = f"<{path}>" if path else self.kind
        raise UsageError(unknown_name(kind, name, [*others, *self.patterns]))

    def default(self, kind: type, path: str) -> Any:
        """The options of a class that is given without values.

        Raises:
          UsageError: Its component has a name only with an argument.
        """
        entry = self._by_options[kind]
        if entry.argument is not None:
            raise UsageError(_lacks_argument(entry, path))
        return kind()

    def name_of(self, options: Any) -> str:
        """What a component is chosen by, in a file.

        `options_of` makes such options of it again.
        """
        given = getattr(options, "given_as", None)
        if given:
            return given
        entry = self._by_options[type(options)]
        if entry.argument is None:
            return entry.full_name
        return f"{entry.full_name}:{getattr(options, entry.argument)}"

    def _find_elsewhere(self, place: str, name: str, path: str | None) -> Entry:
        shown = f"<{path}>={name}" if path else f"{self.kind} {name!r}"
        try:
            found = load(place)
        except (ImportError, AttributeError, ValueError) as error:
            raise UsageError(
                f"{shown} cannot be imported ({error}): write module:Class, "
                "with the module where Python finds it."
            ) from error
        if not isinstance(found, type) or found not in self._by_options:
            raise UsageError(
                f"{shown} is no {self.kind}: register its options' class, as "
                "BUILD_NOTES.md shows."
            )
        return self._by_options[found]

    def entry_of(self, options: Any) -> Entry | None:
        """The entry of a component's options; None where they are of none."""
        return self._by_options.get(type(options))

    def entry_of_class(self, kind: type) -> Entry | None:
        """The entry of a class of options; None where it has none."""
        return self._by_options.get(kind)

    def built_by(self, built: type) -> Entry | None:
        """The entry that names exactly this class as what builds it."""
        place = f"{built.__module__}:{built.__qualname__}"
        for entry in self._entries.values():
            if entry.builder == place:
                return entry
        return None

    def builder(self, options: Any) -> Callable[..., Any]:
        """What builds a component, with its options in place."""
        builder = self._by_options[type(options)].load()
        return functools.partial(builder, **values_of(options))

    def build(self, options: Any, *arguments: Any) -> Any:
        """Builds a component."""
        return self.builder(options)(*arguments)


def values_of(options: Any) -> dict[str, Any]:
    """An options object's fields by name, not copied."""
    names = [field.name for field in dataclasses.fields(options)]
    return {name: getattr(options, name) for name in names}


def asked_for(
    builder: Callable[..., Any], known: Mapping[str, Any]
) -> dict[str, Any]:
    """Of what is known, what a builder has parameters for, by their names."""
    names = inspect.signature(builder).parameters
    return {name: value for name, value in known.items() if name in names}


def load(place: str) -> Any:
    """Imports "module:attribute"."""
    module, _, attribute = place.partition(":")
    return operator.attrgetter(attribute)(importlib.import_module(module))


def _lacks_argument(entry: Entry, path: str) -> str:
    return (
        f"<{path}>={entry.full_name} says not which: write {entry.pattern}, "
        f"with its {entry.argument}."
    )


def _place(kind: type) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> str:
    """The sentence for a name that is not among `valid`."""
    valid = list(valid)
    nearest = difflib.get_close_matches(name.lower(), valid, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"unknown {kind} {name!r}: {hint}valid are {', '.join(valid)}."
