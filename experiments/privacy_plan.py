"""Which noise an epsilon needs, and what signal is left, before training.

  python -m experiments.privacy plan --num_clients=10000 \\
      --clients_per_round=500 --rounds=200

Epsilon is for a client, against whoever sees the models of all rounds but not
the server; what that assumes of neighbours and sampling stands below the table.
"""

import dataclasses
import io
import os
from typing import Any

from absl import flags

from experiments import (
    flag_conditions,
    flag_ranges,
    ledgers,
    outputs,
    train_flags,
)
from experiments.configuration import default_sampling
from tff_cnn.core.errors import UsageError
from tff_cnn.core.registry import unknown_name
from tff_cnn.privacy import MECHANISMS, accounting, planning
from tff_cnn.privacy.mechanism import CentralMechanism
from tff_cnn.privacy.participation import NEIGHBOURS
from tff_cnn.selection import SAMPLERS

_EPSILONS = ("1", "2", "4", "8")


@dataclasses.dataclass(frozen=True)
class PlanConfig:
    """The part of a `TrainConfig` that privacy depends on."""

    num_clients: int
    clients_per_round: int
    rounds: int
    sampling: str
    min_separation: int | None
    dp: str
    dp_clip_norm: float
    dp_epsilon: float | None
    dp_noise_multiplier: float | None
    dp_delta: float | None
    dp_target_quantile: float | None
    dp_clip_learning_rate: float | None
    dp_metrics: bool
    dp_single_tree: bool
    dp_bands: int | None
    dp_buffers: int | None
    dp_bits: int | None
    num_parameters: int

    @property
    def delta(self) -> float:
        """As given, or num_clients^-1.1."""
        return self.dp_delta or self.num_clients**-1.1

    def make_mechanism(self, noise_multiplier: float) -> CentralMechanism:
        """The mechanism of these flags."""
        sampler = ledgers.build_sampler(self, self.num_clients)
        return ledgers.mechanism_factory(self, sampler, self.num_parameters)(
            noise_multiplier
        )

    def epsilon(self) -> float:
        """Of `dp_noise_multiplier` after all rounds."""
        mechanism = self.make_mechanism(self.dp_noise_multiplier)
        return accounting.epsilon(
            mechanism.event_after(self.rounds),
            self.delta,
            mechanism.neighbours,
        )


def define_flags() -> None:
    """Defines the flags of `plan`."""
    flags.DEFINE_integer("num_clients", 1000, "Clients in all.", 1)
    flags.DEFINE_integer("rounds", 100, "Rounds to train.", 1)
    flags.DEFINE_integer(
        "num_parameters", 5450, "Size of the model (default: digits_cnn).", 1
    )
    flags.DEFINE_list("epsilons", list(_EPSILONS), "Epsilons to plan for.")
    flags.DEFINE_string(
        "plot",
        os.path.join("runs", "privacy_plan.png"),
        "Where to draw it, as PNG; --plot= draws nothing.",
    )
    train_flags.define_participation_flags()
    train_flags.define_privacy_flags()
    flags.FLAGS.set_default("dp", "fixed_clip")
    flags.adopt_module_key_flags(train_flags)


def config_from_flags(argv: list[str]) -> tuple[PlanConfig, list[float]]:
    """The checked flags, and the epsilons to plan for.

    Args:
      argv: As typed.

    Raises:
      UsageError: A flag that is wrong or without effect.
    """
    names = [field.name for field in dataclasses.fields(PlanConfig)]
    values = {name: flags.FLAGS[name].value for name in names}
    if values["dp"] not in MECHANISMS:
        raise UsageError(unknown_name("--dp", values["dp"], MECHANISMS))
    values["sampling"] = SAMPLERS.check(
        values["sampling"] or default_sampling(values["dp"])
    )
    given = {name for name in names if flags.FLAGS[name].present}
    flag_conditions.drop_ineffective(values, given, argv)
    if values["sampling"] == "full":
        values["clients_per_round"] = values["num_clients"]
    flag_ranges.check(values)
    config = PlanConfig(**values)
    accounting.check_delta(config.delta, config.num_clients)
    outputs.check(flags.FLAGS.plot, "--plot", ".png")
    return config, _epsilons(config)


def _epsilons(config: PlanConfig) -> list[float]:
    given = flags.FLAGS.epsilons
    if config.dp_epsilon is not None:
        if flags.FLAGS["epsilons"].present:
            raise UsageError(
                f"--epsilons={','.join(given)} would be ignored beside "
                f"--dp_epsilon={config.dp_epsilon:g}; remove one of the two."
            )
        return [config.dp_epsilon]
    try:
        epsilons = [float(epsilon) for epsilon in given]
    except ValueError:
        epsilons = []
    allowed = flag_ranges.RANGES["dp_epsilon"]
    if not epsilons or not all(map(allowed.holds, epsilons)):
        raise UsageError(
            f"--epsilons={','.join(given)} must be numbers from "
            f"{allowed.lowest:g} to {allowed.highest:g}, as in 1,2,4."
        )
    return epsilons


def main(argv: list[str]) -> None:
    """Prints the table and draws the plot."""
    config, epsilons = config_from_flags(argv)
    num_parameters = flags.FLAGS.num_parameters
    plans = [
        planning.plan_epsilon(
            config.make_mechanism,
            epsilon,
            config.rounds,
            config.delta,
            num_parameters,
            config.num_clients,
        )
        for epsilon in epsilons
    ]
    print(_heading(config, num_parameters))
    print(_table(plans))
    print(_assumptions(config))
    if config.dp_noise_multiplier is not None:
        print(_enough_clients(config, epsilons))
    if flags.FLAGS.plot:
        outputs.write(flags.FLAGS.plot, draw(config, plans))
        print(f"\n{flags.FLAGS.plot}")


def _heading(config: PlanConfig, num_parameters: int) -> str:
    return (
        f"--dp={config.dp}, {config.num_clients:,} clients, "
        f"{config.clients_per_round:,} a round, {config.rounds:,} rounds, "
        f"delta {config.delta:.3g}, {num_parameters:,} parameters\n"
    )


_COLUMNS = {
    "epsilon": lambda p: f"{p.epsilon:.3f}",
    "by RDP": lambda p: f"{p.epsilon_rdp:.3f}",
    "noise": lambda p: f"{p.noise_multiplier:.4g}",
    "signal/noise": lambda p: f"{p.signal_to_noise:.3g}",
    "over all rounds": lambda p: f"{p.total_signal_to_noise:.3g}",
    "clients for 1": lambda p: f"{p.clients_for_signal:,}",
}


def _table(plans: list[planning.Plan]) -> str:
    lines = [list(_COLUMNS)]
    lines += [[show(plan) for show in _COLUMNS.values()] for plan in plans]
    return "\n".join("".join(f"{cell:>17}" for cell in line) for line in lines)


def _assumptions(config: PlanConfig) -> str:
    mechanism = config.make_mechanism(1.0)
    return (
        "\nunit: client; neighbours: "
        f"{NEIGHBOURS[mechanism.neighbours]};\n"
        f"sampling: {mechanism.sampling_statement()}.\n"
        "noise: standard deviation over the clip norm. signal/noise: norm of a "
        "mean update at\nthe clip norm, over that of its noise; over all "
        "rounds: of their sums. clients for 1:\nclients, and in proportion "
        "clients a round, at which signal/noise is 1."
    )


def _enough_clients(config: PlanConfig, epsilons: list[float]) -> str:
    """For how many clients this noise and cohort are enough."""

    def epsilon_of(num_clients: int) -> float:
        return dataclasses.replace(config, num_clients=num_clients).epsilon()

    lines = [
        f"\nWith noise {config.dp_noise_multiplier:g} and "
        f"{config.clients_per_round:,} of them a round (epsilon now "
        f"{config.epsilon():.3f}), it takes"
    ]
    for epsilon in epsilons:
        enough = planning.clients_needed(
            epsilon_of, epsilon, max(2, config.clients_per_round)
        )
        lines.append(f"{enough:>17,} clients for epsilon {epsilon:g}")
    return "\n".join(lines)


def draw(config: PlanConfig, plans: list[planning.Plan]) -> bytes:
    """Noise, signal and epsilon over rounds as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    noise, signal, spent = figure.subplots(1, 3)
    plans = sorted(plans, key=lambda p: p.epsilon)
    epsilons = [p.epsilon for p in plans]
    noise.plot(epsilons, [p.noise_multiplier for p in plans], marker="o")
    _label(noise, "epsilon", "noise multiplier")
    for name, label in (
        ("signal_to_noise", "a round"),
        ("total_signal_to_noise", "over all rounds"),
    ):
        ratios = [getattr(p, name) for p in plans]
        signal.plot(epsilons, ratios, marker="o", label=label)
    signal.axhline(1.0, color="gray", lw=0.8)
    signal.set_yscale("log")
    signal.legend()
    _label(signal, "epsilon", "signal to noise")
    for plan in plans:
        spent.plot(*_spending(config, plan), label=f"{plan.epsilon:.3g}")
    spent.legend(title="epsilon")
    _label(spent, "round", "epsilon spent")
    figure.suptitle(_heading(config, flags.FLAGS.num_parameters).strip())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def _spending(config: PlanConfig, plan: planning.Plan) -> tuple[list, list]:
    """Rounds, at most a dozen, and epsilon after each."""
    mechanism = config.make_mechanism(plan.noise_multiplier)
    step = max(1, config.rounds // 10)
    rounds = [*range(1, config.rounds, step), config.rounds]
    return rounds, [
        accounting.epsilon(
            mechanism.event_after(r),
            config.delta,
            mechanism.neighbours,
        )
        for r in rounds
    ]


def _label(axis: Any, x: str, y: str) -> None:
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(alpha=0.3)
