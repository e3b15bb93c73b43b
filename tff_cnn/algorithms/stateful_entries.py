"""The entries of algorithms whose clients keep something between rounds."""

import dataclasses
from typing import Any

from tff_cnn.algorithms import ALGORITHMS, OPTIMIZERS
from tff_cnn.algorithms.optimizer_entries import Sgd
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import (
    Range,
    option,
    positive,
)
from tff_cnn.core.traits import (
    GUARDED_EXAMPLES,
    PLAIN_MEAN,
    STATELESS_CLIENTS,
    UNIFORM_WEIGHTS,
)
from tff_cnn.models import HEAD, check_pattern

# What the server keeps is a mean over all clients of what they keep.
_OF_MEANS = {
    UNIFORM_WEIGHTS: "its mean is over clients, each of which counts the same",
    PLAIN_MEAN: "what its server keeps is a mean of what clients keep",
}


@ALGORITHMS.entry(
    "scaffold",
    "tff_cnn.algorithms.scaffold:build_scaffold",
    needs=_OF_MEANS,
    paper="Karimireddy et al. 2020",
    down="x, c",
    up="x - y_i, change of c_i",
    keeps="c_i",
)
@dataclasses.dataclass(frozen=True)
class Scaffold:
    """Control variates against client drift (Karimireddy et al. 2020)."""

    scaffold_option: str = option(
        "II",
        "How clients' control variates are found: I, the gradient at the "
        "weights that were sent, which doubles local passes; II, the mean of "
        "the gradients gone along, which costs none.",
        choices={"I": (), "II": ()},
    )

    def check(self, config: Any) -> None:
        """Refuses option II where steps are not linear in gradients."""
        if self.scaffold_option == "I":
            return
        if isinstance(config.client_optimizer, Sgd):
            return
        name = OPTIMIZERS.entry_of(config.client_optimizer).name
        raise UsageError(
            f"<client_optimizer>={name} does not fit "
            "<algorithm.scaffold_option>=II: it finds gradients again from how "
            "far steps went, and steps must be linear in them; use "
            "<client_optimizer>=sgd or <algorithm.scaffold_option>=I."
        )


@ALGORITHMS.entry(
    "feddyn",
    "tff_cnn.algorithms.feddyn:build_feddyn",
    needs=_OF_MEANS,
    offers=[GUARDED_EXAMPLES],
    paper="Acar et al. 2021",
    down="theta",
    up="theta - theta_k",
    keeps="its gradient term",
)
@dataclasses.dataclass(frozen=True)
class FedDyn:
    """Dynamic regularization of clients' losses (Acar et al. 2021)."""

    feddyn_alpha: float = option(
        0.1, "Strength of the regularizer, > 0.", range=positive()
    )


@ALGORITHMS.entry(
    "fedadmm",
    "tff_cnn.algorithms.fedadmm:build_fedadmm",
    needs=_OF_MEANS,
    offers=[GUARDED_EXAMPLES],
    paper="Gong et al. 2022",
    down="theta",
    up="change of w_k + y_k / rho",
    keeps="w_k, y_k",
)
@dataclasses.dataclass(frozen=True)
class FedAdmm:
    """Inexact consensus ADMM with dual variables (Gong et al. 2022)."""

    admm_rho: float = option(
        0.01,
        "Penalty on a client's distance from the server's model, > 0.",
        range=positive(),
    )
    admm_start: str = option(
        "global",
        "What clients begin local training with: global, the server's model; "
        "or own, the model of their last round, which wants a larger "
        "<admm_rho>: 1 / (local steps x learning rate), or more.",
        choices={"global": (), "own": ()},
    )


def _check_local_layers(which: str) -> None:
    check_pattern("algorithm.local_layers", which, HEAD)


@ALGORITHMS.entry(
    "fedper",
    "tff_cnn.algorithms.fedper:build_fedper",
    offers=[GUARDED_EXAMPLES],
    note="the exported model and test_accuracy are of the shared body with "
    "the initial head, which nobody has trained: each client has its own",
    paper="Arivazhagan et al. 2019",
    down="the body",
    up="its change",
    keeps="the head",
)
@dataclasses.dataclass(frozen=True)
class FedPer:
    """Shared body, a head of each client's own (Arivazhagan et al. 2019)."""

    local_layers: str = option(
        HEAD,
        "The layers that stay with the clients: head, the last one with "
        "trained weights; or those whose whole names a regular expression "
        "matches.",
        check=_check_local_layers,
        neutral=HEAD,
    )


@ALGORITHMS.entry(
    "ditto",
    "tff_cnn.algorithms.ditto:build_ditto",
    # Clients do keep something, but nothing of it is ever sent.
    offers=[GUARDED_EXAMPLES, STATELESS_CLIENTS],
    paper="Li et al. 2021",
    down="w",
    up="w - w_k",
    keeps="v_k",
)
@dataclasses.dataclass(frozen=True)
class Ditto:
    """FedAvg, and a model of each client's own beside it (Li et al. 2021)."""

    ditto_lambda: float = option(
        0.1,
        "How much personal models are drawn towards the global one, >= 0; 0 "
        "is purely local training.",
        range=Range(0, 1e30, "at least 0"),
    )
