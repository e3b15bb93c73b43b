"""summary.json, and the same in a few lines for people."""

import math
from collections.abc import Mapping
from typing import Any

from tff_cnn.core.weights import (
    Weights,
    num_bytes,
    num_parameters,
    sha256,
)
from tff_cnn.privacy.ledger import Ledger, StagedLedger
from tff_cnn.training import client_table, hooks
from tff_cnn.training.diagnostics import NOT_PRIVATE, is_not_private
from tff_cnn.training.loop import Row

_NO_PRIVACY = (
    "none: the model was trained without differential privacy and may reveal "
    "what single clients hold."
)
_UNSECRET = (
    "; but the cohorts of the first {} rounds followed from the seed: for "
    "whoever knows that, nothing is amplified there"
)
_DIVERGED = (
    "in round {} (updates or loss are no longer finite); try smaller "
    "server_learning_rate and client_learning_rate, or fewer "
    "client_epochs"
)
_NOT_PRIVATE = (
    "NOT PRIVATE: the noise was deterministic (test_only_deterministic_noise)"
    "; epsilon is what the accountant counts, not a guarantee."
)


def summarize(
    rows: list[Row],
    final_weights: Weights,
    target_accuracy: float | None,
    ledger: Ledger | StagedLedger | None,
    deterministic_noise: bool,
    evaluated_on: str,
    audit: dict[str, Any] | None = None,
    last_round: int | None = None,
    num_unsecret: int = 0,
    note: str | None = None,
    clients: Mapping[str, Any] | None = None,
    attack: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of summary.json.

    `test_accuracy` and `test_loss` are those of the last evaluation, which is
    that of the final weights, on `evaluated_on`: "test" or "validation".
    `rounds_to_target` is null where no target was set or it was not reached.
    Beside them stands what else it measured: `test_auc`, `test_f1` and
    `test_balanced_accuracy` of two classes or several labels an image,
    `test_robust_accuracy` under attack, and `holdout_*` of examples that
    clients hold out. Speeds leave out start-up and evaluation.
    `simulated_seconds`, and of these `simulated_seconds_to_target`, are of a
    run with a simulated clock. `traffic` is only there where nothing is
    private: how large cohorts were would be told by it. `audit` is only there
    where the run was audited (`training.canaries.report`).
    `stopped_by_epsilon` says that
    the run ended before `last_round`, that it was asked for, because of its
    limit. `diverged_in_round` is where a divergence began that lasted to the
    end, else null. The cohorts of the first `num_unsecret` rounds were not
    secret. `note` says how the model is to be read, of an algorithm where that
    is not as it is of FedAvg. `clients` is only there where each was evaluated
    by itself (`client_table.ClientTable.summary`). `attack` is only there where
    clients attacked: its name, and their ids.
    """
    evaluated = [row for row in rows if row["test_accuracy"] is not None]
    reached = [row for row in evaluated if hooks.reaches(row, target_accuracy)]
    stages = [stage.statement() for stage in ledger.stages] if ledger else []
    for stage in stages if num_unsecret else ():
        stage["sampling"] += _UNSECRET.format(num_unsecret)
    statement = stages[0] if stages else {}
    return {
        "rounds": rows[-1]["round"],
        "test_accuracy": evaluated[-1]["test_accuracy"],
        "test_loss": evaluated[-1]["test_loss"],
        **_further_metrics(evaluated[-1]),
        "evaluated_on": evaluated_on,
        "target_accuracy": target_accuracy,
        "rounds_to_target": reached[0]["round"] if reached else None,
        **_simulated(rows, reached),
        "epsilon": statement.get("epsilon"),
        "delta": statement.get("delta"),
        "noise_multiplier": (
            ledger and ledger.stages[0].mechanism.noise_multiplier
        ),
        "stopped_by_epsilon": (
            ledger is not None
            and rows[-1]["round"] != last_round
            and not ledger.allows_next_round()
        ),
        "diverged_in_round": _diverged_in_round(rows),
        "is_private": ledger is not None and not deterministic_noise,
        "not_private_metrics": {
            "why": f"{NOT_PRIVATE}: computed from clients' raw data",
            "names": [k for k in rows[-1] if is_not_private(rows[-1], k)],
        },
        "privacy": {
            "guarantee": _guarantee(stages, deterministic_noise),
            **statement,
            "stages": stages,
        },
        **hooks.speed(rows),
        **({} if ledger else _traffic(rows, final_weights)),
        "clients_excluded": sum(row["clients_excluded"] for row in rows),
        "num_parameters": num_parameters(final_weights),
        "weights_sha256": sha256(final_weights),
        **({"audit": audit} if audit else {}),
        **({"note": note} if note else {}),
        **({"clients": clients} if clients else {}),
        **({"attack": attack} if attack else {}),
    }


def _simulated(rows: list[Row], reached: list[Row]) -> dict[str, float | None]:
    """Seconds on the simulated clock, of a run that has one."""
    if "simulated_time" not in rows[-1]:
        return {}
    to_target = reached[0]["simulated_time"] if reached else None
    return {
        "simulated_seconds": rows[-1]["simulated_time"],
        "simulated_seconds_to_target": to_target,
    }


def _traffic(rows: list[Row], weights: Weights) -> dict[str, Any]:
    """`traffic`: bytes of all rounds, and what FedAvg would have sent.

    FedAvg's, of both ways and up, are those of the same cohorts and the
    server's model: its weights down, and up as many with the update's weight.
    """
    if "bytes_down" not in rows[-1]:  # Of a run from before they were counted.
        return {}
    size = num_bytes(weights)
    num_sent = sum(row["cohort_size"] for row in rows)
    return {
        "traffic": {
            "bytes_down": sum(row["bytes_down"] for row in rows),
            "bytes_up": sum(row["bytes_up"] for row in rows),
            "bytes_of_fedavg": num_sent * (2 * size + 4),
            "bytes_up_of_fedavg": num_sent * (size + 4),
        }
    }


def _further_metrics(row: Row) -> dict[str, float | None]:
    names = [key for key in row if key.startswith(("test_", "holdout_"))]
    return {
        name: row[name]
        for name in names
        if name not in ("test_accuracy", "test_loss")
    }


def _diverged_in_round(rows: list[Row]) -> int | None:
    """Where a divergence began that lasted to the last round, if any did.

    A round shows one where all its clients were excluded or the loss that was
    evaluated is not finite (null in a row that was read), and the end of one
    where neither is so and it was evaluated.
    """
    found = None
    for row in rows:
        is_evaluated = row["test_accuracy"] is not None
        loss = row["test_loss"] if row["test_loss"] is not None else math.nan
        if 0 < row["cohort_size"] == row["clients_excluded"] or (
            is_evaluated and not math.isfinite(loss)
        ):
            found = found or row["round"]
        elif is_evaluated:
            found = None
    return found


def render(
    summary: Mapping[str, Any],
    run_dir: str | None = None,
    tensorboard: str = "tensorboard",
) -> str:
    """What a person sees at the end of a run.

    Args:
      summary: As in summary.json.
      run_dir: None where there is no folder.
      tensorboard: Its program.
    """
    target = ""
    if summary["target_accuracy"] is not None:
        round_num = summary["rounds_to_target"]
        target = f" (target {summary['target_accuracy']:.1%} "
        target += (
            f"reached in round {round_num})" if round_num else "not reached)"
        )
    excluded = summary["clients_excluded"]
    diverged = summary.get("diverged_in_round")  # New to summaries.
    lines = {
        **({"DIVERGED": _DIVERGED.format(diverged)} if diverged else {}),
        f"{summary['evaluated_on']} accuracy": (
            f"{summary['test_accuracy']:.2%}{target}"
        ),
        **_shown_further(summary),
        **_shown_clients(summary),
        **_shown_attack(summary),
        "privacy": summary["privacy"]["guarantee"],
        **({"audit": _audit(summary["audit"])} if "audit" in summary else {}),
        **({"note": summary["note"]} if "note" in summary else {}),
        "speed": f"{summary['seconds_per_round']:.2f} s a round, "
        f"{summary['examples_per_second']:,.0f} examples/s",
        **_shown_traffic(summary),
        "rounds": f"{summary['rounds']}"
        + (f", {excluded} updates excluded as not finite" if excluded else ""),
        **_shown_clock(summary),
    }
    if run_dir is not None:
        lines |= {
            "run folder": f"{run_dir} (curves.png, summary.json, export/)",
            "TensorBoard": f"{tensorboard} --logdir={run_dir}/tensorboard",
        }
    return "\n".join(f"  {name:<19} {text}" for name, text in lines.items())


def _shown_further(summary: Mapping[str, Any]) -> dict[str, str]:
    """What else was measured, of tasks that measure it."""
    shown = {
        name: summary.get(f"test_{name}")
        for name in ("auc", "f1", "balanced_accuracy")
    }
    lines = {
        f"{summary['evaluated_on']} {name.replace('_', ' ')}": f"{value:.4f}"
        for name, value in shown.items()
        if value is not None
    }
    if summary.get("test_robust_accuracy") is not None:
        robust = f"{summary['test_robust_accuracy']:.2%}"
        lines["under attack"] = f"accuracy {robust} (by PGD)"
    if summary.get("holdout_accuracy") is not None:
        accuracy = f"{summary['holdout_accuracy']:.2%}"
        lines["held out by clients"] = f"accuracy {accuracy} ({NOT_PRIVATE})"
    return lines


def _successes(summary: Mapping[str, Any]) -> dict[str, float]:
    """Of an attack what it was for, in short words -> its rate of success."""
    found = {
        name.removeprefix("test_").replace("_", " "): value
        for name, value in summary.items()
        if name.startswith("test_") and name.endswith("_success")
    }
    return {name: rate for name, rate in found.items() if rate is not None}


def _shown_attack(summary: Mapping[str, Any]) -> dict[str, str]:
    """Who attacked, and with what success."""
    attack = summary.get("attack")
    if not attack:
        return {}
    text = f"{attack['name']} by {len(attack['attackers'])} of "
    text += f"{attack['num_clients']} clients"
    for name, rate in _successes(summary).items():
        text += f"; {name} {rate:.2%}"
    return {"attack": text}


def _shown_clock(summary: Mapping[str, Any]) -> dict[str, str]:
    if "simulated_seconds" not in summary:
        return {}
    text = f"{summary['simulated_seconds']:,.1f} s"
    to_target = summary["simulated_seconds_to_target"]
    if to_target is not None:
        text += f", {to_target:,.1f} s to the target"
    return {"simulated clock": text}


def _shown_clients(summary: Mapping[str, Any]) -> dict[str, str]:
    """How unlike clients are, where each was evaluated by itself."""
    clients = summary.get("clients")
    if not clients:
        return {}
    metrics = clients["sets"][clients["main_set"]]
    told = []
    for name, of in (
        ("accuracy", "the model"),
        ("personal_accuracy", "their own models"),
        ("tuned_accuracy", f"after {clients['local_training']}"),
    ):
        found = metrics[name]["uniform"] if name in metrics else None
        if found and found["mean"] is not None:
            told.append(
                f"{of} {found['mean']:.2%} (worst tenth "
                f"{found['worst_decile']:.2%})"
            )
    note = f" ({clients['privacy']})" if clients["privacy"] else ""
    return {
        "each client": f"{', '.join(told)}; "
        f"{client_table.SHOWN_SETS[clients['main_set']]}{note}"
    }


def _shown_traffic(summary: Mapping[str, Any]) -> dict[str, str]:
    """What was sent, where it is not what FedAvg sends."""
    found = summary.get("traffic")
    if not found or not found["bytes_of_fedavg"]:
        return {}
    down, up = found["bytes_down"], found["bytes_up"]
    part = (down + up) / found["bytes_of_fedavg"]
    if part == 1:
        return {}
    text = (
        f"{down / 1e6:,.3g} MB down, {up / 1e6:,.3g} MB up, "
        f"{(down + up) / 1e6:,.3g} MB in all: {part:.3g} times what FedAvg "
        "would send"
    )
    times = _upload_saving(found)
    if times is not None:
        text += f", uploads {times:.3g} times smaller"
    return {"traffic": text}


def _upload_saving(traffic: Mapping[str, int] | None) -> float | None:
    """How many times FedAvg's uploads are larger; None where they are not."""
    # New to summaries: FedAvg's uploads.
    up_of_fedavg = (traffic or {}).get("bytes_up_of_fedavg", 0)
    if not up_of_fedavg or not 0 < traffic["bytes_up"] < up_of_fedavg:
        return None
    return up_of_fedavg / traffic["bytes_up"]


def _audit(audit: dict[str, Any]) -> str:
    def estimate(name):
        low, high = audit[f"interval_{name}"]
        return (
            f"{_number(audit[f'epsilon_estimate_{name}'])} "
            f"[{_number(low)}, {_number(high)}]"
        )

    text = (
        f"epsilon as measured with {audit['num_canaries']} canaries: "
        f"{estimate('final')} from the last model, {estimate('all')} from "
        f"those of all rounds ({audit['level']:.0%} intervals); the canaries' "
        "updates are in the model, so do not publish it."
    )
    if audit["exceeds_accountant"]:
        text += (
            " MORE THAN THE ACCOUNTANT'S EPSILON: the mechanism is not the one "
            "that was accounted for."
        )
    return text


def _number(value: float | None) -> str:
    """JSON has no infinity."""
    return "infinity" if value is None else f"{value:.2f}"


def _guarantee(stages: list[dict[str, Any]], deterministic_noise: bool) -> str:
    if not stages:
        return _NO_PRIVACY
    if deterministic_noise:
        return _NOT_PRIVATE
    return " And ".join(map(_guarantee_of_stage, stages))


def _guarantee_of_stage(statement: dict[str, Any]) -> str:
    by_rdp = statement["epsilon_rdp"]
    if statement["epsilon_pld"] is None:
        accountants = "by RDP; PLD has no rule for it"
    else:
        accountants = f"by PLD; {by_rdp:.2f} by RDP"
    return (
        f"(epsilon {statement['epsilon']:.2f}, delta {statement['delta']:.2g}) "
        f"for each {statement['unit']}, against {statement['adversary']}; "
        f"epsilon {accountants}; "
        f"neighbours: {statement['neighbouring_relation']}; "
        f"sampling: {statement['sampling']}."
    )


def measured(summary: Mapping[str, Any]) -> dict[str, float]:
    """What a run has measured besides its accuracy, in short words.

    Args:
      summary: As in summary.json.
    """
    found = {
        "under attack": summary.get("test_robust_accuracy"),
        **_successes(summary),
        "simulated s to the target": summary.get("simulated_seconds_to_target"),
        "MB sent": _megabytes(summary.get("traffic")),
        "times smaller uploads": _upload_saving(summary.get("traffic")),
    }
    clients = summary.get("clients")
    if clients:
        metrics = clients["sets"][clients["main_set"]]
        for name, of in _CLIENT_MEANS.items():
            if name in metrics:
                found[of] = metrics[name]["uniform"]["mean"]
    return {name: value for name, value in found.items() if value is not None}


# Means over clients, each counting the same.
_CLIENT_MEANS = {
    "accuracy": "mean client",
    "personal_accuracy": "mean client's own model",
    "tuned_accuracy": "mean client after local training",
    "robust_accuracy": "mean client under attack",
}


def _megabytes(traffic: Mapping[str, int] | None) -> float | None:
    if traffic is None:
        return None
    return (traffic["bytes_down"] + traffic["bytes_up"]) / 1e6
