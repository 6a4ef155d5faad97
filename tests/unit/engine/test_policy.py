"""What flagged rows teach, and what a change does while nobody knows whether it stays."""

import time
from dataclasses import replace

import numpy as np
import pytest

from streamgmm import assembly
from streamgmm.config import parse
from streamgmm.engine.core import Engine
from streamgmm.engine.drift import Drift
from streamgmm.engine.drive import drive
from streamgmm.engine.policy import FLAGGED_ONE_IN, SUSTAINED, AdoptAfter, teaches
from streamgmm.engine.settings import EngineSettings
from streamgmm.engine.state import State
from streamgmm.engine.thinning import row_hashes
from streamgmm.refit.job import MemberSettings
from streamgmm.refit.runners import InlineRunner

N = 20_000
HASHES = row_hashes(np.zeros(N, np.uint64), np.arange(N), np.arange(N), np.zeros(N, np.int64))
MEMBER = MemberSettings(n_components=2, window=2000, refresh_every=50, refit_every=500)


@pytest.mark.parametrize(
    ("policy", "share"), [("accept", 1.0), ("down_weight", 1.0 / FLAGGED_ONE_IN), ("exclude", 0.0)]
)
def test_what_flagged_rows_teach(rng, policy, share):
    flagged = rng.random(N) < 0.5
    taught = teaches(policy, flagged, HASHES, Drift())
    assert taught[~flagged].all()
    assert taught[flagged].mean() == pytest.approx(share, abs=0.02)
    assert teaches(policy, flagged, HASHES, Drift(SUSTAINED + 1.0, 50)).all()


def test_thinning_and_weight_are_independent():
    fast = np.quantile(HASHES, 0.2) > HASHES
    taught = teaches("down_weight", np.full(N, fill_value=True), HASHES, Drift())
    assert taught[fast].mean() == pytest.approx(1.0 / FLAGGED_ONE_IN, abs=0.03)


SETTINGS = EngineSettings(("a", "b"), (MEMBER,), min_records=300, step=50, target_rate=0.01, level="fixed", buffer=2000)


def engine(state=None, **options):
    settings = replace(SETTINGS, **options)
    return Engine(settings, InlineRunner(time.monotonic), state)


def feed(e, X, t=None):
    n, seen = len(X), e.state.rows_seen
    t = np.full(n, np.nan) if t is None else t
    return [p for _, p in drive(e, X, t, HASHES[seen : seen + n])]


def anomalies(rng, n):
    X = rng.normal(size=(n, 2))
    X[::60] += 15.0
    return X


def far_rows(e):
    return int((e.state.window.rows() > 8.0).all(axis=1).sum())


def test_single_anomalies_are_left_out(rng):
    X = anomalies(rng, 3000)
    accepting, excluding = engine(target_rate=0.02), engine(target_rate=0.02, learn_flagged="exclude")
    for e in (accepting, excluding):
        feed(e, rng.normal(size=(600, 2)))
        feed(e, X)
    assert far_rows(accepting) > 30
    assert far_rows(excluding) < 10


@pytest.mark.parametrize("policy", ["down_weight", "exclude"])
def test_a_level_shift_is_learnt_in_the_end_all_the_same(rng, policy):
    e = engine(learn_flagged=policy)
    feed(e, rng.normal(size=(2000, 2)))
    flags = np.concatenate([p.is_anomaly for p in feed(e, rng.normal(size=(1500, 2)) + 12.0)])
    assert flags[:10].all()
    assert flags[-500:].mean() < 0.05
    assert far_rows(e) > 1000


def test_an_attack_that_ends_is_never_learnt(rng):
    e = engine(adopt_after=AdoptAfter(rows=600))
    feed(e, rng.normal(size=(2000, 2)))
    feed(e, rng.normal(size=(400, 2)) + 12.0)
    assert len(e.state.held) > 300
    assert far_rows(e) <= 50
    feed(e, rng.normal(size=(1000, 2)))
    assert e.state.held is None
    assert far_rows(e) <= 50
    assert not [ev for ev in e.events() if ev.kind == "drift"]


@pytest.mark.parametrize("adaptation", ["stable", "balanced"])
def test_a_change_that_stays_is_adopted_when_its_time_has_come(rng, adaptation):
    e = engine(adopt_after=AdoptAfter(rows=600), adaptation=adaptation)
    feed(e, rng.normal(size=(2000, 2)))
    feed(e, rng.normal(size=(550, 2)) + 12.0)
    assert far_rows(e) <= 50
    feed(e, rng.normal(size=(200, 2)) + 12.0)
    (alarm,) = [ev for ev in e.events() if ev.kind == "drift"]
    assert 600 <= alarm.fields["rows"] <= 700
    assert far_rows(e) >= 600
    assert e.state.detector.log_density(np.full((1, 2), 12.0)) > e.state.detector.log_density(np.full((1, 2), 5.0))


@pytest.mark.parametrize("rows", [600, 3000, 6000])
def test_a_change_is_adopted_once_however_long_it_must_last(rng, rows):
    """Also where that is longer than the calibration buffer, which then knows nothing but the change."""
    e = engine(adopt_after=AdoptAfter(rows=rows))
    feed(e, rng.normal(size=(2000, 2)))
    feed(e, rng.normal(size=(rows - 100, 2)) + 12.0)
    assert far_rows(e) <= 50
    assert not [ev for ev in e.events() if ev.kind == "drift"]
    again = engine(State.from_arrays(e.settings, *e.state.to_arrays()), adopt_after=AdoptAfter(rows=rows))
    for one in (e, again):
        feed(one, rng.normal(size=(3000, 2)) + 12.0)
        (alarm,) = [ev for ev in one.events() if ev.kind == "drift"]
        assert rows <= alarm.fields["rows"] <= rows + 100
        assert far_rows(one) >= 1000


def test_event_time_decides_as_well(rng):
    e = engine(adopt_after=AdoptAfter(seconds=100.0))
    feed(e, rng.normal(size=(2000, 2)), np.arange(2000.0) * 0.5)
    feed(e, rng.normal(size=(400, 2)) + 12.0, 1000.0 + np.arange(400.0) * 0.5)
    assert [ev for ev in e.events() if ev.kind == "drift"]


@pytest.mark.parametrize("wrong", [0.0, 4.07e9])
def test_one_wrong_time_does_not_adopt_a_change(rng, wrong):
    e = engine(adopt_after=AdoptAfter(seconds=1e6))
    t = 1.7e9 + 0.5 * np.arange(2600.0)
    t[2300] = wrong
    feed(e, np.concatenate([rng.normal(size=(2000, 2)), rng.normal(size=(600, 2)) + 12.0]), t)
    assert e.state.held is not None
    assert not [ev for ev in e.events() if ev.kind == "drift"]


def test_what_is_held_back_survives_the_arrays(rng):
    e = engine(adopt_after=AdoptAfter(rows=600))
    feed(e, rng.normal(size=(2000, 2)))
    feed(e, rng.normal(size=(200, 2)) + 12.0)
    again = engine(State.from_arrays(e.settings, *e.state.to_arrays()), adopt_after=AdoptAfter(rows=600))
    X = rng.normal(size=(900, 2)) + 12.0
    one, other = feed(e, X), feed(again, X)
    np.testing.assert_array_equal(*(np.concatenate([p.log_density for p in parts]) for parts in (one, other)))


def test_the_configuration_says_it():
    learning = {"adopt_after": "10m", "learn_flagged": "exclude"}
    s = assembly.engine_settings(parse({"learning": learning}, require=()), ["a"])
    assert (s.adopt_after, s.learn_flagged) == (AdoptAfter(seconds=600.0), "exclude")
