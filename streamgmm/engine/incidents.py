"""Flagged rows that belong together carry the id of one incident."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.records import IncidentSummary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.records import Anomaly, FlaggedRow

    Floats = NDArray[np.float64]


# Seconds by which later rows lie before a flagged one when it is that one's time that is wrong.
FAR_BACK = 86_400.0


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
    back = max(seconds, FAR_BACK)
    if len(t) and t.max() - last.t <= seconds and last.t - t.min() <= back:  # not where any of them is NaN
        return None
    passed = first_row + np.arange(len(t)) - last.row
    untimed = np.isnan(t) | math.isnan(last.t)
    beyond = np.flatnonzero(np.where(untimed, passed > rows, (t - last.t > seconds) | (last.t - t > back)))
    return int(beyond[0]) if len(beyond) else None


def summarised(before: IncidentSummary | None, anomaly: Anomaly, row: FlaggedRow) -> IncidentSummary:
    """Return what is known of an incident with one flagged row more; of another incident, it is the first row."""
    if before is None or before.id != anomaly.incident:
        before = IncidentSummary(anomaly.incident, row.id, row.key, row.time, row.time, 0, row, {}, anomaly.provisional)
    surprise = dict(before.surprise)
    for contribution in anomaly.explanation.contributions:
        surprise[contribution.feature] = surprise.get(contribution.feature, 0.0) + max(0.0, contribution.excess)
    worse = (row.p_value, row.log_density) < (before.worst.p_value, before.worst.log_density)
    return replace(before, last=row.time, rows=before.rows + 1, worst=row if worse else before.worst, surprise=surprise)
