"""Which flags deserve a page: what people say of single fields, in the fields' own units.

A row is flagged for its joint density; a rule asks afterwards whether what makes it improbable matters to anybody.
Rules only take flags back. Score, p-value and log-density of the row stay what they are, and so does the adaptive
level, which goes on counting the row as flagged: otherwise it would flag other trifles to make up for these.
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
    """What a field must do to be worth a flag.

    Attributes
    ----------
    direction : {"high", "low", "both"}
        Where it must be: above, below, or on either side of what was expected.
    min_deviation : float
        How far from what was expected it must be, in the field's own unit.
    """

    direction: Literal["high", "low", "both"] = "both"
    min_deviation: float = 0.0

    def admits(self, contribution: Contribution) -> bool:
        """Return whether the field's value is worth a flag; one without an expectation always is."""
        deviation = contribution.observed - contribution.expected
        if math.isnan(deviation):
            return True
        wrong_side = (self.direction == "high" and deviation < 0.0) or (self.direction == "low" and deviation > 0.0)
        return not wrong_side and abs(deviation) >= self.min_deviation


def leading(explanation: Explanation) -> list[Contribution]:
    """Return the contributions that make the row improbable: those of a notable excess.

    Where no column reaches that, many small deviations add up, and those count that have at least half of the largest
    excess. Empty where no column alone is surprising.
    """
    found = [(c.excess, c) for c in explanation.contributions]
    largest = max((e for e, _ in found), default=0.0)
    if not largest > 0.0:
        return []
    least = min(NOTABLE, largest / 2.0)
    return [c for e, c in found if e >= least]


def deserves_flag(explanation: Explanation, rules: Mapping[str, FieldRule]) -> bool:
    """Return whether a flagged row keeps its flag: one of its leading contributions is admitted, or there are none."""
    leaders = leading(explanation)
    return not leaders or any(c.feature not in rules or rules[c.feature].admits(c) for c in leaders)
