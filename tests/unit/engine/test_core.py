"""The life of a model: first fit, refresh, refit, shadow, promotion; and what cannot happen."""

import time
from dataclasses import replace

import numpy as np
import pytest

from streamgmm.engine import refits
from streamgmm.engine.core import Engine
from streamgmm.engine.drive import drive
from streamgmm.engine.settings import EngineSettings
from streamgmm.engine.state import State
from streamgmm.errors import FitError, SnapshotError
from streamgmm.records import STATUSES
from streamgmm.refit.job import Failure, MemberSettings
from streamgmm.refit.runners import InlineRunner, ThreadRunner

MEMBER = MemberSettings(n_components=2, window=300, refresh_every=50, refit_every=200)
SETTINGS = EngineSettings(("a", "b"), (MEMBER,), min_records=200, step=50, target_rate=0.01, buffer=500)


def engine(runner=None, state=None, settings=SETTINGS, **options):
    return Engine(settings, runner or InlineRunner(time.monotonic), state, **options)


def feed(e, X, t=None):
    t = np.full(len(X), np.nan) if t is None else t
    hashes = np.arange(e.state.rows_seen, e.state.rows_seen + len(X), dtype=np.uint64)
    return [part for _, part in drive(e, X, t, hashes)]


def outcomes(e):
    return [event.labels["outcome"] for event in e.events() if event.kind == "refit"]


def test_rows_pass_unscored_until_the_first_fit(rng):
    status = np.concatenate([p.status for p in feed(engine(), rng.normal(size=(400, 2)))])
    assert [STATUSES[s] for s in status] == ["warming_up"] * 200 + ["scored"] * 200


def test_a_stated_warm_up_is_exact(rng):
    status = np.concatenate([p.status for p in feed(engine(warm_up=73), rng.normal(size=(100, 2)))])
    assert (status == 0).sum() == 27


def test_versions_change_only_at_step_ends(rng):
    parts = feed(engine(), rng.normal(size=(2000, 2)))
    version = np.concatenate([p.version for p in parts])
    changes = np.flatnonzero((np.diff(version, axis=0) != 0).any(axis=1)) + 1
    assert len(changes) > 5
    assert (changes % SETTINGS.step == 0).all()


def test_a_far_row_is_flagged_and_explained(rng):
    e = engine()
    feed(e, rng.normal(size=(1000, 2)))
    (part,) = feed(e, np.array([[0.0, 0.0], [0.0, 40.0]]))
    assert part.is_anomaly.tolist() == [False, True]
    (anomaly,) = part.anomalies
    assert (anomaly.index, anomaly.severity) == (1, "critical")
    assert anomaly.explanation.contributions[0].feature == "b"
    assert sum(c.share for c in anomaly.explanation.contributions) == pytest.approx(anomaly.explanation.distance2)


def test_a_promotion_waits_until_it_is_settled(rng):
    e, X = engine(), rng.normal(size=(400, 2))
    nan, h = np.full(400, np.nan), np.arange(400, dtype=np.uint64)
    assert len(e.step(X, nan, h)) == 200
    assert e.pending is not None
    assert e.state.detector is None
    assert e.promoted().detector is e.pending.detector
    e.settle()
    assert len(e.step(X[200:], nan[200:], h[200:])) == 200
    assert outcomes(e) == ["promoted"]


class Scripted(InlineRunner):
    """Lets a test change what came of a job."""

    def __init__(self, change):
        super().__init__(time.monotonic)
        self.change = change

    def result(self):
        result = super().result()
        return result if result is None or result.job.kind == "first" else self.change(result)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (lambda r: Failure(r.job, "condition", "too flat", 0.1), "refused"),
        (lambda r: Failure(r.job, None, "bug", 0.1), "failed"),
        (lambda r: replace(r, job=replace(r.job, epoch=r.job.epoch - 1)), "stale"),
    ],
)
def test_a_job_that_comes_to_nothing_leaves_the_incumbent(rng, change, outcome):
    e = engine(Scripted(change))
    feed(e, rng.normal(size=(1200, 2)))
    assert set(outcomes(e)) == {"promoted", outcome}
    assert e.state.detector.version.promotion == 1


def test_a_candidate_that_is_worse_is_refused_by_the_shadow(rng, monkeypatch):
    def spoil(candidate):
        member = candidate.members[0]
        moved = replace(member, view=replace(member.view, location=member.view.location + 3.0))
        return replace(candidate, members=(moved,))

    # The rows that a candidate has missed would heal it before it is judged.
    monkeypatch.setattr(refits, "warm", lambda member, *_, **__: member)
    e = engine(Scripted(spoil))
    feed(e, rng.normal(size=(1200, 2)))
    events = e.events()
    assert {ev.labels["reason"] for ev in events if ev.kind == "refit_refused"} == {"shadow_density"}
    assert e.state.detector.version.promotion == 1


def test_a_worker_thread_promotes_as_well(rng):
    runner = ThreadRunner(time.monotonic)
    e = engine(runner)
    for _ in range(400):
        feed(e, rng.normal(size=(50, 2)))
        if e.state.detector is not None and e.state.detector.version.promotion > 1:
            break
    assert e.state.detector.version.promotion > 1
    assert runner.close(10.0)


def test_the_state_survives_its_arrays(rng):
    e = engine()
    feed(e, rng.normal(size=(1234, 2)), np.arange(1234.0))
    again = State.from_arrays(SETTINGS, *e.state.to_arrays())
    X = rng.normal(size=(700, 2))
    one, other = feed(e, X), feed(engine(state=again), X)
    np.testing.assert_array_equal(
        np.concatenate([p.log_density for p in one]), np.concatenate([p.log_density for p in other])
    )


def test_a_state_of_other_columns_is_refused(rng):
    e = engine()
    feed(e, rng.normal(size=(300, 2)))
    with pytest.raises(SnapshotError, match="2 columns"):
        State.from_arrays(replace(SETTINGS, names=("a", "b", "c")), *e.state.to_arrays())


def test_a_level_shift_is_adopted_in_the_end(rng):
    e = engine()
    feed(e, rng.normal(size=(1000, 2)))
    shifted = np.concatenate([p.is_anomaly for p in feed(e, rng.normal(size=(2000, 2)) + 8.0)])
    assert shifted[:8].all()
    assert shifted[-500:].mean() < 0.05


@pytest.mark.parametrize("step", [1, 7, 19, 20])
def test_steps_too_short_for_a_verdict_are_judged_together(rng, step):
    e = engine(settings=replace(SETTINGS, step=step, members=(replace(MEMBER, refresh_every=40),)))
    feed(e, rng.normal(size=(900, 2)))
    assert e.state.detector.version.promotion > 1


def test_a_shadow_between_two_short_steps_survives_the_arrays(rng):
    settings = replace(SETTINGS, step=7)
    e = engine(settings=settings)
    while e.state.shadow is None or not len(e.state.shadow.candidate):
        feed(e, rng.normal(size=(1, 2)))
    again = State.from_arrays(settings, *e.state.to_arrays()).shadow
    np.testing.assert_array_equal(again.candidate, e.state.shadow.candidate)
    np.testing.assert_array_equal(again.incumbent, e.state.shadow.incumbent)
    assert len(again.candidate) == 7


def test_the_rows_still_needed_are_counted(rng):
    e, stated = engine(), engine(warm_up=73)
    feed(e, rng.normal(size=(60, 2)))
    feed(stated, rng.normal(size=(60, 2)))
    assert (e.status().rows_needed, stated.status().rows_needed) == (140, 13)
    feed(stated, rng.normal(size=(13, 2)))
    assert stated.status().rows_needed == 0


def test_a_warm_up_of_missing_rows_fits_as_soon_as_there_is_something(rng):
    e, X = engine(warm_up=50), rng.normal(size=(300, 2))
    X[:60] = np.nan
    status = np.concatenate([p.status for p in feed(e, X)])
    assert "failed" in outcomes(e)
    assert STATUSES[status[-1]] == "scored"


@pytest.mark.parametrize("error", [FitError("it collapsed"), np.linalg.LinAlgError("no eigenvalues")])
def test_a_refresh_that_fails_is_counted_as_one_and_ends_nothing(rng, monkeypatch, error):
    e = engine()
    feed(e, rng.normal(size=(300, 2)))

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(refits, "warm", fails)
    e.events()
    scored = feed(e, rng.normal(size=(60, 2)))
    assert sum(len(part.status) for part in scored) == 60
    failed = [event for event in e.events() if event.kind in {"refresh_failed", "refit", "refresh"}]
    assert {event.kind for event in failed} == {"refresh_failed"}
    assert all(event.labels == {"member": "single"} and event.fields["message"] for event in failed)
