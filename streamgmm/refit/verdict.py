"""The shadow's verdict: candidate and incumbent both scored the same rows, which neither had seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.refit.job import RefusalReason

    Floats = NDArray[np.float64]

TOLERATED_NATS = 0.1
TOLERATED_FLAGS = 3
TOLERATED_FLAG_SHARE = 0.05
# One wild row must not decide: differences are clipped here before they are averaged.
CLIP_NATS = 50.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a candidate may serve, why not, and the two mean log-densities it was judged by."""

    refused: RefusalReason | None
    candidate: float
    incumbent: float


def judge(candidate: Floats, incumbent: Floats, threshold: float) -> Verdict:
    """Refuse a candidate that is clearly worse, or that would flag many more rows.

    Parameters
    ----------
    candidate, incumbent : (n,) float64
        Log-densities of the same rows, nats.
    threshold : float
        The serving threshold, nats.
    """
    means = float(candidate.mean()), float(incumbent.mean())
    if not np.isfinite(candidate).all():
        return Verdict("non_finite", *means)
    difference = np.clip(candidate - incumbent, -CLIP_NATS, CLIP_NATS)
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
    if difference.mean() < -max(2.0 * error, TOLERATED_NATS):
        return Verdict("shadow_density", *means)
    flagged = int((candidate < threshold).sum()), int((incumbent < threshold).sum())
    if flagged[0] > flagged[1] + max(TOLERATED_FLAGS, TOLERATED_FLAG_SHARE * len(candidate)):
        return Verdict("shadow_flag_rate", *means)
    return Verdict(None, *means)
