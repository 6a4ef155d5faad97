"""Which flagged rows are learnt, and how a change is handled while it is undecided.

Single flagged rows are learnt, learnt in part, or left out. The rows of a sustained change must not be left out, or
they would be flagged for ever. Without `adopt_after` they are learnt at once, and the drift rule may cut older rows.
With `adopt_after` they are held back. They are discarded if the change ends before that time, and become the window if
it lasts.
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
# With `down_weight` one in this many flagged rows enters the window. It replaces row weights.
FLAGGED_ONE_IN = 10
# Evidence (nats) above which flagged rows belong to a sustained change.
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
