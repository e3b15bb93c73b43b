"""PRIVACY.md: what guarantee an exported model comes with, for its readers.

Generated from the summary, whose stages are those of the ledgers.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_NONE = """# Privacy card

**There is no guarantee.** This model was trained without differential privacy:
it may reveal what single examples or clients hold.
"""
_HEAD = """# Privacy card

{headline}

Generated from the run's ledger. Each stage at which noise enters has a
guarantee of its own; epsilons of different stages are never added.
"""
_DETERMINISTIC = (
    "**NOT PRIVATE.** The noise was deterministic "
    "(test_only_deterministic_noise): the figures below are what an "
    "accountant would count, and no guarantee."
)
_NOT_COVERED = """## What is not covered

- Tuning: hyperparameters that were chosen by looking at other runs on the same
  clients cost privacy that is not counted here.
- Metrics: the run's {names} are labelled "not private, simulation only". They
  come from clients' raw data; do not publish them with the model.
- The evaluation: accuracies on {split} examples were measured on the plain
  data of clients that the guarantee is not for.
- Floating point: noise is drawn in float32, which is not exactly the
  distribution that is accounted for (Mironov 2012).
- The secret: cohorts and noise follow from the run's `secret.key`, 256 bits of
  the operating system's generator, by way of TensorFlow's and NumPy's, on which
  no attack is known but which were not made for cryptography. Whoever has the
  file can subtract the noise: delete it when the run is finished. Initial
  weights, partition and the order of examples follow from a seed that is no
  secret.
- Whatever the adversary of a stage does not name, such as side channels and
  whoever sees more than that adversary does.
"""


def render(summary: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
      summary: As in summary.json; `audit`, where it is there, is shown.
    """
    stages = summary["privacy"]["stages"]
    if not stages:
        return _NONE + _audit(summary)
    headline = _DETERMINISTIC
    if summary["is_private"]:
        headline = "\n".join(f"- **{_headline(stage)}**" for stage in stages)
    parts = [_HEAD.format(headline=headline)]
    parts += [_stage(stage) for stage in stages]
    parts.append(_audit(summary))
    names = ", ".join(summary["not_private_metrics"]["names"]) or "metrics"
    parts.append(
        _NOT_COVERED.format(names=names, split=summary["evaluated_on"])
    )
    return "\n".join(part for part in parts if part)


def _headline(stage: Mapping[str, Any]) -> str:
    return (
        f"epsilon {stage['epsilon']:.4g} at delta {stage['delta']:.3g} for "
        f"each {stage['unit']} ({stage['stage']})"
    )


def _stage(stage: Mapping[str, Any]) -> str:
    rows = {
        "Unit": stage["unit"],
        "Adversary": stage["adversary"],
        "Neighbouring relation": stage["neighbouring_relation"],
        "Epsilon by PLD": _number(stage["epsilon_pld"]),
        "Epsilon by RDP": _number(stage["epsilon_rdp"]),
        "Delta": f"{stage['delta']:.4g}",
        "Sampling assumption": stage["sampling"],
        "Rounds": _rounds(stage),
        **dict(_mechanism(stage["mechanism"])),
        "Combination": stage["combination"],
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    table = "\n".join(["| | |", "| --- | --- |", *lines])
    return f"## Stage: {stage['stage']}\n\n{table}\n"


def _rounds(stage: Mapping[str, Any]) -> str:
    repeated = stage["rounds_repeated"]
    if not repeated:
        return str(stage["rounds"])
    return (
        f"{stage['rounds']}, of which {repeated} were left behind by an "
        "interrupted run and released anew with other noise: all are counted"
    )


def _number(epsilon: float | None) -> str:
    return "no rule for this mechanism" if epsilon is None else f"{epsilon:.4g}"


def _mechanism(mechanism: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Its name, then clipping and noise, then whatever else it has."""
    yield "Mechanism", mechanism["name"]
    titles = {
        "clip_norm": "Clipping (norm bound)",
        "clip": "Clipping (norm bound)",
        "noise_multiplier": "Noise (scale over the bound)",
    }
    for field, title in titles.items():
        if field in mechanism:
            yield title, f"{mechanism[field]:.6g}"
    rest = {
        field: value
        for field, value in {**mechanism, **mechanism["participation"]}.items()
        if field != "name"
        and field not in titles
        and isinstance(value, str | int | float)
    }
    yield "Settings", ", ".join(f"{f} {v}" for f, v in rest.items()) or "none"


def _audit(summary: Mapping[str, Any]) -> str:
    audit = summary.get("audit")
    if audit is None:
        return "## Audit\n\nNone was made.\n"
    rows = [
        f"| {seen} | {audit[f'epsilon_estimate_{key}']:.3g} | "
        f"{audit[f'interval_{key}'][0]:.3g} to "
        f"{audit[f'interval_{key}'][1]:.3g} |"
        for seen, key in (
            ("the models of all rounds", "all"),
            ("the last model alone", "final"),
        )
    ]
    verdict = "No interval lies above what the accountant counts."
    if audit["exceeds_accountant"]:
        verdict = (
            "**An interval lies above what the accountant counts: the "
            "mechanism is not what the accountant was told.**"
        )
    return "\n".join(
        [
            "## Audit",
            "",
            f"{audit['num_canaries']} canaries took part (Andrew et al. 2023); "
            f"the accountant counts epsilon {audit['accountant_epsilon']:.4g} "
            f"at delta {audit['delta']:.3g}, and they show at that delta:",
            "",
            f"| to whoever sees | epsilon | {audit['level']:.0%} interval |",
            "| --- | --- | --- |",
            *rows,
            "",
            verdict,
            "",
        ]
    )
