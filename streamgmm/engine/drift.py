"""Does the stream still look like what the model remembers? A test martingale on p-values, and what to do about it.

As long as rows come from what the calibration buffer holds, p-values are uniform, and whoever bets that they are small
loses: the capital of one bet is a martingale, and it ever exceeds 1/δ with a probability of at most δ (Vovk et al.
2003, "Testing exchangeability on-line"). What is followed here begins anew at every lowest point (as a CUSUM,
Volkhonskiy et al. 2017). So that bound holds for each beginning, not for the whole of a stream: the mean number of rows
before a false alarm is at least 1/δ. Betting on ranks needs no scale and no reference of its own; a floor under the
p-values keeps a few wild rows from deciding. The place where the capital was last at its lowest tells when the change
began.
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
# The bet: each row multiplies the capital by ε p^(ε − 1); a row counts as one in so many at most.
EPSILON = 0.5
RAREST = 1e-3
# Evidence is not hoarded beyond this: what is over must be forgotten within a few hundred rows, however bad it was.
MOST_EVIDENCE = 66.0
# EM passes that carry a member over to what is left of its window.
CUT_PASSES = 10


@dataclass(frozen=True, slots=True)
class Rule:
    """When an alarm is raised, and how much of the past it leaves.

    Attributes
    ----------
    evidence : float
        Log of the capital, nats.
    rows : int
        Learnt rows since the change began: what is shorter is an event, not a new state of things.
    keep : int
        Rows that are always kept; more where the change began before them.
    """

    evidence: float
    rows: int
    keep: int


# Measured on 32 labelled streams and 4 that drift: docs/detection.md.
RULES: Mapping[str, Rule | None] = {
    "stable": None,
    "balanced": Rule(evidence=60.0, rows=200, keep=1000),
    "fast": Rule(evidence=30.0, rows=20, keep=50),
}

# What a change that was held back and adopted leaves where no rule would cut.
ADOPTED = Rule(evidence=60.0, rows=0, keep=1000)


@dataclass(frozen=True, slots=True)
class Drift:
    """The bet so far.

    Attributes
    ----------
    evidence : float
        Log of the capital since its lowest, nats.
    rows : int
        Learnt rows since then.
    """

    evidence: float = 0.0
    rows: int = 0

    def follow(self, p: Floats) -> Drift:
        """Return the bet after a step's p-values (n,) in stream order."""
        after = np.array([self.evidence, self.rows])
        bet(np.ascontiguousarray(p), EPSILON, RAREST, MOST_EVIDENCE, after)
        return Drift(float(after[0]), int(after[1]))

    def alarms(self, rule: Rule | None) -> bool:
        """Return whether the evidence suffices."""
        return rule is not None and self.evidence > rule.evidence and self.rows >= rule.rows
