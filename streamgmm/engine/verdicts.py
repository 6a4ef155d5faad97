"""What the engine says of the rows between two changes: density, p-value, flag, incident and explanation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamgmm.engine.comparable import Comparable
from streamgmm.engine.incidents import first_beyond, follow
from streamgmm.engine.rules import deserves_flag
from streamgmm.records import CRITICAL_SCORE, SEVERITIES, STATUSES, Anomaly, ScoredBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.detector.committee import Detector
    from streamgmm.engine.incidents import Incident
    from streamgmm.engine.settings import EngineSettings
    from streamgmm.engine.state import State

    Floats = NDArray[np.float64]
    Hashes = NDArray[np.uint64]
    Bools = NDArray[np.bool_]

NOTICE, WARNING, CRITICAL = range(len(SEVERITIES))
SCORED, WARMING_UP, MISSING = (STATUSES.index(s) for s in ("scored", "warming_up", "missing"))


class Output:
    """The arrays of a ScoredBatch of n rows while they are being filled."""

    def __init__(self, n: int) -> None:
        self.log_density, self.p_value, self.score, self.level, self.threshold = (np.full(n, np.nan) for _ in range(5))
        self.is_anomaly = np.zeros(n, dtype=bool)
        self.severity = np.full(n, -1, dtype=np.int64)
        self.version = np.zeros((n, 2), dtype=np.int64)
        self.status = np.zeros(n, dtype=np.int64)
        self.anomalies: list[Anomaly] = []
        self.withdrawn: list[int] = []
        self.opened: list[int] = []
        self.ended: list[int] = []

    def batch(self, n: int) -> ScoredBatch:
        """Return the first n rows."""
        return ScoredBatch(
            log_density=self.log_density[:n],
            p_value=self.p_value[:n],
            score=self.score[:n],
            is_anomaly=self.is_anomaly[:n],
            severity=self.severity[:n],
            level=self.level[:n],
            threshold=self.threshold[:n],
            version=self.version[:n],
            status=self.status[:n],
            anomalies=tuple(self.anomalies),
            withdrawn=tuple(self.withdrawn),
            opened=tuple(self.opened),
            ended=tuple(self.ended),
        )


def pass_unscored(scorable: Bools, rows: slice, out: Output) -> None:
    """Let rows pass while there is no detector."""
    out.status[rows] = np.where(scorable, WARMING_UP, MISSING)


def score(
    state: State,
    detector: Detector,
    settings: EngineSettings,
    X: Floats,
    scorable: Bools | None,
    learnt: Bools,
    rows: slice,
    out: Output,
) -> Floats:
    """Score those of the rows X (n, d) that hold anything into `out[rows]`; return what missing cells corrected.

    `scorable` (n,) says which they are; None where no cell is missing.
    """
    calibration = state.calibration
    log_density, correction = _log_density(state, detector, settings, X, scorable)
    p = calibration.p_values(log_density)
    if scorable is not None:
        p[~scorable] = np.nan
    out.log_density[rows] = log_density
    out.p_value[rows] = p
    out.score[rows] = np.minimum(100.0, -12.5 * np.log10(p))
    flagged, level = _flags(state, settings, log_density, p, learnt)
    out.is_anomaly[rows], out.level[rows] = flagged, level
    bound = settings.log_density_below
    out.threshold[rows] = np.where(np.isnan(p), np.nan, calibration.thresholds(level)) if bound is None else bound
    rare = True if bound is not None else p <= settings.target_rate
    graded = np.where(rare, np.where(out.score[rows] >= CRITICAL_SCORE, CRITICAL, WARNING), NOTICE)
    out.severity[rows] = np.where(flagged, graded, -1)
    out.version[rows] = detector.version
    out.status[rows] = SCORED if scorable is None else np.where(scorable, SCORED, MISSING)
    return correction


def _flags(
    state: State, settings: EngineSettings, log_density: Floats, p: Floats, learnt: Bools
) -> tuple[Bools, Floats]:
    """Return which rows (n,) are flagged, and the p-value (n,) that each was judged by.

    Flagged is what is below a stated log-density (the level is then NaN), or as rare as the level.
    """
    if settings.log_density_below is not None:
        return np.asarray(log_density < settings.log_density_below), np.full(len(p), np.nan)
    if settings.level == "adaptive":  # its level falls within a burst by itself
        level, state.calibration = state.calibration.adapt(p, learnt, settings.target_rate)
        return np.asarray(p <= level), level
    earlier = state.step.log_density
    worn = state.calibration.worn(p, log_density, np.concatenate(earlier) if earlier else np.empty(0), learnt)
    flagged = np.asarray(worn <= settings.target_rate)
    # A row that its own step has made less rare was judged by as much less.
    level = np.where(worn > p, settings.target_rate * p / worn, settings.target_rate)
    return flagged, level


def _log_density(
    state: State, detector: Detector, settings: EngineSettings, X: Floats, scorable: Bools | None
) -> tuple[Floats, Floats]:
    """Return comparable log-densities (n,), NaN where nothing can be scored, and what missing cells corrected."""
    if scorable is None or not any_missing(X):
        return detector.log_density(X), np.zeros(len(X))
    log_density = np.full(len(X), np.nan)
    log_density[scorable] = detector.log_density(X[scorable])
    state.comparable, correction = _correction(state, detector, settings, X, log_density)
    return log_density + correction, correction


def comparable_log_density(state: State, detector: Detector, settings: EngineSettings, X: Floats) -> Floats:
    """Return what rows X (n, d) would be scored as now (n,), nats; NaN for rows without any cell. Nothing changes."""
    log_density = detector.log_density(X)
    log_density[np.isnan(X).all(axis=1)] = np.nan
    return log_density + _correction(state, detector, settings, X, log_density)[1]


def any_missing(X: Floats) -> bool:
    """Return whether any cell is missing, by one sum; cells near the largest float may look missing, and are not."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isnan(X.sum())) and bool(np.isnan(X).any())


def _correction(
    state: State, detector: Detector, settings: EngineSettings, X: Floats, log_density: Floats
) -> tuple[Comparable | None, Floats]:
    """Return the maps that rows with missing cells took, and what they add to log-densities (n,), nats."""
    correction, absent = np.zeros(len(X)), np.isnan(X[:, : len(settings.names)])
    incomplete = np.flatnonzero(absent.any(axis=1) & ~np.isnan(log_density))
    if not len(incomplete):
        return state.comparable, correction
    maps = comparable_for(state, settings, detector, absent[incomplete])
    keys = maps.keys(absent[incomplete])
    correction[incomplete] = maps.correction(log_density[incomplete], absent[incomplete], keys)
    return maps, correction


def comparable_for(state: State, settings: EngineSettings, detector: Detector, absent: Bools) -> Comparable:
    """Return the maps that rows with these missing cells (n, d) need.

    They are made at need, of the detector and the window, which stand still between two step ends: so it does not
    matter which block asks first.
    """
    found = state.comparable
    if found is None:
        found = Comparable.of_window(state.window.rows(), settings.stems)
    needed = [int(key) for key in np.unique(found.keys(absent)) if key >= 0]
    if all(key in found.maps for key in needed):
        return found
    return found.extended(needed, detector, state.window.rows(), settings.seed)


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
    """Take back flags that rules do not admit; give every other flagged row its incident and, on request, its reasons.

    A row shows an incident to be over when it lies beyond the gap, flagged or not.
    """
    provisional = len(state.calibration.recent) * settings.target_rate < 1.0
    done = rows.start
    all_flagged = np.flatnonzero(out.is_anomaly[rows]) + rows.start
    wanted = (explain or settings.rules) and state.detector is not None
    told = state.detector.explain(X[all_flagged], settings.names) if wanted and state.detector else []
    for position, flagged in enumerate(all_flagged):
        i, explanation = int(flagged), told[position] if told else None
        if explanation is not None and settings.rules and not deserves_flag(explanation, settings.rules):
            out.is_anomaly[i], out.severity[i] = False, -1
            out.withdrawn.append(i)
            continue
        _end_incident(state, settings, t, slice(done, i + 1), rows.start, out)
        incident = _follow(state, settings, i, t, row_hash, rows.start, out)
        done = i + 1
        if explain and explanation is not None:
            out.anomalies.append(
                Anomaly(
                    index=i,
                    severity=SEVERITIES[out.severity[i]],
                    incident=incident.id,
                    provisional=provisional,
                    explanation=explanation,
                )
            )
    _end_incident(state, settings, t, slice(done, rows.stop), rows.start, out)


def _follow(
    state: State, settings: EngineSettings, i: int, t: Floats, row_hash: Hashes, start: int, out: Output
) -> Incident:
    """Let a flagged row go on with the running incident or open one; time that runs backwards can end one as well."""
    before, number = state.incident, state.rows_seen + i - start
    after = follow(before, float(t[i]), number, int(row_hash[i]), settings.incident_seconds, settings.incident_rows)
    state.incident = after
    if before is None or before.id != after.id:
        out.ended.extend([i] * (before is not None))
        out.opened.append(i)
    return after


def _end_incident(state: State, settings: EngineSettings, t: Floats, rows: slice, start: int, out: Output) -> None:
    """Forget the running incident at the first of these rows that lies beyond its gap."""
    if state.incident is None:
        return
    first = state.rows_seen + rows.start - start
    at = first_beyond(state.incident, t[rows], first, settings.incident_seconds, settings.incident_rows)
    if at is not None:
        out.ended.append(rows.start + at)
        state.incident = None
