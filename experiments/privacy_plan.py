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

from experiments import flags as run_flags
from experiments import outputs
from tff_cnn.config import RunConfig
from tff_cnn.core.catalogue import Leaf
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import integers
from tff_cnn.core.registry import unknown_name
from tff_cnn.privacy import MECHANISMS, accounting, planning
from tff_cnn.privacy.mechanism import CentralMechanism
from tff_cnn.privacy.participation import NEIGHBOURS
from tff_cnn.training import ledgers

_EPSILONS = ("1", "2", "4", "8")
# Of what stands in the place of a run's own.
_DEFAULTS = {"num_clients": 1000, "dp": MECHANISMS.names[0]}
_SIZES = integers(1, 10**12)


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """A run that is planned, as far as privacy depends on it.

    Attributes:
      config: Of the run.
      num_parameters: Of the model.
    """

    config: RunConfig
    num_parameters: int

    @property
    def delta(self) -> float:
        """Delta as given, or num_clients^-1.1."""
        return self.config.dp.delta or self.config.num_clients**-1.1

    def make_mechanism(self, noise_multiplier: float) -> CentralMechanism:
        """The mechanism of these flags."""
        sampler = ledgers.build_sampler(self.config, self.config.num_clients)
        return ledgers.mechanism_factory(
            self.config, sampler, self.num_parameters
        )(noise_multiplier)

    def epsilon(self) -> float:
        """Epsilon after all rounds at the noise multiplier that is given."""
        mechanism = self.make_mechanism(self.config.dp.noise_multiplier)
        return accounting.epsilon(
            mechanism.event_after(self.config.rounds),
            self.delta,
            mechanism.neighbours,
        )


def _is_wanted(leaf: Leaf) -> bool:
    """Whether a flag says something of privacy, or of who takes part."""
    if leaf.path in ("num_clients", "clients_per_round", "rounds"):
        return True
    return (leaf.choice or leaf.path) in ("dp", "sampling")


def define_flags() -> None:
    """Defines the flags of `plan`."""
    run_flags.define(_is_wanted)
    flags.adopt_module_key_flags(run_flags)
    for name, value in _DEFAULTS.items():
        flags.FLAGS.set_default(name, value)
    flags.DEFINE_integer("num_parameters", 5450, "Size of the model.")
    flags.DEFINE_list("epsilons", list(_EPSILONS), "Epsilons to plan for.")
    flags.DEFINE_string(
        "plot",
        os.path.join("runs", "privacy_plan.png"),
        "Where to draw it, as PNG; --plot= draws nothing.",
    )


def config_from_flags(argv: list[str]) -> tuple[PlannedRun, list[float]]:
    """The checked flags, and the epsilons to plan for.

    Args:
      argv: As typed.

    Raises:
      UsageError: A flag that is wrong or without effect.
    """
    config = run_flags.config_from_flags(argv, _DEFAULTS, check=False)
    if config.dp is None:
        raise UsageError(unknown_name("<dp>", "none", MECHANISMS))
    num_parameters = flags.FLAGS.num_parameters
    if not _SIZES.holds(num_parameters):
        raise UsageError(
            f"--num_parameters={num_parameters} must be {_SIZES.expected}."
        )
    planned = PlannedRun(config, num_parameters)
    accounting.check_delta(planned.delta, config.num_clients)
    outputs.check(flags.FLAGS.plot, "--plot", ".png")
    return planned, _epsilons(config)


def _epsilons(config: RunConfig) -> list[float]:
    given = flags.FLAGS.epsilons
    if config.dp.epsilon is not None:
        if flags.FLAGS["epsilons"].present:
            raise UsageError(
                f"--epsilons={','.join(given)} would be ignored beside "
                f"<dp.epsilon>={config.dp.epsilon:g}; remove one of the two."
            )
        return [config.dp.epsilon]
    try:
        epsilons = [float(epsilon) for epsilon in given]
    except ValueError:
        epsilons = []
    allowed = RunConfig.leaves()["dp_epsilon"].known.range
    if not epsilons or not all(map(allowed.holds, epsilons)):
        raise UsageError(
            f"--epsilons={','.join(given)} must be numbers from "
            f"{allowed.lowest:g} to {allowed.highest:g}, as in 1,2,4."
        )
    return epsilons


def main(argv: list[str]) -> None:
    """Prints the table and draws the plot."""
    planned, epsilons = config_from_flags(argv)
    config = planned.config
    plans = [
        planning.plan_epsilon(
            planned.make_mechanism,
            epsilon,
            config.rounds,
            planned.delta,
            planned.num_parameters,
            config.num_clients,
        )
        for epsilon in epsilons
    ]
    print(_heading(planned))
    print(_table(plans))
    print(_assumptions(planned))
    if config.dp.noise_multiplier is not None:
        print(_enough_clients(planned, epsilons))
    if flags.FLAGS.plot:
        outputs.write(flags.FLAGS.plot, draw(planned, plans))
        print(f"\n{flags.FLAGS.plot}")


def _heading(planned: PlannedRun) -> str:
    config = planned.config
    name = MECHANISMS.entry_of(config.dp).name
    return (
        f"--dp={name}, {config.num_clients:,} clients, "
        f"{config.clients_per_round:,} a round, {config.rounds:,} rounds, "
        f"delta {planned.delta:.3g}, {planned.num_parameters:,} parameters\n"
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


def _assumptions(planned: PlannedRun) -> str:
    mechanism = planned.make_mechanism(1.0)
    return (
        "\nunit: client; neighbours: "
        f"{NEIGHBOURS[mechanism.neighbours]};\n"
        f"sampling: {mechanism.sampling_statement()}.\n"
        "noise: standard deviation over the clip norm. signal/noise: norm of a "
        "mean update at\nthe clip norm, over that of its noise; over all "
        "rounds: of their sums. clients for 1:\nclients, and in proportion "
        "clients a round, at which signal/noise is 1."
    )


def _enough_clients(planned: PlannedRun, epsilons: list[float]) -> str:
    """For how many clients this noise and cohort are enough."""
    config = planned.config

    def epsilon_of(num_clients: int) -> float:
        more = dataclasses.replace(config, num_clients=num_clients)
        return dataclasses.replace(planned, config=more).epsilon()

    lines = [
        f"\nWith noise {config.dp.noise_multiplier:g} and "
        f"{config.clients_per_round:,} of them a round (epsilon now "
        f"{planned.epsilon():.3f}), it takes"
    ]
    for epsilon in epsilons:
        enough = planning.clients_needed(
            epsilon_of, epsilon, max(2, config.clients_per_round)
        )
        lines.append(f"{enough:>17,} clients for epsilon {epsilon:g}")
    return "\n".join(lines)


def draw(planned: PlannedRun, plans: list[planning.Plan]) -> bytes:
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
        spent.plot(*_spending(planned, plan), label=f"{plan.epsilon:.3g}")
    spent.legend(title="epsilon")
    _label(spent, "round", "epsilon spent")
    figure.suptitle(_heading(planned).strip())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def _spending(planned: PlannedRun, plan: planning.Plan) -> tuple[list, list]:
    """Rounds, at most a dozen, and epsilon after each."""
    mechanism = planned.make_mechanism(plan.noise_multiplier)
    last = planned.config.rounds
    rounds = [*range(1, last, max(1, last // 10)), last]
    return rounds, [
        accounting.epsilon(
            mechanism.event_after(r),
            planned.delta,
            mechanism.neighbours,
        )
        for r in rounds
    ]


def _label(axis: Any, x: str, y: str) -> None:
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(alpha=0.3)
