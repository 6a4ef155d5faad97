"""The engine: score first, learn after; everything that changes, changes at the end of a step.

A step is a fixed number of learnt rows in stream order. Blocks are cut at step ends, so results do not depend on how
rows arrive. A promotion interrupts `step`: the caller makes everything before it durable, then settles it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.detector.committee import Detector
from streamgmm.engine.calibration import Calibration
from streamgmm.engine.drift import CUT_PASSES
from streamgmm.engine.learning import cut, due_for_refit, due_for_refresh, first_fit_is_due, learn, observe_drift
from streamgmm.engine.pace import Unhurried
from streamgmm.engine.policy import teaches
from streamgmm.engine.state import Flight, MemberClock, Shadow, State, StepRows
from streamgmm.engine.status import describe
from streamgmm.engine.thinning import MIN_LATE_ROWS, STEP_SPAN_SHARE, Thinning, late_rows, started
from streamgmm.engine.verdicts import (
    Output,
    any_missing,
    comparable_for,
    comparable_log_density,
    name_incidents,
    pass_unscored,
    score,
)
from streamgmm.errors import DetectorError
from streamgmm.records import DRIFT_DETECTORS, EngineStatus, Event, MemberStatus, ScoredBatch, Version
from streamgmm.refit.fitting import REFRESH_PASSES, gate, warm
from streamgmm.refit.job import Candidate, Failure, Job
from streamgmm.refit.shared import Shared
from streamgmm.refit.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from streamgmm.engine.pace import Pace
    from streamgmm.engine.settings import EngineSettings
    from streamgmm.refit import Runner
    from streamgmm.refit.job import Kind

    Floats = NDArray[np.float64]
    Hashes = NDArray[np.uint64]
    Bools = NDArray[np.bool_]

MIN_SHADOW_ROWS = 20


@dataclass(frozen=True, slots=True)
class Promotion:
    """A detector that has won its place and waits to be made durable."""

    detector: Detector
    kind: str
    targets: tuple[int, ...]
    held_out: Floats | None


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
        self.pending: Promotion | None = None
        self._runner = runner
        self._warm_up = warm_up
        self._explain = explain
        self._pace = pace or Unhurried()
        self._stretch = 1.0
        self._events: list[Event] = []
        self._judged: dict[str, float] = {}
        self._described: tuple[Detector | None, tuple[MemberStatus, ...]] = (None, ())
        if self.state.flight is not None:  # a stop interrupted it: the window is still the one it was given
            runner.submit(self._job(self.state.flight, self.state.jobs - 1))

    # ── scoring ──────────────────────────────────────────────────────────────────────────────────────────────────

    def step(self, X: Floats, t: Floats, row_hash: Hashes) -> ScoredBatch:
        """Score rows and learn from them, up to the end of the block or to a promotion that must be settled first.

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
            Of the rows consumed: all n unless `pending` is set.
        """
        out = Output(len(X))
        position = 0
        complete = not any_missing(X)
        scorable: Bools = np.ones(len(X), dtype=bool)
        if not complete:
            scorable = np.logical_not(np.isnan(X).all(axis=1))
        while position < len(X) and self.pending is None:
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
                    shadow = self._shadow_detector(state.detector, state.shadow)
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
        judged = self._judge(step, scores)
        changed = observe_drift(state, self.settings, np.concatenate(step.p_value) if step.p_value else np.empty(0))
        learn(state, self.settings, step, scores)
        if changed and self.pending is None:
            self._adapt()
        if not judged:
            self._take_result()
        if self.pending is None:
            self._refresh()
            self._start_refit()

    def _adapt(self) -> None:
        """Cut the memory where the stream changed for good, and fit what remembered more on what is left, at once."""
        state = self.state
        evidence, since = state.drift.evidence, state.drift.rows
        members = cut(state, self.settings)
        fields = {"evidence": evidence, "rows": since, "kept": len(state.window)}
        self._event("drift", {"detector": DRIFT_DETECTORS[0]}, **fields)
        rows, shared = cache(state.window.rows), Shared()
        with self._pace.spending():
            for i in members:
                self._move_on(i, CUT_PASSES, rows, shared)
                state.clocks[i] = MemberClock(refit_at=state.window.newest())

    # ── refresh and refit ────────────────────────────────────────────────────────────────────────────────────────

    def _refresh(self) -> None:
        """Move members that are due a few EM passes on: numeric checks only, no promotion, no disk."""
        state = self.state
        due = due_for_refresh(state, self.settings) if state.detector else []
        if state.detector is None or not due or not self._pace.allows():
            return
        self._stretch = max(state.clocks[i].since_refresh / self.settings.members[i].refresh_every for i in due)
        rows, shared = cache(state.window.rows), Shared()
        with self._pace.spending():
            for i in due:
                state.clocks[i].since_refresh = 0
                self._move_on(i, REFRESH_PASSES, rows, shared)

    def _move_on(self, i: int, passes: int, rows: Callable[[int, int | None], Floats], shared: Shared) -> None:
        """Take one member a few EM passes on, over its window; one that fails the numeric checks stays as it is."""
        state, settings = self.state, self.settings.members[i]
        if state.detector is None or not state.detector.members[i].sight.weight:
            return
        X, newest = rows(settings.window, settings.n_columns or None), state.window.newest()
        try:
            member = warm(state.detector.members[i], X, newest, settings, passes, shared=shared)
            problem = str(gate(member) or "")
        except DetectorError as error:
            problem = str(error)
        if problem:
            self._event("refit", {"outcome": "failed", "member": settings.name}, refresh=problem)
            return
        version = Version(state.detector.version.promotion, state.detector.version.refresh + 1)
        state.detector = state.detector.with_member(i, member, version)
        self._event("refresh", {"member": settings.name})

    def _start_refit(self) -> None:
        state = self.state
        if state.flight is not None or state.shadow is not None or self._runner.busy:
            return
        if state.detector is None:
            if first_fit_is_due(state, self.settings, self._warm_up):
                self._submit("first", tuple(range(len(self.settings.members))))
            return
        due = due_for_refit(state, self.settings)
        if due and self._pace.allows():
            state.refits += 1
            every = self.settings.challenger_every
            self._submit("challenger" if every and state.refits % every == 0 else "warm", due)

    def _submit(self, kind: Kind, targets: tuple[int, ...]) -> None:
        """Start a refit. Its result is taken at the next step end or later, wherever it runs; a first fit's at once."""
        state = self.state
        for i in targets:
            state.clocks[i] = MemberClock(
                0 if kind == "first" else state.clocks[i].since_refresh, 0, state.window.newest()
            )
        state.flight = Flight(kind, targets)
        self._event("refit_started", job=state.jobs, fit=kind)
        with self._pace.spending():
            self._runner.submit(self._job(state.flight, state.jobs))
        state.jobs += 1
        if kind == "first":
            self._runner.wait()
            self._take_result()

    def _job(self, flight: Flight, number: int) -> Job:
        state, settings = self.state, self.settings
        return Job(
            epoch=state.epoch,
            number=number,
            kind=flight.kind,
            targets=flight.targets,
            settings=tuple(settings.members[i] for i in flight.targets),
            incumbents=tuple(state.detector.members[i] for i in flight.targets) if state.detector else (),
            X=state.window.rows(),
            newest=state.window.newest(),
            seed=settings.seed,
            deadline=settings.refit_deadline,
        )

    def _take_result(self) -> None:
        """Take what the runner has, if anything: a first fit asks for promotion, any other goes into the shadow."""
        if self.state.flight is None:
            return
        result = self._runner.result()
        if result is None:
            return
        self.state.flight = None
        for settings in result.job.settings:
            self._event("refit_fitted", {"member": settings.name}, seconds=result.seconds)
        if isinstance(result, Failure):
            self._fail(result)
        elif result.job.epoch != self.state.epoch:
            self._outcome("stale", result.job.targets, job=result.job.number)
        elif self.state.detector is None:
            detector = Detector(result.members, Version(1, 0))
            self.pending = Promotion(detector, "first", result.job.targets, self._comparable(detector, result))
        else:
            try:
                with self._pace.spending():
                    self._begin_shadow(result)
            except DetectorError as error:
                self._outcome("failed", result.job.targets, job=result.job.number, message=str(error))

    def _comparable(self, detector: Detector, result: Candidate) -> Floats:
        """Return a first fit's held-out scores, those of rows with missing cells on the scale of the others."""
        rows = result.job.X[len(result.job.X) - len(result.held_out) :]
        absent = np.isnan(rows[:, : len(self.settings.names)])
        maps = comparable_for(self.state, self.settings, detector, absent)
        return result.held_out + maps.correction(result.held_out, absent, maps.keys(absent))

    def _begin_shadow(self, result: Candidate) -> None:
        """Judge a candidate that has seen what the incumbent has: a refresh makes up for the rows since its job."""
        job, state = result.job, self.state
        members = list(result.members)
        rows, shared, newest = cache(state.window.rows), Shared(), state.window.newest()
        for position, (i, settings) in enumerate(zip(job.targets, job.settings, strict=True)):
            # Where the incumbent was not refreshed meanwhile, the candidate has seen more than it as it is.
            if state.clocks[i].since_refresh < state.clocks[i].since_refit:
                X = rows(settings.window, settings.n_columns or None)
                members[position] = warm(members[position], X, newest, settings, REFRESH_PASSES, shared=shared)
        state.shadow = Shadow(job.number, job.kind, job.targets, tuple(members))

    def _fail(self, failure: Failure) -> None:
        outcome = "failed" if failure.reason is None else "refused"
        if failure.reason is not None:
            self._event("refit_refused", {"reason": failure.reason}, message=failure.message)
        self._outcome(outcome, failure.job.targets, job=failure.job.number, message=failure.message)

    def _judge(self, step: StepRows, scores: Floats) -> bool:
        """Let the shadow's verdict fall once it has scored enough rows; True when it did."""
        state = self.state
        if state.shadow is None or state.detector is None or not step.shadow:
            return False
        shadow = state.shadow.with_scores(np.concatenate(step.shadow), scores)
        if len(shadow.candidate) < MIN_SHADOW_ROWS:
            state.shadow = shadow
            return False
        state.shadow = None
        verdict = judge(shadow.candidate, shadow.incumbent, self._target_threshold())
        self._judged = {"candidate": verdict.candidate, "incumbent": verdict.incumbent}
        if verdict.refused is None:
            version = Version(state.detector.version.promotion + 1, 0)
            detector = replace(self._shadow_detector(state.detector, shadow), version=version)
            self.pending = Promotion(detector, shadow.kind, shadow.targets, None)
        else:
            self._event("refit_refused", {"reason": verdict.refused}, **self._judged)
            self._outcome("refused", shadow.targets, job=shadow.number, reason=verdict.refused)
        return True

    @staticmethod
    def _shadow_detector(detector: Detector, shadow: Shadow) -> Detector:
        for i, member in zip(shadow.targets, shadow.members, strict=True):
            detector = detector.with_member(i, member, detector.version)
        return detector

    # ── promotion ────────────────────────────────────────────────────────────────────────────────────────────────

    def promoted(self) -> State:
        """Return the state as it will be once the pending promotion is settled: what a snapshot of it must hold."""
        if self.pending is None:
            return self.state
        state = replace(self.state, detector=self.pending.detector, comparable=None)
        if self.pending.held_out is not None:
            state.calibration = Calibration.of(self.settings.calibration_rows, self.pending.held_out)
        return state

    def settle(self, *, durable: bool) -> None:
        """Let the pending promotion serve, now that it is durable; or drop it when it could not be made so."""
        pending = self.pending
        if pending is None:
            return
        if durable:
            self.state = self.promoted()
            self._outcome("promoted", pending.targets, version=str(pending.detector.version), fit=pending.kind)
        else:
            self._outcome("failed", pending.targets, message="it could not be made durable")
        self.pending = None

    # ── what others may know ─────────────────────────────────────────────────────────────────────────────────────

    def events(self) -> tuple[Event, ...]:
        """Return, once, what happened since the last call."""
        events, self._events = tuple(self._events), []
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
            target_rate=settings.target_rate,
            thinning=1.0 / state.thinning.window,
            stretch=self._stretch,
            refit_in_progress=state.flight is not None,
            shadow_log_density=dict(self._judged),
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
        calibration = self.state.calibration
        return calibration.threshold(calibration.level(self.settings.target_rate))

    def _target_threshold(self) -> float:
        """Return the threshold at the target rate itself, wherever the adaptive level happens to be."""
        return self.state.calibration.threshold(self.settings.target_rate)

    def _outcome(self, outcome: str, targets: tuple[int, ...], **fields: object) -> None:
        for i in targets:
            self._event("refit", {"outcome": outcome, "member": self.settings.members[i].name}, **fields)

    def _event(self, kind: str, labels: dict[str, str] | None = None, **fields: object) -> None:
        self._events.append(Event(kind, labels or {}, fields))


def _place(number: int, thinning: Thinning, scorable: Bools, row_hash: Hashes) -> int:
    """Return where the number-th learnt row of those ahead (n,) stands, n where there are fewer.

    A long block has many steps: each looks at twice the rows that it should need, and at all only if that is too few.
    """
    for ahead in (int(2 * number / thinning.calibration), len(scorable)):
        learnt = np.flatnonzero(thinning.enters_calibration(row_hash[:ahead]) & scorable[:ahead])
        if len(learnt) >= number:
            return int(learnt[number - 1])
    return len(scorable)
