"""Rules for flags by column, in the unit of the column.

A row is flagged by its joint density. The rules of its leading columns then decide whether it keeps the flag. Rules
only withdraw flags. They do not change score, p-value and log-density of the row. The adaptive level still counts the
row as flagged. Otherwise it would flag other irrelevant rows instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamgmm.records import Contribution, Explanation

# Nats beyond the usual: what a normal column has at three standard deviations, z²/2 − 1/2.
NOTABLE = 4.0


@dataclass(frozen=True, slots=True)
class FieldRule:
    """Rule that a field must meet to justify a flag.

    Attributes
    ----------
    direction : {"high", "low", "both"}
        Side of the expected value on which it must be.
    min_deviation : float
        Least distance from the expected value, in the unit of the field.
    """

    direction: Literal["high", "low", "both"] = "both"
    min_deviation: float = 0.0

    def admits(self, contribution: Contribution) -> bool:
        """Return whether the value meets the rule. A value without an expected value always does."""
        deviation = contribution.observed - contribution.expected
        if math.isnan(deviation):
            return True
        wrong_side = (self.direction == "high" and deviation < 0.0) or (self.direction == "low" and deviation > 0.0)
        return not wrong_side and abs(deviation) >= self.min_deviation


def leading(explanation: Explanation) -> list[Contribution]:
    """Return the leading contributions: those with a notable excess.

    If no column has a notable excess, they are those with at least half of the largest excess. The result is empty if
    no column has a positive excess.
    """
    found = [(c.excess, c) for c in explanation.contributions]
    largest = max((e for e, _ in found), default=0.0)
    if not largest > 0.0:
        return []
    least = min(NOTABLE, largest / 2.0)
    return [c for e, c in found if e >= least]


def deserves_flag(explanation: Explanation, rules: Mapping[str, FieldRule]) -> bool:
    """Return whether a flagged row keeps its flag: a leading contribution meets its rule, or there is none."""
    leaders = leading(explanation)
    return not leaders or any(c.feature not in rules or rules[c.feature].admits(c) for c in leaders)
