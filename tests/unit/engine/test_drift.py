"""A lasting change cuts the memory; what does not last, and what does not change, leaves it alone."""

import itertools
import time

import numpy as np
import pytest

from streamgmm.engine.core import Engine
from streamgmm.engine.drift import EPSILON, MOST_EVIDENCE, RAREST, RULES, Drift
from streamgmm.engine.drive import drive
from streamgmm.engine.settings import EngineSettings
from streamgmm.engine.state import State
from streamgmm.refit.job import MemberSettings
from streamgmm.refit.runners import InlineRunner, ThreadRunner


def naive(p, evidence=0.0, rows=0):
    for x in p:
        evidence = min(MOST_EVIDENCE, evidence + np.log(EPSILON * max(x, RAREST) ** (EPSILON - 1.0)))
        rows += 1
        if evidence <= 0.0:
            evidence, rows = 0.0, 0
    return evidence, rows


@pytest.mark.parametrize("power", [0.3, 1.0, 3.0])
def test_the_bet_is_what_betting_row_by_row_gives(rng, power):
    drift, p = Drift(), rng.random(5000) ** power
    for step in np.split(p, 50):
        expected = naive(step, drift.evidence, drift.rows)
        drift = drift.follow(step)
        assert drift.evidence == pytest.approx(expected[0], abs=1e-9)
        assert drift.rows == expected[1]


def test_a_step_without_scores_changes_nothing():
    assert Drift(3.0, 7).follow(np.empty(0)) == Drift(3.0, 7)


@pytest.mark.parametrize("rule", ["balanced", "fast"])
def test_uniform_p_values_raise_no_alarm(rng, rule):
    drift = Drift()
    for p in np.split(rng.random(1_000_000), 10_000):
        drift = drift.follow(p)
        assert not drift.alarms(RULES[rule])


def test_a_short_burst_is_no_change(rng):
    drift = Drift().follow(rng.random(500))
    drift = drift.follow(np.full(150, 1e-4))
    assert drift.evidence > RULES["balanced"].evidence
    assert not drift.alarms(RULES["balanced"])
    assert drift.follow(np.full(60, 1e-4)).alarms(RULES["balanced"])
    assert not drift.follow(np.full(60, 1e-4)).alarms(RULES["stable"])
    assert not drift.follow(rng.random(100)).alarms(RULES["balanced"])
    assert drift.follow(rng.random(600)).evidence < 10.0


LONG = MemberSettings("slow", n_components=2, window=2000, refresh_every=500, refit_every=500)
SHORT = MemberSettings("fast", n_components=2, window=300, refresh_every=50, refit_every=500)


def engine(adaptation, state=None, runner=None):
    settings = EngineSettings(
        ("a", "b"), (LONG, SHORT), min_records=300, step=50, target_rate=0.01, buffer=1000, adaptation=adaptation
    )
    return Engine(settings, runner or InlineRunner(time.monotonic), state)


def feed(e, X):
    n, seen = len(X), e.state.rows_seen
    return [p for _, p in drive(e, X, np.full(n, np.nan), np.arange(seen, seen + n, dtype=np.uint64))]


def alarms(e):
    return [event for event in e.events() if event.kind == "drift"]


def test_a_change_that_stays_cuts_the_memory_where_it_began(rng):
    e = engine("fast")
    feed(e, rng.normal(size=(3000, 2)))
    assert not alarms(e)
    before = e.state.detector.members[0]
    feed(e, rng.normal(size=(100, 2)) + 9.0)
    (alarm,) = alarms(e)
    assert alarm.labels == {"detector": "martingale"}
    assert alarm.fields["kept"] <= 100
    assert len(e.state.window) <= 100
    assert e.state.detector.members[0] is not before
    flags = np.concatenate([p.is_anomaly for p in feed(e, rng.normal(size=(500, 2)) + 9.0)])
    assert flags.mean() < 0.1


def test_stable_keeps_its_memory(rng):
    e = engine("stable")
    feed(e, rng.normal(size=(3000, 2)))
    feed(e, rng.normal(size=(500, 2)) + 9.0)
    assert not alarms(e)
    assert len(e.state.window) == 2000


def test_balanced_keeps_a_thousand_rows_and_leaves_short_memories_alone(rng):
    e = engine("balanced")
    feed(e, rng.normal(size=(3000, 2)))
    feed(e, rng.normal(size=(200, 2)) * 6.0)
    (alarm,) = alarms(e)
    assert alarm.fields["kept"] == len(e.state.window) == 1000
    assert e.state.clocks[0].since_refit == 0
    assert e.state.clocks[1].since_refit > 0


def test_what_is_under_way_is_stale_after_a_cut(rng):
    runner = ThreadRunner(time.monotonic)
    e = engine("fast", runner=runner)
    feed(e, rng.normal(size=(3000, 2)))
    while e.state.flight is None:
        feed(e, rng.normal(size=(1, 2)))
    epoch = e.state.epoch
    e.state.shadow = None
    e.state.drift = Drift(1e3, 100)
    feed(e, rng.normal(size=(50, 2)) * 6.0)
    assert e.state.epoch == epoch + 1
    if e.state.flight is not None:  # it may have been done, and taken, at once
        runner.wait(120.0)
    outcomes = {ev.labels["outcome"] for ev in e.events() if ev.kind == "refit"}
    for _ in range(4):
        feed(e, rng.normal(size=(50, 2)) * 6.0)
        outcomes |= {ev.labels["outcome"] for ev in e.events() if ev.kind == "refit"}
    assert "stale" in outcomes
    assert runner.close(10.0)


def test_the_bet_survives_the_arrays(rng):
    e = engine("balanced")
    feed(e, rng.normal(size=(3000, 2)))
    feed(e, rng.normal(size=(60, 2)) * 3.0)
    assert e.state.drift.evidence > 0.0
    assert State.from_arrays(e.settings, *e.state.to_arrays()).drift == e.state.drift


def test_a_change_that_goes_on_cuts_the_memory_again_without_an_alarm(rng):
    settings = EngineSettings(("a", "b"), (LONG,), min_records=1000, step=100, target_rate=0.01)
    e = Engine(settings, InlineRunner(time.monotonic))
    X = rng.normal(size=(12_000, 2))
    X[6000:] += np.minimum(np.arange(6000) * 0.002, 8.0)[:, None]
    sizes = []
    for part in np.array_split(X, 60):
        feed(e, part)
        sizes.append(len(e.state.window))
    alarms = len([event for event in e.events() if event.kind == "drift"])
    cuts = sum(after < before for before, after in itertools.pairwise(sizes))
    assert 1 <= alarms <= 2 < cuts


def test_what_a_change_is_measured_by_is_new_after_as_many_rows_and_survives_the_arrays(rng):
    e = engine("balanced")
    feed(e, rng.normal(size=(4000, 2)))
    feed(e, rng.normal(size=(600, 2)) + 8.0)
    past = e.state.past
    restored = State.from_arrays(e.settings, *e.state.to_arrays()).past
    assert (restored.drift, restored.rows) == (past.drift, past.rows)
    np.testing.assert_array_equal(restored.calibration.recent, past.calibration.recent)
    feed(e, rng.normal(size=(past.rows, 2)) + 8.0)
    assert e.state.past is None


@pytest.mark.parametrize("level", ["fixed", "adaptive"])
@pytest.mark.parametrize("change", ["scale", "shift"])
def test_one_lasting_change_is_one_alarm(rng, change, level):
    settings = EngineSettings(("a", "b"), (LONG,), min_records=1000, step=100, target_rate=0.01, level=level)
    e = Engine(settings, InlineRunner(time.monotonic))
    X = rng.normal(size=(12_000, 2))
    X[6000:] = 2.5 * X[6000:] if change == "scale" else X[6000:] + 4.0
    hashes = np.arange(len(X), dtype=np.uint64)
    flags = np.concatenate([part.is_anomaly for _, part in drive(e, X, np.full(len(X), np.nan), hashes)])
    assert len([event for event in e.events() if event.kind == "drift"]) == 1
    assert flags[6000:6050].mean() > 0.1
    assert flags[8000:].mean() < 0.03
