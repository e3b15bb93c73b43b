"""Engines: what a round of the loop is made of, one process each.

An algorithm's entry may name what builds its engine (fact `engine`): a function
of the run and of a folder for what clients keep, which may be None.
"""

import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tff_cnn.core import registry

if TYPE_CHECKING:  # TensorFlow takes seconds.
    from tff_cnn.training.engine import Engine


def of(entry: registry.Entry) -> "Callable[..., Engine]":
    """What builds the engine of an algorithm: (run, scratch) -> engine.

    Args:
      entry: Of the algorithm.
    """
    return registry.load(entry.facts.get("engine", f"{__name__}:build"))


def build(run: Any, scratch: pathlib.Path | None) -> "Engine":
    """The engine of synchronous rounds that fits the run's process.

    Args:
      run: `training.assembly.Run`.
      scratch: Folder for what clients keep, where memory is not to hold it.
    """
    from tff_cnn.algorithms.rule_process import RuleProcess
    from tff_cnn.training.engines import federated, stateful

    is_rule = isinstance(run.process, RuleProcess)
    return (stateful if is_rule else federated).build(run, scratch)
