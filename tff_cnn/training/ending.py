"""What is made of a run when its rounds have come to their end."""

from typing import Any

import numpy as np

from tff_cnn.algorithms import ALGORITHMS
from tff_cnn.training import (
    attacked,
    canaries,
    curves,
    export,
    loop,
    privacy_card,
    summary,
)
from tff_cnn.training.assembly import Run
from tff_cnn.training.client_table import ClientTable
from tff_cnn.training.releases import Releases
from tff_cnn.training.run_folder import RunFolder


def _audit(run, folder, initial, final):
    """What the canaries say, where there are any."""
    if not getattr(run.config.dp, "audit_canaries", 0):
        return None
    return canaries.report(
        run.task.canaries,
        folder.canaries,
        initial,
        final,
        run.central.epsilon(),
        run.central.delta,
    )


def _attack(task):
    """Who attacked, where anybody did."""
    return task.summary if isinstance(task, attacked.AttackedTask) else None


def finish(
    run: Run,
    folder: RunFolder,
    rows: list[loop.Row],
    initial: list[np.ndarray],
    final: list[np.ndarray],
    releases: Releases | None,
    clients: ClientTable | None = None,
) -> dict[str, Any]:
    """Curves, export, and last of all the summary: it says that all is done.

    Args:
      run: Whose rounds have come to their end.
      folder: Where the results go.
      rows: Of all rounds.
      initial: The weights before the first round.
      final: The weights after the last one.
      releases: Of a private run.
      clients: What each has measured after the last one, where that was asked.

    Returns:
      The summary.
    """
    config, task = run.config, run.task
    for stage in run.ledger.stages if run.ledger else ():
        # Whatever was recorded counts.
        stage.rounds = max(stage.rounds, releases.last_round)
    result = summary.summarize(
        rows,
        final,
        config.target_accuracy,
        run.ledger,
        deterministic_noise=config.test_only_deterministic_noise,
        evaluated_on=config.evaluate_on,
        audit=_audit(run, folder, initial, final),
        last_round=config.rounds,
        num_unsecret=releases.num_unsecret if run.is_amplified else 0,
        note=ALGORITHMS.entry_of(config.algorithm).facts.get("note"),
        clients=clients.summary if clients else None,
        attack=_attack(task),
    )
    if clients is not None:
        clients.write(folder.clients, folder.clients_picture)
    curves.draw(
        folder.curves,
        rows,
        curves.title(config, run.sampler.num_clients),
        config.evaluate_on,
    )
    export.export(
        folder.export,
        task.model,
        final,
        task.prepare,
        result["privacy"]["guarantee"],
        privacy_card.render(result),
        task.objective.name,
    )
    folder.write_summary(result)
    return result
