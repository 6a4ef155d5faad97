"""The engine: score first, learn after; everything that changes, changes at the end of a step.

A step is a fixed number of learnt rows in stream order. Blocks are cut at step ends, so results do not depend on how
rows arrive. A promotion interrupts `step`: the caller makes everything before it durable, then settles it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamgmm.engine.learning import learn, observe_drift
from streamgmm.engine.pace import Unhurried
from streamgmm.engine.policy import teaches
from streamgmm.engine.refits import Refits
from streamgmm.engine.state import State, StepRows
from streamgmm.engine.status import describe
from streamgmm.engine.thinning import MIN_LATE_ROWS, SPARSE, STEP_SPAN_SHARE, Thinning, late_rows, started
from streamgmm.engine.verdicts import (
    Output,
    any_missing,
    comparable_log_density,
    name_incidents,
    pass_unscored,
    score,
)
from streamgmm.errors import DetectorError
from streamgmm.records import EngineStatus, Event, MemberStatus, ScoredBatch, Version

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.detector.committee import Detector
    from streamgmm.engine.pace import Pace
    from streamgmm.engine.refits import Promotion
    from streamgmm.engine.settings import EngineSettings
    from streamgmm.refit import Runner

    Floats = NDArray[np.float64]
    Hashes = NDArray[np.uint64]
    Bools = NDArray[np.bool_]


class Engine:
    """Window, calibration, schedule and serving detector of one stream.

    Parameters
    ----------
    settings
        Fixed for its life.
    runner
        Where refits run.
    state
        A restored state; a fresh one unless given.
    warm_up
        Make the first fit after exactly this many rows instead of `settings.min_records` learnt ones.
    explain
        Whether flagged rows are explained.
    pace
        How much learning there is time for; all of it unless given.
    """

    def __init__(
        self,
        settings: EngineSettings,
        runner: Runner,
        state: State | None = None,
        *,
        warm_up: int | None = None,
        explain: bool = True,
        pace: Pace | None = None,
    ) -> None:
        self.settings = settings
        self.state = State.fresh(settings) if state is None else state
        self._warm_up = warm_up
        self._explain = explain
        self._pace = pace or Unhurried()
        self._refits = Refits(settings, runner, self._pace, warm_up)
        self._events: list[Event] = []
        self._described: tuple[Detector | None, tuple[MemberStatus, ...]] = (None, ())
        self._refits.resume(self.state)

    @property
    def pending(self) -> Promotion | None:
        """A promotion that waits to be made durable: nothing is stepped before it is settled."""
        return self._refits.pending

    @property
    def waits(self) -> bool:
        """Whether the first fit runs: nothing is stepped before it is done."""
        return self._refits.waits(self.state)

    def wait(self, seconds: float) -> bool:
        """Wait for the first fit so long; True when it is done."""
        self._refits.wait(self.state, seconds)
        return not self.waits

    # ── scoring ──────────────────────────────────────────────────────────────────────────────────────────────────

    def step(self, X: Floats, t: Floats, row_hash: Hashes) -> ScoredBatch:
        """Score rows and learn from them, up to the end of the block, to a promotion or to the start of the first fit.

        Parameters
        ----------
        X : (n, d) float64
        t : (n,) float64
            Event times, seconds; NaN where unknown.
        row_hash : (n,) uint64
            Stable identity of each row in its stream.

        Returns
        -------
        ScoredBatch
            Of the rows consumed: all n unless `pending` or `waits` is set.
        """
        out = Output(len(X))
        position = 0
        complete = not any_missing(X)
        scorable: Bools = np.ones(len(X), dtype=bool)
        if not complete:
            scorable = np.logical_not(np.isnan(X).all(axis=1))
        while position < len(X) and self.pending is None and not self.waits:
            length, ends = self._cut(scorable[position:], t[position:], row_hash[position:])
            self._score(X, t, row_hash, scorable, slice(position, position + length), out, complete=complete)
            position += length
            if ends:
                self._end_step()
        return out.batch(position)

    def _score(
        self, X: Floats, t: Floats, row_hash: Hashes, all_scorable: Bools, rows: slice, out: Output, *, complete: bool
    ) -> None:
        """Score the rows of one detector value, and put those that are learnt aside."""
        state = self.state
        part, times, hashes, scorable = X[rows], t[rows], row_hash[rows], all_scorable[rows]
        learnt = scorable & state.thinning.enters_calibration(hashes)
        if state.detector is None:
            pass_unscored(scorable, rows, out)
        else:
            known = None if complete else scorable
            correction = score(state, state.detector, self.settings, part, known, learnt, rows, out)
            name_incidents(state, self.settings, X, t, row_hash, rows, out, explain=self._explain)
            state.step.log_density.append(out.log_density[rows][learnt])
            state.step.p_value.append(out.p_value[rows][learnt])
            if state.shadow is not None:
                with self._pace.spending():
                    shadow = state.shadow.within(state.detector)
                    state.step.shadow.append(shadow.log_density(part[learnt]) + correction[learnt])
        if learnt.any():
            state.step.X.append(part[learnt])
            state.step.t.append(times[learnt])
            taught = teaches(self.settings.learn_flagged, out.is_anomaly[rows][learnt], hashes[learnt], state.drift)
            state.step.in_window.append(state.thinning.enters_window(hashes[learnt]) & taught)
        state.step.learnt += int(learnt.sum())
        state.step.rows += len(part)
        state.rows_seen += len(part)
        if state.thinning.calibration < 1.0:
            state.step.started, late = self._late(times)
            state.step.late = int(late[-1])

    # ── the step clock ───────────────────────────────────────────────────────────────────────────────────────────

    def _cut(self, scorable: Bools, t: Floats, row_hash: Hashes) -> tuple[int, bool]:
        """Return how many of the rows ahead belong to the running step, and whether it ends with them."""
        state = self.state
        missing = max(self._rows_missing(), 1)
        end = 1 + _place(missing, state.thinning, scorable, row_hash)
        if state.thinning.calibration < 1.0:
            over = np.flatnonzero(self._late(t[:end])[1] >= MIN_LATE_ROWS)
            end = min(end, 1 + int(over[0])) if len(over) else end
        if state.detector is None and self._warm_up is not None and self._warm_up > state.rows_seen:
            end = min(end, self._warm_up - state.rows_seen)
        return min(end, len(t)), end <= len(t)

    def _late(self, t: Floats) -> tuple[float, NDArray[np.int64]]:
        """Return when the running step started, and how many late rows in a row each of the rows ahead makes."""
        step = self.state.step
        since = started(t, step.started)
        return since, late_rows(t, since, STEP_SPAN_SHARE * self.settings.span, step.late)

    def _rows_missing(self) -> int:
        """Return the learnt rows that the running step still lacks."""
        missing = self.settings.step - self.state.step.learnt
        if self.state.detector is None and self._warm_up is None:
            first = self._rows_needed()
            missing = min(missing, first) if first > 0 else missing
        return missing

    def _end_step(self) -> None:
        """Learn the step's rows, judge the shadow, take a refit's result, refresh, and start what is due."""
        state, step = self.state, self.state.step
        state.step = StepRows()
        scores = np.concatenate(step.log_density) if step.log_density else np.empty(0)
        judged = self._refits.judge(state, step, scores)
        changed = observe_drift(
            state, self.settings, np.concatenate(step.p_value) if step.p_value else np.empty(0), scores
        )
        before = state.thinning
        learn(state, self.settings, step, scores)
        if state.thinning.window < SPARSE <= before.window:
            shares = {"share": state.thinning.window, "rows_per_second": state.thinning.rows_per_second}
            self._events.append(Event("thinned", {}, shares))
        self._refits.after_step(state, changed=changed, judged=judged)

    # ── promotion ────────────────────────────────────────────────────────────────────────────────────────────────

    def promoted(self) -> State:
        """Return the state as it will be once the pending promotion is settled: what a snapshot of it must hold."""
        return self._refits.promoted(self.state)

    def settle(self) -> None:
        """Let the pending promotion serve, now that it is durable, or was refused by the disk."""
        self.state = self._refits.settle(self.state)

    # ── what others may know ─────────────────────────────────────────────────────────────────────────────────────

    def events(self) -> tuple[Event, ...]:
        """Return, once, what happened since the last call."""
        events, self._events = (*self._events, *self._refits.events()), []
        return events

    def status(self) -> EngineStatus:
        """Return the engine in one look."""
        state, settings = self.state, self.settings
        if self._described[0] is not state.detector:
            self._described = (state.detector, describe(state, settings))
        return EngineStatus(
            version=state.detector.version if state.detector else Version(),
            state="serving" if state.detector else "warming_up",
            rows_seen=state.rows_seen,
            rows_needed=0 if state.detector else max(0, self._rows_needed()),
            threshold=self._threshold(),
            level=self._level(),
            target_rate=settings.target_rate,
            thinning=state.thinning.window,
            stretch=self._refits.stretch,
            refit_in_progress=state.flight is not None,
            shadow_log_density=dict(self._refits.judged),
            members=self._described[1],
        )

    def _rows_needed(self) -> int:
        if self._warm_up is not None:
            return self._warm_up - self.state.rows_seen
        return self.settings.min_records - len(self.state.window) - self.state.step.learnt

    def log_density(self, X: Floats) -> Floats:
        """Return what rows X (n, d) would be scored as now (n,), nats; nothing is learnt.

        Raises
        ------
        DetectorError
            Nothing has been fitted yet.
        """
        if self.state.detector is None:
            needed = self.status().rows_needed
            raise DetectorError("nothing has been fitted yet", hint=f"process {needed} more rows first")
        return comparable_log_density(self.state, self.state.detector, self.settings, X)

    def _threshold(self) -> float:
        if self.settings.log_density_below is not None:
            return self.settings.log_density_below
        return self.state.calibration.threshold(self._level())

    def _level(self) -> float:
        """Return the p-value that the next row is judged by; NaN where a stated log-density decides."""
        settings = self.settings
        if settings.log_density_below is not None:
            return float("nan")
        return (
            self.state.calibration.level(settings.target_rate) if settings.level == "adaptive" else settings.target_rate
        )


def _place(number: int, thinning: Thinning, scorable: Bools, row_hash: Hashes) -> int:
    """Return where the number-th learnt row of those ahead (n,) stands, n where there are fewer.

    A long block has many steps: each looks at twice the rows that it should need, and at all only if that is too few.
    """
    for ahead in (int(2 * number / thinning.calibration), len(scorable)):
        learnt = np.flatnonzero(thinning.enters_calibration(row_hash[:ahead]) & scorable[:ahead])
        if len(learnt) >= number:
            return int(learnt[number - 1])
    return len(scorable)
