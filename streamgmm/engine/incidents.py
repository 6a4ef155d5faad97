"""Flagged rows that belong together carry the id of one incident."""

from __future__ import annotations

import math
from dataclasses import dataclass


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
