"""Attacks a finished run's exported model: can one tell who was trained on?

  python -m experiments.audit --run_dir=runs/...

Members are the training clients' examples, non-members those that the run was
evaluated on. AUC and advantage of each attack stand beside what the run's
epsilon allows; they are also written to audit.json in the run folder, with
their ROC curves in membership_roc.png. Needs Google's attack suite:

  bash .requirements/install.sh audit

Epsilon is for a client with all its examples. It bounds what any test can find
out of whether a client, with this example, was there or not. Whether an example
was among those of a client that was there anyway, or another in its place, is
an exchange of that client's data, which may cost twice; only where a run's
neighbours are exchanges already does its epsilon say both. The attacks made
here are of the second kind, and are held against the second bound.
"""

import dataclasses
import io
from typing import Any

import numpy as np
from absl import flags

from experiments import entry
from tff_cnn.core.errors import UsageError
from tff_cnn.core.files import to_json, write_atomically
from tff_cnn.models import MODELS
from tff_cnn.privacy import auditing
from tff_cnn.training import finished
from tff_cnn.training.run_folder import RunFolder

_LEVEL = 0.95
_BATCH = 500


def define_flags() -> None:
    """Defines the flags of `experiments.audit`."""
    flags.DEFINE_string("run_dir", None, "The folder of a run that has ended.")
    flags.DEFINE_string(
        "data_dir", None, "Where the data is now (default: where it was)."
    )
    flags.DEFINE_integer("seed", 0, "Of the attacks and the intervals.", 0)


def main(argv: list[str]) -> None:
    """Attacks, prints a table, and writes audit.json and membership_roc.png."""
    del argv
    folder = _finished_run(flags.FLAGS.run_dir)
    # Imported here: mistakes should not wait for TensorFlow.
    from tff_cnn.evaluation import membership

    membership.load_suite()
    members, others = _predictions(folder)
    seed = flags.FLAGS.seed
    scores = membership.attack(members, others, seed)
    leaks = {
        name: membership.measure(found, seed, _LEVEL)
        for name, found in scores.items()
    }
    result = describe(
        leaks,
        folder.read_summary()["privacy"] if _is_private(folder) else None,
        len(members.labels),
        len(others.labels),
    )
    curves = {name: membership.roc(found) for name, found in scores.items()}
    write_atomically(folder.audit, to_json(result, indent=2).encode())
    _draw(folder, curves, result)
    print(render(result))
    print(f"  written to {folder.audit} and {folder.membership_roc}")


def _finished_run(run_dir: str | None) -> RunFolder:
    folder = finished.folder_of(run_dir)
    finished.check_has_names(folder, "what has a name can be attacked here")
    if not (folder.export / "model.keras").is_file():
        raise UsageError(
            f"{folder.export} holds no model.keras: the exported model was "
            "removed; train again into another --run_dir."
        )
    return folder


def _is_private(folder: RunFolder) -> bool:
    return folder.read_summary()["is_private"]


def _predictions(folder: RunFolder) -> tuple[Any, Any]:
    """The exported model's on members and on non-members."""
    from tff_cnn import runtime
    from tff_cnn.evaluation.membership import Predictions
    from tff_cnn.training import assembly, export

    runtime.close()
    config = finished.config_of(folder, flags.FLAGS.data_dir)
    task = assembly.build_task(config)
    build = MODELS.builder(config.model)
    model = export.load(
        folder.export,
        lambda shape, num_classes: build(shape, num_classes, config.seed),
    )

    def predict(examples):
        batches = np.array_split(
            np.arange(len(examples)), -(-len(examples) // _BATCH)
        )
        logits = [
            model(examples.take(batch).images, training=False)
            for batch in batches
        ]
        return Predictions(np.concatenate(logits), examples.labels)

    everyone = range(len(task.clients))
    return predict(task.clients.pooled(everyone)), predict(task.evaluation)


def describe(
    leaks: dict[str, Any],
    privacy: dict[str, Any] | None,
    num_members: int,
    num_others: int,
) -> dict[str, Any]:
    """The content of audit.json.

    Args:
      leaks: Attack -> `membership.Leak`.
      privacy: Of summary.json; None where the run promises nothing.
      num_members: Examples.
      num_others: Examples.
    """
    bounds = privacy and _bounds(privacy)
    return {
        "num_members": num_members,
        "num_non_members": num_others,
        "level": _LEVEL,
        "attacks": {n: dataclasses.asdict(leak) for n, leak in leaks.items()},
        "bounds": bounds,
        # Beyond what exchanging a client's data allows.
        "exceeds_bound": bounds is not None
        and any(
            leak.advantage_interval[0] > bounds["exchange"]["advantage"]
            or leak.auc_interval[0] > bounds["exchange"]["auc"]
            for leak in leaks.values()
        ),
    }


def _bounds(privacy: dict[str, Any]) -> dict[str, Any]:
    epsilon, delta = privacy["epsilon"], privacy["delta"]
    exchange = auditing.exchanged(epsilon, delta)
    if privacy["neighbouring_relation"].startswith("replace"):
        exchange = epsilon, delta

    def bound(epsilon, delta):
        return {
            "epsilon": epsilon,
            "delta": delta,
            "auc": auditing.auc_bound(epsilon, delta),
            "advantage": auditing.advantage_bound(epsilon, delta),
        }

    return {
        "unit": privacy["unit"],
        "neighbouring_relation": privacy["neighbouring_relation"],
        "presence": bound(epsilon, delta),
        "exchange": bound(*exchange),
    }


def render(result: dict[str, Any]) -> str:
    """What a person sees."""
    lines = [
        f"Membership inference: {result['num_members']:,} members, "
        f"{result['num_non_members']:,} others; {_LEVEL:.0%} intervals",
        f"  {'attack':<22} {'AUC':<22} advantage",
    ]
    for name, leak in result["attacks"].items():
        shown = [
            f"{leak[key]:.3f} [{leak[f'{key}_interval'][0]:.3f}, "
            f"{leak[f'{key}_interval'][1]:.3f}]"
            for key in ("auc", "advantage")
        ]
        lines.append(f"  {name:<22} {shown[0]:<22} {shown[1]}")
    bounds = result["bounds"]
    if bounds is None:
        lines.append("  no bound: the run gives no guarantee of privacy")
        return "\n".join(lines)
    for name, of in (("presence", "its presence"), ("exchange", "its data")):
        bound = bounds[name]
        lines.append(
            f"  {'at most':<22} {bound['auc']:<22.3f} {bound['advantage']:.3f} "
            f"by epsilon {bound['epsilon']:.3g} for a {bounds['unit']}: {of}"
        )
    if result["exceeds_bound"]:
        lines.append(
            "  MORE THAN EPSILON ALLOWS: the model was not trained as its "
            "summary says."
        )
    return "\n".join(lines)


def _draw(
    folder: RunFolder,
    curves: dict[str, tuple[np.ndarray, np.ndarray]],
    result: dict[str, Any],
) -> None:
    """ROC curves, also with logarithmic axes: few false alarms matter most."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2)
    least = 1 / max(result["num_members"], result["num_non_members"])
    grids = np.linspace(0, 1, 1001), np.geomspace(least, 1, 1001)
    for axis, grid in zip(panels, grids, strict=True):
        axis.plot(grid, grid, color="gray", lw=1, label="chance")
        for name, (false_rates, true_rates) in curves.items():
            auc = result["attacks"][name]["auc"]
            axis.plot(false_rates, true_rates, label=f"{name}: AUC {auc:.3f}")
        _draw_bounds(axis, grid, result["bounds"])
        axis.set(
            xlim=(grid[0], 1),
            ylim=(grid[0], 1),
            xlabel="false positive rate",
            ylabel="true positive rate",
        )
        axis.grid(alpha=0.3)
    panels[1].set(xscale="log", yscale="log")
    panels[0].legend(fontsize="small", loc="lower right")
    figure.suptitle(f"Membership inference on {folder.path.name}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_atomically(folder.membership_roc, buffer.getvalue())


def _draw_bounds(axis, grid: np.ndarray, bounds: dict[str, Any] | None) -> None:
    if bounds is None:
        return
    for name, style in (("presence", "--"), ("exchange", ":")):
        bound = bounds[name]
        epsilon, delta = bound["epsilon"], bound["delta"]
        axis.plot(
            grid,
            auditing.tpr_bound(grid, epsilon, delta),
            color="black",
            ls=style,
            label=f"bound by epsilon {epsilon:.3g} ({name})",
        )


def run() -> None:
    """Defines the flags, and runs `main` on them."""
    define_flags()
    entry.run(main)


if __name__ == "__main__":
    run()
