"""What flagged rows teach, and what becomes of a change while nobody knows whether it stays.

A single flagged row is learnt, counted for less, or left out. A sustained change is another matter: left out, it would
be flagged for ever. Without `adopt_after` it is learnt as it comes, and the drift rule may cut what came before. With
`adopt_after` its rows are held back: they are forgotten when it ends before that, and become the memory when it stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from streamgmm.engine.drift import ADOPTED
from streamgmm.engine.window import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.engine.drift import Drift
    from streamgmm.engine.window import Block

    Bools = NDArray[np.bool_]
    Hashes = NDArray[np.uint64]

LearnFlagged: TypeAlias = Literal["accept", "down_weight", "exclude"]
# A flagged row that counts for less enters the window once in so many times: its weight, without any weights.
FLAGGED_ONE_IN = 10
# Evidence (nats) from which flagged rows are no single events any more.
SUSTAINED = 10.0


@dataclass(frozen=True, slots=True)
class AdoptAfter:
    """How long a change must last before it is learnt: learnt rows or seconds of event time, whichever comes first."""

    rows: float = math.inf
    seconds: float = math.inf


def teaches(policy: LearnFlagged, flagged: Bools, row_hash: Hashes, drift: Drift) -> Bools:
    """Return which rows (n,) may enter the window.

    The hash's low bits decide: its high ones tell which rows a fast stream learns at all.
    """
    if policy == "accept" or drift.evidence > SUSTAINED:
        return np.ones(len(flagged), dtype=bool)
    if policy == "exclude":
        return ~flagged
    return np.asarray(~flagged | (row_hash % np.uint64(FLAGGED_ONE_IN) == 0))


def hold(held: Window | None, block: Block, drift: Drift, capacity: int) -> Window | None:
    """Return the rows held back after a step; None where nothing is to be held, and the step's rows are learnt."""
    if drift.evidence <= SUSTAINED:
        return None
    return (held or Window(capacity)).add(block)


def adopts(held: Window | None, drift: Drift, after: AdoptAfter) -> bool:
    """Return whether the change whose rows are held back goes on, and has lasted long enough to be adopted."""
    if held is None or not drift.alarms(ADOPTED):
        return False
    return drift.rows >= after.rows or held.span() >= after.seconds
