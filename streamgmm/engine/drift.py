"""Drift detection by a test martingale on p-values, and the rules for cutting the window.

If rows have the distribution of the calibration buffer, p-values are uniform, and a bet that they are small loses. The
capital of the bet is then a martingale, and the probability that it ever exceeds 1/δ is at most δ (Vovk et al. 2003,
"Testing exchangeability on-line"). The statistic here restarts at every lowest point (as a CUSUM, Volkhonskiy et al.
2017). So the bound holds for each restart, not for a whole stream: the mean number of rows before a false alarm is at
least 1/δ. A bet on ranks needs no scale and no reference sample. A floor under the p-values limits the effect of single
extreme rows. The last lowest point of the capital is the estimated start of the change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from streamgmm.engine.drift_kernels import bet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Adaptation: TypeAlias = Literal["stable", "balanced", "fast"]
# The bet: each row multiplies the capital by ε p^(ε − 1). p-values below RAREST count as RAREST.
EPSILON = 0.5
RAREST = 1e-3
# The evidence is limited to this, so that it falls within a few hundred rows after a change is over.
MOST_EVIDENCE = 66.0
# EM passes that fit a member to the remaining rows of its window.
CUT_PASSES = 10


@dataclass(frozen=True, slots=True)
class Rule:
    """When an alarm is raised, and how many rows are kept.

    Attributes
    ----------
    evidence : float
        Log of the capital, nats.
    rows : int
        Least number of learnt rows since the start of the change. A shorter change is an event.
    keep : int
        Least number of rows to keep. More rows are kept if the change started earlier.
    again : bool
        Whether the memory is cut again, without an alarm, while the change continues.
    """

    evidence: float
    rows: int
    keep: int
    again: bool = False


# Measured on 32 labelled streams and 4 that drift: docs/detection.md.
RULES: Mapping[str, Rule | None] = {
    "stable": None,
    "balanced": Rule(evidence=60.0, rows=200, keep=1000, again=True),
    "fast": Rule(evidence=30.0, rows=20, keep=50),
}

# The rule for a change that was held back and adopted, if `adaptation` has no rule.
ADOPTED = Rule(evidence=60.0, rows=0, keep=1000)


@dataclass(frozen=True, slots=True)
class Drift:
    """State of the bet.

    Attributes
    ----------
    evidence : float
        Log of the capital since its lowest point, nats.
    rows : int
        Learnt rows since that point.
    """

    evidence: float = 0.0
    rows: int = 0

    def follow(self, p: Floats) -> Drift:
        """Return the bet after a step's p-values (n,) in stream order."""
        after = np.array([self.evidence, self.rows])
        bet(np.ascontiguousarray(p), EPSILON, RAREST, MOST_EVIDENCE, after)
        return Drift(float(after[0]), int(after[1]))

    def alarms(self, rule: Rule | None) -> bool:
        """Return whether the rule raises an alarm."""
        return rule is not None and self.evidence > rule.evidence and self.rows >= rule.rows
