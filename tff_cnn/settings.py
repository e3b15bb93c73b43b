"""What every configuration can do, whatever its fields are.

A dataclass of `core.options.option` and `choice` fields that derives from
`Settings` is checked when it is made, and can be read from files and written
to them.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Self

from tff_cnn import components
from tff_cnn.core.catalogue import Leaf, leaves
from tff_cnn.core.chains import with_values
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import check_value, fields_of
from tff_cnn.core.registry import Entry


class Settings:
    """Methods of `config.RunConfig`.

    Raises:
      UsageError: A value that is of another kind, unknown or out of range.
    """

    def __post_init__(self):
        for field in fields_of(type(self)):
            value = getattr(self, field.name)
            if hasattr(field.known, "registry"):
                value = components.normalized(field, value)
            else:
                value = check_value(field, value, field.name)
            object.__setattr__(self, field.name, value)

    def chosen(self) -> Iterator[tuple[str, Any, Entry]]:
        """Field, options and entry of each component; none of what is none."""
        for field in fields_of(type(self)):
            value = getattr(self, field.name)
            if hasattr(field.known, "registry") and value is not None:
                yield field.name, value, field.known.registry.entry_of(value)

    def resolved(self) -> Self:
        """With what follows from other fields filled in, and checked.

        Raises:
          UsageError: Fields that do not go together, or miss one another.
        """
        config = components.filled_in(self)
        components.check(config)
        return config

    def flat(self) -> dict[str, Any]:
        """Key -> value of everything, as in config.json.

        None, or False of a switch, is what does not apply.
        """
        values = {leaf.key: self.get(leaf) for leaf in self.leaves().values()}
        return {**values, **self.digests()}

    def digests(self) -> dict[str, str]:
        """Key -> digest of what no value could say, as arrays."""
        found = {
            f"{name}_digest": getattr(options, "digest", None)
            for name, options, _ in self.chosen()
        }
        return {key: value for key, value in found.items() if value}

    @classmethod
    def leaves(cls) -> dict[str, Leaf]:
        """Flag -> all that can be set; see `core.catalogue`."""
        return leaves(cls)

    def at(self, path: str) -> Any:
        """The value at a path; None where its component is not chosen."""
        choice, _, name = path.rpartition(".")
        if not choice:
            return getattr(self, name)
        return getattr(getattr(self, choice), name, None)

    def get(self, leaf: Leaf) -> Any:
        """The value of a leaf as it stands in files."""
        if leaf.is_choice:
            value = getattr(self, leaf.path)
            if value is None:
                return "none" if leaf.known.allows_none else None
            return leaf.known.registry.name_of(value)
        if leaf.choice is None:
            return getattr(self, leaf.path)
        options = getattr(self, leaf.choice)
        return getattr(options, leaf.name, leaf.absent)

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Self:
        """The configuration that was written as `values`.

        What is missing, as an option that is newer than the file, has its
        default.

        Raises:
          UsageError: It describes no run.
        """
        return components.from_flat(cls, values)

    def is_unresolved(self, leaf: Leaf) -> bool:
        """Whether a value still waits for the data."""
        waits = not leaf.is_choice and leaf.known.is_found
        options = leaf.choice and getattr(self, leaf.choice)
        return bool(waits and options) and getattr(options, leaf.name) is None

    def resolved_as(self, before: Mapping[str, Any]) -> Self:
        """With what waits for the data as it was resolved when a run began.

        Found anew, noise may have another last digit, by another version of an
        accountant or on another machine.

        Args:
          before: The flags in the run's config.json.

        Raises:
          UsageError: They are not there, or no positive numbers.
        """
        config = self
        for leaf in filter(self.is_unresolved, self.leaves().values()):
            value = before.get(leaf.key)
            is_number = isinstance(value, int | float) and value is not True
            if not (is_number and 0 < value < float("inf")):
                raise UsageError(
                    f"config.json has <{leaf.path}>={value!r}, which no run "
                    "has: it was changed by hand; restore it or use another "
                    "<run_dir>."
                )
            config = config.with_options(leaf.choice, **{leaf.name: value})
        return config

    def with_options(self, choice: str, **values: Any) -> Self:
        """A copy in which one component has other values of some options.

        Args:
          choice: The field that chooses the component.
          **values: By the options' names; of a chain for each of its parts
            that has the option.
        """
        options = with_values(getattr(self, choice), values)
        return dataclasses.replace(self, **{choice: options})
