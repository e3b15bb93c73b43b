"""Flags of a `RunConfig`: made from it, and made into it.

No flag is named here. What can be set, with its help, range and default, is
`RunConfig.leaves()`; a component that somebody has registered, in this package
or elsewhere, has its flags at once.
"""

import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from absl import flags

from experiments.flagfiles import Given
from tff_cnn import components, runtime
from tff_cnn.config import RunConfig
from tff_cnn.core import chains
from tff_cnn.core.catalogue import Leaf
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import fields_of
from tff_cnn.privacy import STAGES

_DEFINE = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    object: flags.DEFINE_string,
}


def define(is_wanted: Callable[[Leaf], bool] = lambda leaf: True) -> None:
    """Defines the flags of what can be set, where they are not there yet.

    Args:
      is_wanted: Whether a binary has the flag of a leaf.

    Raises:
      UsageError: An option has the flag of something else.
    """
    for leaf in filter(is_wanted, RunConfig.leaves().values()):
        if leaf.flag not in flags.FLAGS:
            _DEFINE[leaf.field.kind](leaf.flag, default_of(leaf), help_of(leaf))
        elif flags.FLAGS.find_module_defining_flag(leaf.flag) != __name__:
            raise UsageError(
                f"{leaf.path} has the flag --{leaf.flag}, which the program "
                "has for something else: give it another name, or another flag."
            )


def default_of(leaf: Leaf) -> Any:
    """What a flag that is not given stands for; None follows from others."""
    default = leaf.field.default
    if leaf.is_choice:
        if default is None:
            return "none" if leaf.known.allows_none else None
        return leaf.known.registry.entry_of(default).name
    if default is None and leaf.choice:
        return _choice_of(leaf).defaults.get(leaf.name)
    return default


def _choice_of(leaf: Leaf) -> Any:
    return RunConfig.leaves()[leaf.choice].known


def help_of(leaf: Leaf, says_where: bool = True) -> str:
    """The help of a flag, in the language of flags.

    Args:
      leaf: That the flag is of.
      says_where: Whether to say with which components it has an effect.
    """
    text = leaf.known.help
    if leaf.is_choice:
        text = text.replace("{names}", ", ".join(leaf.known.registry.patterns))
    elif leaf.choice:
        text = text.replace("{role}", _choice_of(leaf).role)
        if says_where:
            text = f"{text.removesuffix('.')}{_where(leaf)}."
    return spoken(text)


def _where(leaf: Leaf) -> str:
    """With which components an option has an effect, where not with all."""
    entries = _choice_of(leaf).registry.entries
    others = [entry for entry in entries if entry not in leaf.owners]
    if not others:
        return ""
    shown, verb = leaf.owners, ""
    if len(others) < len(leaf.owners):
        shown, verb = others, "not with "
    names = ", ".join(entry.name for entry in shown)
    return f" ({verb}<{leaf.choice}>={names})"


def spoken(text: str) -> str:
    """A text that names fields (`core.errors`), with flags in their place."""
    return UsageError(text).told(flag_of)


def flag_of(path: str) -> str:
    """The flag of a field's path."""
    for leaf in RunConfig.leaves().values():
        if leaf.path == path:
            return f"--{leaf.flag}"
    return f"--{path}"


def former_flags() -> dict[str, str]:
    """Flag of former times -> its name today."""
    return {
        leaf.key: leaf.flag
        for leaf in RunConfig.leaves().values()
        if leaf.key != leaf.flag
    }


def renamed(expanded: Iterable[Given]) -> list[Given]:
    """A command line with today's names of flags, and a note of each change."""
    former, found = former_flags(), {}
    result = []
    for given in expanded:
        text = given.text
        dashes = text[: len(text) - len(text.lstrip("-"))]
        name, equals, value = text.lstrip("-").partition("=")
        if dashes and name in former:
            found[name] = former[name]
            text = f"{dashes}{former[name]}{equals}{value}"
        result.append(dataclasses.replace(given, text=text))
    for before, now in found.items():
        print(f"note: --{before} is now --{now}; both work.")
    return result


def named_components(expanded: Sequence[Given]) -> dict[str, str]:
    """Choice -> the component that a command line names; the last one counts.

    For what must be known before there are flags.
    """
    choices = {
        leaf.flag for leaf in RunConfig.leaves().values() if leaf.is_choice
    }
    found = {}
    texts = [given.text for given in expanded]
    for text, after in itertools.pairwise([*texts, ""]):
        name, equals, value = text.lstrip("-").partition("=")
        if text.startswith("-") and name in choices:
            found[name] = value if equals else after
    return found


def import_components(expanded: Sequence[Given]) -> None:
    """Imports components from elsewhere, so that they have their flags.

    Raises:
      UsageError: One is not there, or is none.
    """
    try:
        components.import_named(RunConfig, named_components(expanded))
    finally:
        if "tensorflow_federated" in sys.modules:
            runtime.close()  # Or TFF complains where a mistake is the end.


def config_from_flags(
    argv: Sequence[str],
    defaults: Mapping[str, Any] | None = None,
    check: bool = True,
) -> RunConfig:
    """What the parsed flags say, resolved.

    Args:
      argv: As typed, before flagfiles were expanded: a flag in a flagfile
        that a choice on the command line makes meaningless is dropped with a
        notice, whereas any other flag that would be ignored is a mistake.
      defaults: Of the binary, by flag, where they are others.
      check: Whether the whole must make sense as a run.

    Raises:
      UsageError: A flag that is wrong, missing, or without effect.
    """
    found = RunConfig.leaves()
    given = given_flags(defaults)
    chosen = _chosen(given)
    typed = typed_names(argv)
    for flag in list(given):
        if not _applies(found[flag], chosen):
            _drop(found[flag], given.pop(flag), chosen, typed)
    for stage in STAGES:
        _drop_overridden_noise(stage.choice, given, typed)
    config = _build(given, chosen)
    return config.resolved() if check else components.filled_in(config)


def given_flags(defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What is known of a run's flags, by flag.

    Args:
      defaults: Of the binary, where they are others.
    """
    given = dict(defaults or {})
    for flag in RunConfig.leaves():
        if flag in flags.FLAGS and flags.FLAGS[flag].present:
            given[flag] = flags.FLAGS[flag].value
    return given


def with_effect(given: Mapping[str, Any]) -> dict[str, Any]:
    """Of what is given, what has an effect beside the choices among it."""
    found, chosen = RunConfig.leaves(), _chosen(given)
    return {f: v for f, v in given.items() if _applies(found[f], chosen)}


def config_of(given: Mapping[str, Any]) -> RunConfig:
    """The run of flags that all have an effect (`with_effect`), resolved.

    Raises:
      UsageError: A flag that is wrong or missing.
    """
    return _build(given, _chosen(given)).resolved()


def _chosen(given: Mapping[str, Any]) -> RunConfig:
    """A run's fields as they are given, with what follows from them."""
    found = RunConfig.leaves()
    fields = {n: v for n, v in given.items() if found[n].choice is None}
    return components.filled_in(RunConfig(**fields))


def _applies(leaf: Leaf, chosen: RunConfig) -> bool:
    """Whether a flag has an effect beside these choices."""
    if leaf.choice is not None:
        return any(e in leaf.owners for e in entries(leaf.choice, chosen))
    if any(_decides(entry, leaf) for _, _, entry in chosen.chosen()):
        return False
    applies = getattr(leaf.known, "applies", None)
    return applies is None or applies.holds(chosen)


def _decides(entry: Any, leaf: Leaf) -> bool:
    """Whether a component makes a field meaningless, whatever its options."""
    return "." not in entry.decides.get(leaf.path, ".")


def entries(choice: str, chosen: RunConfig) -> list[Any]:
    """Of the component that was chosen, or of each in a chain."""
    registry = RunConfig.leaves()[choice].known.registry
    parts = chains.parts_of(getattr(chosen, choice))
    return [registry.entry_of(part) for part in parts]


def _given_by_name(part: Any, entry: Any) -> dict[str, str]:
    """The option that a component's name gave; see `Registry.chosen`."""
    name = entry.argument
    return {name: getattr(part, name)} if name else {}


def _drop(leaf: Leaf, value: Any, chosen: RunConfig, typed: set[str]) -> None:
    """Says that a flag without effect is dropped, or refuses it."""
    if value is False or value is None:  # `--download=false` asks for nothing.
        return
    choice, needs = _reason(leaf, chosen)
    now = chosen.get(RunConfig.leaves()[choice])
    if leaf.flag in typed or choice not in typed:
        raise UsageError(
            f"<{leaf.path}>={value} would be ignored: it needs {needs}, but "
            f"<{choice}> is {now!r}; remove one of the two."
        )
    print(
        f"note: --{leaf.flag} of the flagfile has no effect with "
        f"--{choice}={now}."
    )


def _reason(leaf: Leaf, chosen: RunConfig) -> tuple[str, str]:
    """The choice that makes a flag meaningless, and what it would need."""
    if leaf.choice is not None:
        return leaf.choice, _needs(leaf.choice, leaf.owners)
    for name, _, entry in chosen.chosen():
        if _decides(entry, leaf):
            entries = RunConfig.leaves()[name].known.registry.entries
            others = [e for e in entries if not _decides(e, leaf)]
            return name, _needs(name, others)
    return leaf.known.applies.choice, leaf.known.applies.needs


def _needs(choice: str, entries: Iterable[Any]) -> str:
    return " or ".join(f"<{choice}>={entry.pattern}" for entry in entries)


def _drop_overridden_noise(
    choice: str, given: dict[str, Any], typed: set[str]
) -> None:
    """A typed noise or epsilon replaces the other of the flagfile."""
    pair = [
        flag_of(f"{choice}.{name}").removeprefix("--")
        for name in ("noise_multiplier", "epsilon")
    ]
    kept = [flag for flag in pair if flag in typed]
    if len(kept) == 1 and all(given.get(flag) is not None for flag in pair):
        (other,) = set(pair) - set(kept)
        print(f"note: --{other} of the flagfile gives way to --{kept[0]}.")
        del given[other]


def _build(given: Mapping[str, Any], chosen: RunConfig) -> RunConfig:
    found = RunConfig.leaves()
    fields, options = {}, {}
    for flag, value in given.items():
        leaf = found[flag]
        if leaf.choice is None:
            fields[leaf.path] = value
        elif value is not None:
            options.setdefault(leaf.choice, {})[leaf.name] = value
    for choice, values in options.items():
        registry = found[choice].known.registry

        def made(part, registry=registry, values=values):
            entry = registry.entry_of(part)
            names = {field.name for field in fields_of(entry.options)}
            own = {name: v for name, v in values.items() if name in names}
            return entry.options(**_given_by_name(part, entry), **own)

        fields[choice] = chains.each_changed(getattr(chosen, choice), made)
    return RunConfig(**fields)


def typed_names(argv: Sequence[str]) -> set[str]:
    """Names of the flags on the command line itself, not in flagfiles."""
    former, names = former_flags(), set()
    for argument in argv[1:]:
        if argument.startswith("-"):
            name = argument.lstrip("-").partition("=")[0]
            name = former.get(name, name)
            names |= {name, name.removeprefix("no")}
    return names
