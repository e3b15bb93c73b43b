"""What `secure_sum` can be set to, and what it goes with."""

import dataclasses
from typing import Any

from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import (
    Condition,
    Range,
    integers,
    option,
    positive,
)
from tff_cnn.core.traits import STATELESS_CLIENTS

# TFF's secure sums are of int64; half of its range is for the sign.
MOST_BITS = 62


def num_levels(bits: int) -> int:
    """L: the largest of the integers of so many bits, with a sign."""
    return 2 ** (bits - 1) - 1


def ring_bits(levels: int, max_weight: int, max_clients: int) -> int:
    """log2 of R, so that no sum of so many clients overflows."""
    return (2 * levels * max_weight * max_clients).bit_length()


def _is_masked(config: Any) -> bool:
    return getattr(config.aggregator, "secure_protocol", None) == "masking"


_MASKED = Condition(
    _is_masked, "<aggregator.secure_protocol>=masking", "aggregator"
)


def _check_even(given: Any) -> None:
    if given % 2:
        raise UsageError(
            f"<aggregator.secure_neighbours>={given} must be even: half of "
            "them on either side of a client."
        )


@dataclasses.dataclass(frozen=True)
class SecureSum:
    """The mean, of sums that hide who sent what (Bonawitz et al. 2017)."""

    secure_bound: float = option(
        1.0,
        "Largest absolute value of a number of an update, > 0: what is larger "
        "is clipped to it, and rows count such clients as secure_clipped.",
        range=positive(),
    )
    secure_bits: int = option(
        24,
        "Bits of the integers that numbers from -secure_bound to secure_bound "
        "become.",
        range=integers(2, 32),
    )
    secure_max_weight: int = option(
        2**14,
        "The most that a client counts in the mean, in examples; one of more "
        "counts so much. With <client_weighting>=uniform 1 is enough, and "
        "makes what is sent shorter.",
        range=integers(1, 2**40),
    )
    secure_max_clients: int = option(
        1024,
        "Clients whose sum still fits; a round of more fails.",
        range=integers(1, 2**40),
    )
    secure_protocol: str = option(
        "none",
        "How sums are executed: none, as plain sums, or masking, by a "
        "simulation of the protocol of Bonawitz et al. 2017 with its keys, "
        "masks, shares and bytes.",
        choices={"none": (), "masking": ()},
    )
    secure_threshold: float = option(
        2 / 3,
        "Part of the clients, above 1/2 and at most 1, that have to stay until "
        "the end; with fewer a round is aborted, and changes nothing.",
        range=Range(0.5 + 1e-9, 1, "above 0.5 and at most 1"),
        applies=_MASKED,
        neutral=2 / 3,
    )
    secure_dropout: float = option(
        0.0,
        "Probability, in [0, 1), that a client drops out before each of the "
        "protocol's four phases.",
        range=Range(0, 1 - 1e-9, "in [0, 1)"),
        applies=_MASKED,
        refuses=dict.fromkeys(
            ("dp", "local_randomizer", "example_dp"),
            "the accountant has no rule for cohorts that clients drop out of",
        ),
    )
    secure_neighbours: int | None = option(
        None,
        "Clients that each masks with and shares its secrets with, even "
        "(Bell et al. 2020); the threshold is of these and itself (default: "
        "all).",
        range=integers(2, 2**20),
        check=_check_even,
        applies=_MASKED,
    )

    def check(self, config: Any) -> None:
        """Raises `UsageError` where its sums could not be had."""
        self._check_size(config)
        entries = {name: entry for name, _, entry in config.chosen()}
        if entries["runtime"].name == "native":
            raise UsageError(
                "<aggregator>=secure_sum does not go with <runtime>=native, "
                "which knows no secure sums: use <runtime>=in_process."
            )
        algorithm = entries["algorithm"]
        is_one_sum = (
            STATELESS_CLIENTS in algorithm.offers
            and "engine" not in algorithm.facts
        )
        if self.secure_dropout and not is_one_sum:
            raise UsageError(
                f"<aggregator.secure_dropout>={self.secure_dropout} does not "
                f"go with <algorithm>={algorithm.name}: clients that drop out "
                "within a round would be counted elsewhere; use "
                "<aggregator.secure_dropout>=0, or <algorithm>=fedavg."
            )
        schedule = entries["server_schedule"].name
        if self.secure_dropout and schedule != "constant":
            raise UsageError(
                f"<aggregator.secure_dropout>={self.secure_dropout} does not "
                f"go with <server_schedule>={schedule}: a round that is "
                "aborted changes nothing, and the schedule would fall behind "
                "the rounds; use one of the two."
            )

    def _check_size(self, config: Any) -> None:
        if config.clients_per_round > self.secure_max_clients:
            raise UsageError(
                f"<clients_per_round>={config.clients_per_round} is more than "
                f"<aggregator.secure_max_clients>={self.secure_max_clients}: "
                "the sum might overflow; raise the latter."
            )
        bits = ring_bits(
            num_levels(self.secure_bits),
            self.secure_max_weight,
            self.secure_max_clients,
        )
        if bits > MOST_BITS:
            raise UsageError(
                f"<aggregator.secure_bits>={self.secure_bits} is too much: "
                f"with secure_max_weight={self.secure_max_weight} and "
                f"secure_max_clients={self.secure_max_clients} a sum takes "
                f"{bits} bits, and there are {MOST_BITS}; lower one of them."
            )
