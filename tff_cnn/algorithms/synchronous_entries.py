"""The entries of algorithms whose clients keep nothing between rounds."""

import dataclasses
from typing import Any

from tff_cnn.algorithms import ALGORITHMS
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import (
    Condition,
    Range,
    integers,
    option,
    positive,
)
from tff_cnn.core.traits import (
    GUARDED_EXAMPLES,
    STATELESS_CLIENTS,
)


@ALGORITHMS.entry(
    "fedavg",
    "tff_cnn.algorithms.fedavg:build_fedavg",
    offers=[GUARDED_EXAMPLES, STATELESS_CLIENTS],
    paper="McMahan et al. 2017",
    down="w",
    up="w - w_k",
    keeps="nothing",
)
@dataclasses.dataclass(frozen=True)
class FedAvg:
    """Federated averaging (McMahan et al. 2017)."""


@ALGORITHMS.entry(
    "fedprox",
    "tff_cnn.algorithms.fedprox:build_fedprox",
    offers=[GUARDED_EXAMPLES, STATELESS_CLIENTS],
    local_steps="tff_cnn.algorithms.fedprox:local_steps",
    paper="Li et al. 2020",
    down="w",
    up="w - w_k",
    keeps="nothing",
)
@dataclasses.dataclass(frozen=True)
class FedProx:
    """FedAvg with a pull towards what was sent (Li et al. 2020)."""

    proximal_mu: float = option(
        0.01,
        "Strength of the pull towards the weights that were sent, >= 0; 0 is "
        "FedAvg.",
        range=Range(0, 1e30, "at least 0"),
    )
    straggler_fraction: float = option(
        0.0,
        "Part of a round's clients, in [0, 1], that make only so many of their "
        "local steps, drawn from one to all.",
        range=Range(0, 1, "in [0, 1]: 0.5 is half of them"),
    )


@ALGORITHMS.entry(
    "fedsgd",
    "tff_cnn.algorithms.fedsgd:build_fedsgd",
    # Not GUARDED_EXAMPLES: batches count by how many examples they have.
    offers=[STATELESS_CLIENTS],
    paper="McMahan et al. 2017",
    down="w",
    up="eta g_k",
    keeps="nothing",
)
@dataclasses.dataclass(frozen=True)
class FedSgd:
    """One gradient of all examples a client and round (McMahan et al. 2017)."""

    def check(self, config: Any) -> None:
        """Refuses passes that would compute the same gradient again."""
        if config.client_epochs != 1:
            raise UsageError(
                f"<client_epochs>={config.client_epochs} does not go with "
                "<algorithm>=fedsgd, which computes one gradient a round: use "
                "<client_epochs>=1."
            )


@ALGORITHMS.entry(
    "mime_lite",
    "tff_cnn.algorithms.mime_lite:build_mime_lite",
    # Not GUARDED_EXAMPLES: a step takes a second gradient of its lot, which
    # nothing accounts for.
    offers=[STATELESS_CLIENTS],
    update_vectors=2,
    paper="Karimireddy et al. 2021",
    down="w, s",
    up="w - w_k, g_k",
    keeps="nothing",
)
@dataclasses.dataclass(frozen=True)
class MimeLite:
    """Clients mimic one optimizer of the server's (Karimireddy et al. 2021)."""


_UNIT = Range(0, 1, "in [0, 1]")


_ATTACK_STEPS = integers(1, 10_000)


_IS_PGD = Condition(
    lambda config: config.algorithm.adversarial_method == "pgd",
    "<algorithm.adversarial_method>=pgd",
    "algorithm",
)


@ALGORITHMS.entry(
    "adversarial",
    "tff_cnn.algorithms.adversarial:build_adversarial",
    in_round="tff_cnn.algorithms.adversarial:in_round",
    offers=[STATELESS_CLIENTS],
    refuses={
        "standardize": "an adversary's bound is in pixels scaled to [0, 1], "
        "and standardized images are on another scale"
    },
    paper="Zizzo et al. 2020",
    down="w",
    up="w - w_k",
    keeps="nothing",
)
@dataclasses.dataclass(frozen=True)
class Adversarial:
    """FedAvg on adversarial examples (Zizzo et al. 2020)."""

    adversarial_method: str = option(
        "pgd",
        "How they are made: fgsm, one step of the gradient's sign; or pgd, "
        "several within the bound.",
        choices={"fgsm": (), "pgd": ()},
    )
    adversarial_epsilon: float = option(
        0.3,
        "Most that a pixel is changed by (L-infinity), of images scaled to "
        "[0, 1].",
        range=_UNIT,
    )
    adversarial_fraction: float = option(
        1.0,
        "Share of each batch that is made adversarial, in [0, 1]; 0 is FedAvg.",
        range=_UNIT,
    )
    adversarial_steps: int | None = option(
        None,
        "Gradients that pgd takes (default: 10).",
        range=_ATTACK_STEPS,
        applies=_IS_PGD,
    )
    adversarial_step_size: float | None = option(
        None,
        "What pgd moves a pixel by in a step (default: 2.5 "
        "<algorithm.adversarial_epsilon> over the steps).",
        range=positive(1e-6, 1),
        applies=_IS_PGD,
    )
    adversarial_random_start: bool = option(
        True, "Let pgd begin anywhere within the bound, not at the image."
    )
    adversarial_warmup_rounds: int = option(
        0,
        "Rounds, the first ones, in which the bound rises to its full value.",
        range=integers(0),
    )
    robust_eval_steps: int = option(
        40,
        "Gradients that pgd takes, from a random start, where "
        "test_robust_accuracy is evaluated.",
        range=_ATTACK_STEPS,
    )
    robust_eval_epsilon: float | None = option(
        None,
        "The bound there (default: <algorithm.adversarial_epsilon>).",
        range=_UNIT,
    )
    robust_eval_every: int = option(
        0,
        "Rounds between two such evaluations; 0 is the last round only. Each "
        "takes as long as so many epochs on the test set.",
        range=integers(0),
    )

    @property
    def robust_evaluation(self) -> tuple[float, int]:
        """(epsilon, steps) of the pgd that the model is evaluated under."""
        epsilon = self.robust_eval_epsilon
        if epsilon is None:
            epsilon = self.adversarial_epsilon
        return epsilon, self.robust_eval_steps
