"""What the engine says of the rows between two changes: density, p-value, flag, incident and explanation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamgmm.engine.incidents import follow
from streamgmm.records import STATUSES, Anomaly, ScoredBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.detector.committee import Detector
    from streamgmm.engine.settings import EngineSettings
    from streamgmm.engine.state import State

    Floats = NDArray[np.float64]
    Hashes = NDArray[np.uint64]
    Bools = NDArray[np.bool_]

SCORED, WARMING_UP, MISSING = (STATUSES.index(s) for s in ("scored", "warming_up", "missing"))
CRITICAL_SCORE = 50.0


class Output:
    """The arrays of a ScoredBatch of n rows while they are being filled."""

    def __init__(self, n: int) -> None:
        self.log_density, self.p_value, self.score, self.threshold = (np.full(n, np.nan) for _ in range(4))
        self.is_anomaly = np.zeros(n, dtype=bool)
        self.version = np.zeros((n, 2), dtype=np.int64)
        self.status = np.zeros(n, dtype=np.int64)
        self.anomalies: list[Anomaly] = []

    def batch(self, n: int) -> ScoredBatch:
        """Return the first n rows."""
        return ScoredBatch(
            log_density=self.log_density[:n],
            p_value=self.p_value[:n],
            score=self.score[:n],
            is_anomaly=self.is_anomaly[:n],
            threshold=self.threshold[:n],
            version=self.version[:n],
            status=self.status[:n],
            anomalies=tuple(self.anomalies),
        )


def pass_unscored(complete: Bools, rows: slice, out: Output) -> None:
    """Let rows pass while there is no detector."""
    out.status[rows] = np.where(complete, WARMING_UP, MISSING)


def score(
    state: State, detector: Detector, settings: EngineSettings, X: Floats, complete: Bools, rows: slice, out: Output
) -> None:
    """Score the complete ones of the rows X (n, d) into `out[rows]`."""
    calibration = state.calibration
    level = calibration.level(settings.target_rate)
    log_density = np.full(len(X), np.nan)
    log_density[complete] = detector.log_density(X if complete.all() else X[complete])
    p = np.full(len(X), np.nan)
    p[complete] = calibration.p_values(log_density[complete])
    out.log_density[rows] = log_density
    out.p_value[rows] = p
    out.score[rows] = np.minimum(100.0, -12.5 * np.log10(p))
    out.is_anomaly[rows] = p <= level
    out.threshold[rows] = calibration.threshold(level)
    out.version[rows] = detector.version
    out.status[rows] = np.where(complete, SCORED, MISSING)


def name_incidents(
    state: State,
    settings: EngineSettings,
    X: Floats,
    t: Floats,
    row_hash: Hashes,
    rows: slice,
    out: Output,
    *,
    explain: bool,
) -> None:
    """Give every flagged row of `rows` its incident and, on request, its explanation."""
    provisional = len(state.calibration.recent) * settings.target_rate < 1.0
    for flagged in np.flatnonzero(out.is_anomaly[rows]):
        i = int(flagged) + rows.start
        state.incident = follow(
            state.incident,
            float(t[i]),
            state.rows_seen + int(flagged),
            int(row_hash[i]),
            settings.incident_seconds,
            settings.incident_rows,
        )
        if explain and state.detector is not None:
            out.anomalies.append(
                Anomaly(
                    index=i,
                    severity="critical" if out.score[i] >= CRITICAL_SCORE else "warning",
                    incident=state.incident.id,
                    provisional=provisional,
                    explanation=state.detector.explain(X[i], settings.names),
                )
            )
