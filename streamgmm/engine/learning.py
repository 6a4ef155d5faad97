"""What a finished step teaches: the window, the calibration, and how much of the stream to learn from next."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.engine.drift import ADOPTED, RULES, Drift, Rule
from streamgmm.engine.policy import adopts, hold
from streamgmm.engine.state import Past
from streamgmm.engine.thinning import MIN_LATE_ROWS, MIN_TIMED_ROWS, STEP_SPAN_SHARE, Tally
from streamgmm.engine.window import FAR_OFF, Block

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.engine.settings import EngineSettings
    from streamgmm.engine.state import State, StepRows

    Floats = NDArray[np.float64]


def learn(state: State, settings: EngineSettings, step: StepRows, scores: Floats) -> None:
    """Take the step's learnt rows into window and calibration, and let the thinning follow the stream's rate.

    Parameters
    ----------
    scores : (n,) float64
        Log-densities of the learnt rows; empty before there is a detector.
    """
    t = np.concatenate(step.t) if step.t else np.empty(0)
    if len(t):
        X, chosen = np.concatenate(step.X), np.concatenate(step.in_window)
        block = Block.locked(X, t) if chosen.all() else Block.locked(X[chosen], t[chosen])
        if settings.adopt_after is not None:
            state.held = hold(state.held, block, state.drift, settings.window)
            # Before this step's scores: what a change is judged by for as long as it is held back.
            state.reference = None if state.held is None else state.reference or state.calibration
        if state.held is None:
            _remember(state, block)
        if state.comparable is not None:
            state.comparable = state.comparable.after(X, state.window)
    if len(scores):
        state.calibration = state.calibration.add(scores)
    window_full = len(state.window) >= settings.window
    state.tally, rows, seconds = _measured(state.tally, step, t, settings.span)
    state.thinning = state.thinning.follow(
        rows,
        seconds,
        settings.window / settings.span if window_full else np.inf,
        state.calibration.capacity / settings.span if state.calibration.full else np.inf,
    )


def observe_drift(state: State, settings: EngineSettings, p: Floats, scores: Floats) -> bool:
    """Let the p-values (n,) of the step's learnt rows count as evidence of a change; return whether there is enough.

    While rows are held back, their scores (n,) are ranked among those from before the change: the buffer fills with
    the rows of the change themselves, and these would look usual before their time has come
    (`test_a_change_is_adopted_once_however_long_it_must_last`).
    """
    if state.past is not None:
        state.past = state.past.follow(scores)
    if state.reference is not None and len(scores) == len(p):
        p = state.reference.p_values(scores)
    state.drift = state.drift.follow(p)
    if settings.adopt_after is not None:
        return adopts(state.held, state.drift, settings.adopt_after)
    return state.drift.alarms(RULES[settings.adaptation])


def _rule_for_more(settings: EngineSettings) -> Rule | None:
    """Return the rule by which the memory is cut again while a change continues; None where it is not.

    It is not with `adopt_after`: a change that is held back would be adopted before its time.
    """
    rule = RULES[settings.adaptation]
    return rule if rule is not None and rule.again and settings.adopt_after is None else None


def goes_on(state: State, settings: EngineSettings) -> bool:
    """Return whether the rows since the last cut still differ from those before the change as much as for an alarm."""
    return state.past is not None and state.past.drift.alarms(_rule_for_more(settings))


def cut(state: State, settings: EngineSettings, *, alarm: bool = True) -> tuple[int, ...]:
    """Forget what came before the change; return the members, by index, that remembered more than is left.

    `alarm`: whether the change is new, and not the last one that goes on. What is under way is of the old time: a
    higher epoch makes it stale.
    """
    rule, drift = RULES[settings.adaptation] or ADOPTED, state.drift
    if alarm:
        # The scores of the old time would make every row of the new one look rare, and raise the alarm again and again
        # (`test_one_lasting_change_is_one_alarm`). They tell how long the change goes on, for the memory alone: without
        # further cuts, rows of the old time would stay in the window for as long as it is.
        known, again = state.calibration, _rule_for_more(settings) is not None
        state.past = Past(known, Drift(), known.capacity) if again else None
        state.calibration = state.calibration.newest(drift.rows)
        state.drift = Drift()
    elif state.past is not None:
        drift, state.past = state.past.drift, replace(state.past, drift=Drift())
    since = math.ceil(drift.rows * state.thinning.window / state.thinning.calibration)
    state.reference = None
    kept = max(rule.keep, since)
    state.window = state.window.joined(state.held.blocks if state.held else ()).newest_rows(kept)
    state.held = None
    state.epoch += 1
    state.shadow, state.comparable = None, None
    return tuple(i for i, member in enumerate(settings.members) if member.window > kept)


def _measured(tally: Tally, step: StepRows, t: Floats, span: float) -> tuple[Tally, int, float]:
    """Return the rows and the event time that tell the stream's rate, and the tally to go on with.

    A step that time ended may have learnt too little to tell by itself: without this a stream that was very fast once
    would be thinned for good, with no row learnt and nothing to measure by.
    """
    if step.late >= MIN_LATE_ROWS and np.count_nonzero(~np.isnan(t)) < MIN_TIMED_ROWS:
        return Tally(), step.rows, STEP_SPAN_SHARE * span
    return tally.add(step.rows, t)


def _remember(state: State, block: Block) -> None:
    state.window = state.window.add(block)
    for clock in state.clocks:
        clock.since_refresh += len(block.t)
        clock.since_refit += len(block.t)


def first_fit_is_due(state: State, settings: EngineSettings, warm_up: int | None) -> bool:
    """Return whether there are rows enough for a first fit."""
    return state.rows_seen >= warm_up if warm_up is not None else len(state.window) >= settings.min_records


def due_for_refresh(state: State, settings: EngineSettings) -> list[int]:
    """Return the members, by index, that have learnt enough rows since their last refresh.

    One whose pass would hold up the loop is never due: it moves on by refits.
    """
    return [
        i
        for i, m in enumerate(settings.members)
        if state.clocks[i].since_refresh >= m.refresh_every
        and settings.fits_a_turn(i, min(m.window, len(state.window)), 1)
    ]


def due_for_refit(state: State, settings: EngineSettings) -> tuple[int, ...]:
    """Return the members, by index, whose refit is due by rows or by event time, whichever comes first.

    A refit that seems to lie in the future was dated by a wrong time: the next one is due.
    """
    timed = any(math.isfinite(member.refit_seconds) for member in settings.members)
    newest = state.window.newest() if timed else math.nan
    return tuple(
        i
        for i, (clock, member) in enumerate(zip(state.clocks, settings.members, strict=True))
        if clock.since_refit >= member.refit_every
        or (clock.since_refit > 0 and _passed(newest - clock.refit_at, member.refit_seconds))
    )


def _passed(seconds: float, limit: float) -> bool:
    return seconds >= limit or (math.isfinite(limit) and seconds < -FAR_OFF)
