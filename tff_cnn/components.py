"""How the components of a run are given, and which of them go together."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from tff_cnn.core.catalogue import Leaf
from tff_cnn.core.chains import (
    ChainRegistry,
    each_changed,
    parts_of,
    with_values,
)
from tff_cnn.core.errors import UsageError, shown
from tff_cnn.core.options import (
    Choice,
    Field,
    check_value,
    fields_of,
    is_neutral,
)
from tff_cnn.core.traits import UNIFORM_WEIGHTS, Trait

# That data is dealt to where nobody says how many.
NUM_CLIENTS = 100


def normalized(field: Field, value: Any) -> Any:
    """A component's options, from whatever it was given as.

    Args:
      field: That has the choice.
      value: Options, a name, "module:Class", a class of options, None, or what
        the choice adopts or the registry reads.

    Raises:
      UsageError: It is no component, or one of its options is wrong.
    """
    known: Choice = field.known
    registry = known.registry
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and value == "none" and known.allows_none:
        value = None
    if value is None:
        if known.allows_none or field.default is None:
            return None
    elif isinstance(value, str):
        others = ["none"] if known.allows_none else []
        value = registry.options_of(value, field.name, others)
    elif isinstance(value, type) and registry.entry_of_class(value):
        value = registry.default(value, field.name)
    elif isinstance(value, list | tuple) and isinstance(
        registry, ChainRegistry
    ):
        value = registry.chained(_part(field, part) for part in value)
    elif registry.entry_of(value) is None and known.adopt is not None:
        value = known.adopt(value)
    if registry.entry_of(value) is None:
        names = ", ".join(registry.patterns)
        raise UsageError(
            f"<{field.name}>={shown(value)} is no {registry.kind}: give a name "
            f"({names}), or its options as an object."
        )
    return each_changed(value, lambda part: _checked(part, field.name))


def _part(field: Field, value: Any) -> Any:
    """The options of one component of a chain.

    Raises:
      UsageError: It is none, or a chain itself.
    """
    found = normalized(field, value)
    if len(parts_of(found)) > 1 or not found:
        raise UsageError(
            f"<{field.name}> has {shown(value)} in the place of one "
            f"{field.known.registry.kind}: give a flat list of them."
        )
    return found


def _checked(options: Any, choice: str) -> Any:
    """The options with all values checked, and of Python's own kinds."""
    values = {
        field.name: check_value(
            field, getattr(options, field.name), f"{choice}.{field.name}"
        )
        for field in fields_of(type(options))
    }
    changed = {
        name: value
        for name, value in values.items()
        if value is not getattr(options, name)
    }
    # What an object has found out of its data once is not found out again.
    return dataclasses.replace(options, **changed) if changed else options


def filled_in(config: Any) -> Any:
    """A `RunConfig` with what follows from its other fields.

    Raises:
      UsageError: The model is not named, and the data has none of its own.
    """
    config = with_clients(config)
    missing: dict[str, Any] = {}
    if config.model is None:
        missing["model"] = _default_model(config)
    if config.sampling is None:
        missing["sampling"] = _default_sampling(config)
    if config.client_speed is None:
        algorithms = _choice(config, "algorithm").registry
        facts = algorithms.entry_of(config.algorithm).facts
        missing["client_speed"] = facts.get("client_speed")
    config = dataclasses.replace(config, **missing)
    changes: dict[str, Any] = {}
    for name, options, entry in config.chosen():
        left_open = {
            option: value
            for option, value in _choice(config, name).defaults.items()
            # A component need not have the option at all.
            if getattr(options, option, value) is None
        }
        if left_open:
            changes[name] = with_values(options, left_open)
        changes |= _decided(config, entry)
    if config.client_weighting is None:
        needs = (entry.needs for _, _, entry in config.chosen())
        is_uniform = any(UNIFORM_WEIGHTS in needed for needed in needs)
        changes["client_weighting"] = "uniform" if is_uniform else "examples"
    if config.evaluate_clients is None:
        changes["evaluate_clients"] = _default_evaluation(config)
    return dataclasses.replace(config, **changes)


def _decided(config: Any, entry: Any) -> dict[str, Any]:
    """The fields that a component decides, as it decides them.

    Raises:
      UsageError: An option of its does so, and the field says otherwise.
    """
    found = {}
    for decided, source in entry.decides.items():
        value, given = config.at(source), getattr(config, decided)
        if value is None:
            continue
        default = type(config).__dataclass_fields__[decided].default
        if "." in source and given not in (default, value):
            raise UsageError(
                f"<{decided}>={given} would be ignored: <{source}>={value} "
                "takes its place; remove one of the two."
            )
        found[decided] = value
    return found


def _default_evaluation(config: Any) -> str:
    """Whether each client is evaluated where nobody says so.

    What is held out is little; what clients train on may be more than all
    rounds together use of it.
    """
    holds_out = (
        config.client_holdout > 0
        or config.holdout_clients > 0
        or config.evaluate_on == "validation"
    )
    return "yes" if holds_out and not config.has_noise else "no"


def with_clients(config: Any) -> Any:
    """With what its data is dealt to and how: what `filled_in` says of that.

    The number of clients stays None where data has them by nature.
    """
    config = with_partition(config)
    partition = _choice(config, "partition").registry.entry_of(config.partition)
    if config.num_clients is None and not partition.facts.get("is_natural"):
        config = dataclasses.replace(config, num_clients=NUM_CLIENTS)
    return config


def _choice(config: Any, name: str) -> Choice:
    return type(config).__dataclass_fields__[name].metadata["known"]


def with_partition(config: Any) -> Any:
    """A `RunConfig` that says how its data is dealt.

    Where it does not, that is iid, or as is usual for the data: by its own
    clients where it is known by them.
    """
    if config.partition is not None:
        return config
    entry = _choice(config, "dataset").registry.entry_of(config.dataset)
    partition = entry.facts.get("default_partition", "iid")
    return dataclasses.replace(config, partition=partition)


def _default_model(config: Any) -> str:
    sources = _choice(config, "dataset").registry
    entry = sources.entry_of(config.dataset)
    model = entry.facts.get("default_model")
    if model is None:
        raise UsageError(
            f"<model> is missing, and <dataset>={entry.name} has none of its "
            "own: name one, or give a function that builds a Keras model."
        )
    return model


def _default_sampling(config: Any) -> str:
    """The sampler that fits a mechanism best, or training without one."""
    if config.dp is None:
        return "fixed_size"
    entry = _choice(config, "dp").registry.entry_of(config.dp)
    return entry.facts.get("sampling", "poisson")


def check(config: Any) -> None:
    """Refuses a `RunConfig` whose parts do not go together.

    Args:
      config: With everything filled in.

    Raises:
      UsageError: The first reason.
    """
    _check_cohort(config)
    for leaf in config.leaves().values():
        _check_option(config, leaf)
    for name, options, entry in config.chosen():
        shown = f"<{name}>={entry.name}"
        # First what no other choice would mend.
        _check_refusals(config, shown, f"another <{name}>", entry.refuses)
        for trait, reason in entry.needs.items():
            _check_need(config, name, shown, trait, reason)
        if hasattr(options, "check"):
            options.check(config)


def _check_cohort(config: Any) -> None:
    if config.num_clients is None:  # As many as the data has.
        return
    if config.clients_per_round > config.num_clients:
        raise UsageError(
            f"<clients_per_round>={config.clients_per_round} is more than "
            f"<num_clients>={config.num_clients}: use fewer per round or more "
            "clients."
        )


def _check_option(config: Any, leaf: Leaf) -> None:
    """Refuses an option without effect, and what it cannot be used with."""
    value = config.get(leaf)
    if leaf.is_choice or is_neutral(value, leaf.known.neutral):
        return
    applies = leaf.known.applies
    if applies is not None and not applies.holds(config):
        raise UsageError(
            f"<{leaf.path}>={value} would be ignored: it needs "
            f"{applies.needs}; remove one of the two."
        )
    shown = f"<{leaf.path}>={value}"
    remedy = f"<{leaf.path}>=0"
    _check_refusals(config, shown, remedy, leaf.known.refuses)
    if leaf.known.fits is not None:
        leaf.known.fits(config)


def _check_refusals(
    config: Any, shown: str, remedy: str, refuses: Mapping[str, str]
) -> None:
    for path, reason in refuses.items():
        value = config.at(path)
        if not is_neutral(value):
            raise UsageError(
                f"<{path}>={_shown(config, path)} does not go with {shown}: "
                f"{reason}; use {remedy}, or none of the former."
            )


def _shown(config: Any, path: str) -> Any:
    value = config.at(path)
    names = {name: entry.name for name, _, entry in config.chosen()}
    return names.get(path, value)


def _check_need(
    config: Any, needing: str, shown: str, trait: Trait, reason: str
) -> None:
    name = trait.decided_by
    known = type(config).__dataclass_fields__[name].metadata["known"]
    found = getattr(config, name)
    if isinstance(known, Choice):
        entry = known.registry.entry_of(found) if found is not None else None
        offers = entry.offers if entry else known.absent_offers
        found = entry.name if entry else "none"
        others = [
            e.full_name
            for e in known.registry.entries
            if trait in e.offers and needing not in e.refuses
        ]
        others += ["none"] if trait in known.absent_offers else []
    else:
        offers = known.choices[found]
        others = [v for v, given in known.choices.items() if trait in given]
    if trait in offers:
        return
    remedy = f"; use <{name}>={' or '.join(others)}" if others else ""
    raise UsageError(
        f"<{name}>={found} does not fit {shown}: {reason}{remedy}."
    )


def import_named(kind: type, names: Mapping[str, Any]) -> None:
    """Imports components from elsewhere, so that what they can be set to is.

    Args:
      kind: `RunConfig`.
      names: Path of a choice -> what was chosen, "module:Class" or any other.

    Raises:
      UsageError: One is not there, or is none.
    """
    for leaf in kind.leaves().values():
        name = names.get(leaf.path)
        if leaf.is_choice and isinstance(name, str) and ":" in name:
            leaf.known.registry.options_of(name, leaf.path)


def from_flat(kind: type, values: Mapping[str, Any]) -> Any:
    """See `RunConfig.from_flat`."""
    names = {leaf.path: values.get(leaf.key) for leaf in kind.leaves().values()}
    import_named(kind, names)
    found = kind.leaves().values()
    given: dict[str, Any] = {}
    options: dict[str, dict[str, Any]] = {}
    for leaf in found:
        value = values.get(leaf.key)
        if value is None:
            continue
        if leaf.choice is None:
            given[leaf.path] = value
        else:
            options.setdefault(leaf.choice, {})[leaf.name] = value
    for leaf in found:
        name = given.get(leaf.path)
        if not leaf.is_choice or name is None:
            continue
        if not isinstance(name, str):
            raise UsageError(f"<{leaf.path}>={name!r} must be a name.")
        if name == "none":
            continue
        registry = leaf.known.registry
        chosen = registry.options_of(name, leaf.path)
        given[leaf.path] = with_values(chosen, options.get(leaf.path, {}))
    return kind(**given)
