"""Events that `dp_accounting` has no class for: known by Renyi bounds alone.

Only the RDP accountant has a rule for them (`tff_cnn.privacy.accounting`); no
privacy loss distribution is known that dominates them.
"""

import dataclasses
import math

import dp_accounting
import numpy as np


class RenyiDpEvent(dp_accounting.DpEvent):
    """One release, by an upper bound of its Renyi divergences."""

    def divergence(self, order: float) -> float:
        """Upper bound of the Renyi divergence at `order` > 1."""
        raise NotImplementedError

    def divergences(self, orders) -> np.ndarray:
        """Upper bounds at all `orders`: float64, [len(orders)]."""
        return np.array([self.divergence(order) for order in orders])


@dataclasses.dataclass(frozen=True)
class ConcentratedDpEvent(RenyiDpEvent):
    """What is rho-zCDP (Bun & Steinke 2016): divergence rho * order.

    Not a Gaussian event, whose privacy loss distribution promises more.

    Attributes:
      rho: > 0.
    """

    rho: float

    def divergence(self, order: float) -> float:
        return self.rho * order


@dataclasses.dataclass(frozen=True)
class SkellamDpEvent(RenyiDpEvent):
    """Integer vectors with Skellam noise (Agarwal et al. 2021, Theorem 3.5).

    Attributes:
      l1_sensitivity, l2_sensitivity: By which the vector moves.
      variance: Of the noise on each coordinate.
    """

    l1_sensitivity: float
    l2_sensitivity: float
    variance: float

    def divergence(self, order: float) -> float:
        # The theorem is for integers; divergences never fall with the order.
        order = math.ceil(order)
        squared = self.l2_sensitivity**2
        excess = min(
            ((2 * order - 1) * squared + 6 * self.l1_sensitivity)
            / (4 * self.variance**2),
            3 * self.l1_sensitivity / (2 * self.variance),
        )
        return order * squared / (2 * self.variance) + excess
