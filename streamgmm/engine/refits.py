"""What moves the members on: refreshes at step ends, refits beside the loop, and the shadow that judges these."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.detector.committee import Detector
from streamgmm.engine.calibration import Calibration
from streamgmm.engine.drift import CUT_PASSES
from streamgmm.engine.learning import cut, due_for_refit, due_for_refresh, first_fit_is_due, goes_on
from streamgmm.engine.state import Flight, MemberClock, Shadow
from streamgmm.engine.verdicts import comparable_for
from streamgmm.errors import DetectorError
from streamgmm.records import DRIFT_DETECTORS, Event, Version
from streamgmm.refit.fitting import REFRESH_PASSES, gate, warm
from streamgmm.refit.job import Candidate, Failure, Job
from streamgmm.refit.shared import Shared
from streamgmm.refit.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from streamgmm.engine.pace import Pace
    from streamgmm.engine.settings import EngineSettings
    from streamgmm.engine.state import State, StepRows
    from streamgmm.refit import Runner
    from streamgmm.refit.job import Kind

    Floats = NDArray[np.float64]

MIN_SHADOW_ROWS = 20


@dataclass(frozen=True, slots=True)
class Promotion:
    """A detector that has won its place and waits to be made durable."""

    detector: Detector
    kind: str
    targets: tuple[int, ...]
    held_out: Floats | None


class Refits:
    """Refreshes and refits of one engine's members.

    Parameters
    ----------
    settings
        The engine's.
    runner
        Where refits run.
    pace
        How much learning there is time for.
    warm_up
        Make the first fit after exactly this many rows instead of `settings.min_records` learnt ones.

    Attributes
    ----------
    pending
        What waits to be made durable; until it is settled nothing else may happen.
    stretch
        The last refresh interval over the scheduled one.
    judged
        Mean log-densities, by candidate and incumbent, that the last verdict was about.
    """

    def __init__(self, settings: EngineSettings, runner: Runner, pace: Pace, warm_up: int | None) -> None:
        self.pending: Promotion | None = None
        self.stretch = 1.0
        self.judged: dict[str, float] = {}
        self._settings, self._runner, self._pace, self._warm_up = settings, runner, pace, warm_up
        self._too_slow = False
        self._events: list[Event] = []

    def resume(self, state: State) -> None:
        """Start the refit that a stop interrupted again: the window is still the one that it was given."""
        if state.flight is not None:
            self._runner.submit(self._job(state, state.flight, state.jobs - 1))

    def waits(self, state: State) -> bool:
        """Return whether the first fit runs: the rows that follow wait for it, so that it depends on the stream alone.

        They wait no more once it has run out of time; then they pass unscored while it is tried again.
        """
        return state.detector is None and state.flight is not None and self.pending is None and not self._too_slow

    def wait(self, state: State, seconds: float) -> None:
        """Wait for the first fit so long, and take its result."""
        if self._runner.wait(seconds):
            self._take_result(state)

    def after_step(self, state: State, *, changed: bool, judged: bool) -> None:
        """Adapt to a change, take a refit's result unless one was `judged` just now, refresh, and start what is due."""
        if self.pending is None and (changed or goes_on(state, self._settings)):
            self._adapt(state, alarm=changed)
        if not judged:
            self._take_result(state)
        if self.pending is None:
            self._refresh(state)
            self._start(state)

    def events(self) -> tuple[Event, ...]:
        """Return, once, what happened since the last call."""
        events, self._events = tuple(self._events), []
        return events

    # ── refresh ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _adapt(self, state: State, *, alarm: bool) -> None:
        """Cut the memory where the stream changed for good, and fit what remembered more on what is left, at once.

        A member for which that takes too long is due for a refit instead. A change that goes on is no new `alarm`.
        """
        evidence, since = state.drift.evidence, state.drift.rows
        members = cut(state, self._settings, alarm=alarm)
        if alarm:
            fields = {"evidence": evidence, "rows": since, "kept": len(state.window)}
            self._event("drift", {"detector": DRIFT_DETECTORS[0]}, **fields)
        rows, shared = cache(state.window.rows), Shared()
        with self._pace.spending():
            for i in members:
                if self._settings.fits_a_turn(i, len(state.window), CUT_PASSES):
                    self._move_on(state, i, CUT_PASSES, rows, shared)
                    state.clocks[i] = MemberClock(refit_at=state.window.newest())
                else:
                    state.clocks[i].since_refit = self._settings.members[i].refit_every

    def _refresh(self, state: State) -> None:
        """Move members that are due a few EM passes on: numeric checks only, no promotion, no disk."""
        due = due_for_refresh(state, self._settings) if state.detector else []
        if state.detector is None or not due or not self._pace.allows():
            return
        self.stretch = max(state.clocks[i].since_refresh / self._settings.members[i].refresh_every for i in due)
        rows, shared = cache(state.window.rows), Shared()
        with self._pace.spending():
            for i in due:
                state.clocks[i].since_refresh = 0
                self._move_on(state, i, REFRESH_PASSES, rows, shared)

    def _move_on(
        self, state: State, i: int, passes: int, rows: Callable[[int, int | None], Floats], shared: Shared
    ) -> None:
        """Take one member a few EM passes on, over its window; one that fails the numeric checks stays as it is."""
        settings = self._settings.members[i]
        if state.detector is None or not state.detector.members[i].sight.weight:
            return
        X, newest = rows(settings.window, settings.n_columns or None), state.window.newest()
        try:
            member = warm(state.detector.members[i], X, newest, settings, passes, shared=shared)
            problem = str(gate(member) or "")
        except (DetectorError, np.linalg.LinAlgError) as error:
            problem = str(error)
        if problem:
            self._event("refresh_failed", {"member": settings.name}, message=problem)
            return
        version = Version(state.detector.version.promotion, state.detector.version.refresh + 1)
        state.detector = state.detector.with_member(i, member, version)
        self._event("refresh", {"member": settings.name})

    # ── refit ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self, state: State) -> None:
        if state.flight is not None or state.shadow is not None or self._runner.busy:
            return
        if state.detector is None:
            may = not self._too_slow or self._pace.allows()
            if may and first_fit_is_due(state, self._settings, self._warm_up):
                self._submit(state, "first", tuple(range(len(self._settings.members))))
            return
        due = due_for_refit(state, self._settings)
        if due and self._pace.allows():
            state.refits += 1
            every = self._settings.challenger_every
            self._submit(state, "challenger" if every and state.refits % every == 0 else "warm", due)

    def _submit(self, state: State, kind: Kind, targets: tuple[int, ...]) -> None:
        """Start a refit. Its result is taken at the next step end or later, wherever it runs.

        A first fit's is taken as soon as it is there.
        """
        for i in targets:
            state.clocks[i] = MemberClock(
                0 if kind == "first" else state.clocks[i].since_refresh, 0, state.window.newest()
            )
        state.flight = Flight(kind, targets)
        self._event("refit_started", job=state.jobs, fit=kind)
        with self._pace.spending():
            self._runner.submit(self._job(state, state.flight, state.jobs))
        state.jobs += 1
        if kind == "first":
            self._take_result(state)

    def _job(self, state: State, flight: Flight, number: int) -> Job:
        settings = self._settings
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

    def _take_result(self, state: State) -> None:
        """Take what the runner has, if anything: a first fit asks for promotion, any other goes into the shadow."""
        if state.flight is None:
            return
        result = self._runner.result()
        if result is None:
            return
        state.flight = None
        for settings in result.job.settings:
            self._event("refit_fitted", {"member": settings.name}, seconds=result.seconds)
        if isinstance(result, Failure):
            self._fail(result)
        elif result.job.epoch != state.epoch:
            self._outcome("stale", result.job.targets, job=result.job.number)
        elif state.detector is None:
            detector = Detector(result.members, Version(1, 0))
            held_out = self._comparable(state, detector, result)
            self.pending = Promotion(detector, "first", result.job.targets, held_out)
        else:
            try:
                with self._pace.spending():
                    self._begin_shadow(state, result)
            except (DetectorError, np.linalg.LinAlgError) as error:
                self._outcome("failed", result.job.targets, job=result.job.number, message=str(error))

    def _comparable(self, state: State, detector: Detector, result: Candidate) -> Floats:
        """Return a first fit's held-out scores, those of rows with missing cells on the scale of the others."""
        rows = result.job.X[len(result.job.X) - len(result.held_out) :]
        absent = np.isnan(rows[:, : len(self._settings.names)])
        maps = comparable_for(state, self._settings, detector, absent)
        return result.held_out + maps.correction(result.held_out, absent, maps.keys(absent))

    def _begin_shadow(self, state: State, result: Candidate) -> None:
        """Judge a candidate that has seen what the incumbent has: a refresh makes up for the rows since its job."""
        job = result.job
        members = list(result.members)
        rows, shared, newest = cache(state.window.rows), Shared(), state.window.newest()
        for position, (i, settings) in enumerate(zip(job.targets, job.settings, strict=True)):
            # Where the incumbent was not refreshed meanwhile, the candidate has seen more than it as it is.
            refreshed = state.clocks[i].since_refresh < state.clocks[i].since_refit
            if refreshed and self._settings.fits_a_turn(i, min(settings.window, len(state.window)), REFRESH_PASSES):
                X = rows(settings.window, settings.n_columns or None)
                members[position] = warm(members[position], X, newest, settings, REFRESH_PASSES, shared=shared)
        state.shadow = Shadow(job.number, job.kind, job.targets, tuple(members))

    def _fail(self, failure: Failure) -> None:
        outcome = "failed" if failure.reason is None else "refused"
        self._too_slow = failure.reason == "deadline"
        if failure.reason is not None:
            self._event("refit_refused", {"reason": failure.reason}, message=failure.message)
        self._outcome(outcome, failure.job.targets, job=failure.job.number, message=failure.message)

    def judge(self, state: State, step: StepRows, scores: Floats) -> bool:
        """Let the shadow's verdict fall once it has scored enough rows; True when it did."""
        if state.shadow is None or state.detector is None or not step.shadow:
            return False
        shadow = state.shadow.with_scores(np.concatenate(step.shadow), scores)
        if len(shadow.candidate) < MIN_SHADOW_ROWS:
            state.shadow = shadow
            return False
        state.shadow = None
        # At the target rate itself, wherever the adaptive level happens to be.
        threshold = state.calibration.threshold(self._settings.target_rate)
        verdict = judge(shadow.candidate, shadow.incumbent, threshold)
        self.judged = {"candidate": verdict.candidate, "incumbent": verdict.incumbent}
        if verdict.refused is None:
            version = Version(state.detector.version.promotion + 1, 0)
            detector = replace(shadow.within(state.detector), version=version)
            self.pending = Promotion(detector, shadow.kind, shadow.targets, None)
        else:
            self._event("refit_refused", {"reason": verdict.refused}, **self.judged)
            self._outcome("refused", shadow.targets, job=shadow.number, reason=verdict.refused)
        return True

    # ── promotion ────────────────────────────────────────────────────────────────────────────────────────────────

    def promoted(self, state: State) -> State:
        """Return the state as it will be once the pending promotion is settled."""
        if self.pending is None:
            return state
        after = replace(state, detector=self.pending.detector, comparable=None)
        if self.pending.held_out is not None:
            after.calibration = Calibration.of(self._settings.calibration_rows, self.pending.held_out)
        return after

    def settle(self, state: State) -> State:
        """Return the state in which the pending promotion serves."""
        pending = self.pending
        if pending is None:
            return state
        state = self.promoted(state)
        self._outcome("promoted", pending.targets, version=str(pending.detector.version), fit=pending.kind)
        self.pending = None
        return state

    def _outcome(self, outcome: str, targets: tuple[int, ...], **fields: object) -> None:
        for i in targets:
            self._event("refit", {"outcome": outcome, "member": self._settings.members[i].name}, **fields)

    def _event(self, kind: str, labels: dict[str, str] | None = None, **fields: object) -> None:
        self._events.append(Event(kind, labels or {}, fields))
