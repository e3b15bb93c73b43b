"""Help that can be read: `--help`, `--help=fedavg`, `--help=privacy`."""

import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import flags

from experiments import flags as run_flags
from experiments.flagfiles import Given
from tff_cnn import components
from tff_cnn.config import GROUPS, RunConfig
from tff_cnn.core.catalogue import Leaf
from tff_cnn.core.errors import UsageError
from tff_cnn.core.registry import Entry, unknown_name

_WIDTH = 80
_COLUMN = 34


def show(
    topic: str | None,
    expanded: Sequence[Given],
    about: str,
    own: Sequence[str] = (),
    is_wanted: Callable[[Leaf], bool] = lambda leaf: True,
) -> str:
    """The help of a binary whose flags are those of a run.

    Args:
      topic: A component or a group; None is all that is chosen.
      expanded: The command line: `--dp=tree --help` shows that one's options.
      about: What the binary says of itself.
      own: Flags that the binary has besides.
      is_wanted: Whether what can be set means something to the binary.

    Raises:
      UsageError: There is no such topic, or no such choice.
    """
    groups = _groups(own, is_wanted)
    if topic is None:
        chosen = components.filled_in(
            RunConfig(**run_flags.named_components(expanded))
        )
        parts = [about.strip()]
        parts += [_group(name, found, chosen) for name, found in groups.items()]
        parts.append(_more(groups))
        return "\n\n".join(parts)
    if topic in groups:
        return _group(topic, groups[topic], None)
    entries = {entry.name: entry for entry in _entries()}
    if topic in entries:
        found = [e for e in _entries() if e.name == topic]
        return "\n\n".join(map(_component, found))
    raise UsageError(unknown_name("topic", topic, [*groups, *entries]))


def _groups(
    own: Sequence[str], is_wanted: Callable[[Leaf], bool]
) -> dict[str, list[Leaf | flags.Flag]]:
    """Heading -> what stands below it; the binary's own flags come last."""
    found: dict[str, list] = {group: [] for group in GROUPS}
    for leaf in filter(is_wanted, RunConfig.leaves().values()):
        found[leaf.group].append(leaf)
    found["run"] += [flags.FLAGS[name] for name in own]
    return {group: below for group, below in found.items() if below}


def _group(name: str, found: list, chosen: RunConfig | None) -> str:
    """A group; of options those of what is chosen, or all."""
    lines = [name.upper()]
    for leaf in found:
        if not isinstance(leaf, Leaf):
            lines += _flag(
                leaf.name, leaf.default, leaf.help, bool(leaf.boolean)
            )
            continue
        if chosen is not None and leaf.choice:
            entries = run_flags.entries(leaf.choice, chosen)
            owners = [entry for entry in entries if entry in leaf.owners]
            if not owners:
                continue
            leaf = leaf.of(owners[0])
        lines += _leaf(leaf, chosen, says_where=chosen is None)
    return "\n".join(lines)


def _leaf(leaf: Leaf, chosen: RunConfig | None, says_where: bool) -> list[str]:
    default = run_flags.default_of(leaf)
    if chosen is not None and leaf.is_choice:
        default = chosen.get(leaf)
    text = run_flags.help_of(leaf, says_where)
    return _flag(leaf.flag, default, text, leaf.field.kind is bool, leaf.choice)


def _flag(
    name: str, default: Any, text: str, is_switch: bool, choice: Any = None
) -> list[str]:
    """A flag's lines; an option's are indented below the choice."""
    indent = "    " if choice else "  "
    shown = f"--[no]{name}" if is_switch else f"--{name}"
    if default is not None and not is_switch:
        shown += f"={default}"
    lines = textwrap.wrap(" ".join(text.split()), _WIDTH - _COLUMN)
    head = f"{indent}{shown}"
    if len(head) < _COLUMN and lines:
        head = f"{head:<{_COLUMN}}{lines.pop(0)}"
    return [head, *(" " * _COLUMN + line for line in lines)]


def _entries() -> Iterator[Entry]:
    seen = set()
    for leaf in RunConfig.leaves().values():
        if leaf.is_choice and id(leaf.known.registry) not in seen:
            seen.add(id(leaf.known.registry))
            yield from leaf.known.registry.entries


def _component(entry: Entry) -> str:
    """One component: what it is, how to choose it, options, and rules."""
    leaves = list(RunConfig.leaves().values())
    choices = [
        leaf
        for leaf in leaves
        if leaf.is_choice and entry in leaf.known.registry.entries
    ]
    how = " or ".join(f"--{leaf.flag}={entry.pattern}" for leaf in choices)
    lines = [how, textwrap.indent(textwrap.dedent(_about(entry)), "  ")]
    for leaf in leaves:
        if entry in leaf.owners:
            lines += _leaf(leaf.of(entry), None, says_where=False)
    for trait, reason in entry.needs.items():
        text = f"needs that {trait.name}: {reason}."
        lines += textwrap.wrap(
            run_flags.spoken(text),
            _WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
        )
    return "\n".join(lines)


def _about(entry: Entry) -> str:
    first, _, rest = (entry.options.__doc__ or "").strip().partition("\n")
    return "\n".join([first, textwrap.dedent(rest)]).strip()


def _more(groups: dict[str, list]) -> str:
    names = ", ".join(groups)
    text = (
        f"--help=NAME tells of one component or group ({names}); --helpfull "
        "lists all flags; --flagfile=PATH reads flags from a file."
    )
    return "\n".join(textwrap.wrap(text, _WIDTH))
