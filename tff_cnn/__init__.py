"""Federated training of convolutional networks with differential privacy.

    import tff_cnn
    result = tff_cnn.train(tff_cnn.RunConfig(dp=tff_cnn.FixedClip(epsilon=8.0)))

Here is all that a notebook needs: `RunConfig`, `train`, `evaluate`, `inspect`,
`describe_model` and `Arrays`, the options of every component, the registries,
and what a component of one's own is declared with. It is imported when it is
first asked for.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Packages whose registries, and whose components' options, are public.
_PACKAGES = (
    "data",
    "models",
    "algorithms",
    "aggregators",
    "privacy",
    "selection",
    "runtime",
    "evaluation.attacks",
)
_OTHERS = {
    "config": ("RunConfig",),
    "run": ("evaluate", "shrink", "train"),
    "inspection": ("Inspection", "inspect"),
    "leakage": ("Leakage", "leak"),
    "training.client_table": ("ClientTable",),
    "training.result": ("Result",),
    "core.errors": ("FailedRunError", "UsageError"),
    "core.options": ("Range", "integers", "option", "positive"),
    "core.registry": ("Registry",),
    "core.traits": ("Trait",),
    "models.cost_table": ("describe_model",),
}
_PLACES = {name: place for place, names in _OTHERS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        found = getattr(_module(_PLACES[name]), name)
    elif name == "__all__":
        found = sorted({"__version__", *_PLACES, *_components()})
    # A module of this package, and what Python looks for, is in lower case.
    elif name[:1].isupper() and name in (known := _components()):
        found = known[name]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __getattr__("__all__")


def _components() -> dict[str, Any]:
    """Name -> a trait, a registry, or the options of a component."""
    traits = _module("core.traits")
    found = _of_kind(traits.Trait, traits)
    for package in map(_module, _PACKAGES):
        registries = _of_kind(_module("core.registry").Registry, package)
        found |= registries
        for name, value in _of_kind(type, package).items():
            if any(r.entry_of_class(value) for r in registries.values()):
                found[name] = value
    return found


def _of_kind(kind: type, module: Any) -> dict[str, Any]:
    return {n: v for n, v in vars(module).items() if isinstance(v, kind)}


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")
