"""Flagged rows that belong together carry the id of one incident."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Incident:
    """The incident that the last flagged row belonged to, and where that row stood."""

    id: str
    t: float
    row: int

    def continues(self, t: float, row: int, seconds: float, rows: int) -> bool:
        """Return whether a row flagged at event time t (s), the row-th of its stream, still belongs to it."""
        if math.isnan(t) or math.isnan(self.t):
            return row - self.row <= rows
        return abs(t - self.t) <= seconds


def follow(last: Incident | None, t: float, row: int, row_hash: int, seconds: float, rows: int) -> Incident:
    """Return the incident of a newly flagged row: the running one, or a new one named by the row that opened it."""
    if last is not None and last.continues(t, row, seconds, rows):
        return Incident(last.id, t, row)
    return Incident(f"{row_hash:016x}", t, row)


def first_beyond(last: Incident, t: Floats, first_row: int, seconds: float, rows: int) -> int | None:
    """Return which of consecutive rows is the first that shows an incident to be over; None while it may go on.

    Parameters
    ----------
    t : (n,) float64
        Event times, seconds; rows without one are counted instead.
    first_row
        Number of the first of them in its stream.
    """
    passed = first_row + np.arange(len(t)) - last.row
    untimed = np.isnan(t) | math.isnan(last.t)
    beyond = np.flatnonzero(np.where(untimed, passed > rows, t - last.t > seconds))
    return int(beyond[0]) if len(beyond) else None
