"""Steps end after so many learnt rows; on a thinned stream time ends them too: nothing can stop the learning."""

import time
from dataclasses import replace

import numpy as np
import pytest

from streamgmm.engine.core import Engine
from streamgmm.engine.drive import drive
from streamgmm.engine.settings import EngineSettings
from streamgmm.engine.thinning import late_rows, row_hashes
from streamgmm.refit.job import MemberSettings
from streamgmm.refit.runners import InlineRunner

MEMBER = MemberSettings(n_components=1, window=300, refresh_every=100, refit_every=10_000)
SETTINGS = EngineSettings(("a",), (MEMBER,), min_records=200, step=50, span=600.0, target_rate=0.01, buffer=300)


def engine(settings=SETTINGS):
    return Engine(settings, InlineRunner(time.monotonic))


def feed(e, t, rng):
    n, seen = len(t), e.state.rows_seen
    hashes = row_hashes(np.zeros(n, np.uint64), np.arange(seen, seen + n), np.arange(n), np.zeros(n, np.int64))
    for _ in drive(e, rng.normal(size=(n, 1)), t, hashes):
        pass


def after_a_burst(rng):
    """Return an engine that has seen a million rows a second, and so learns one row in two million."""
    e = engine()
    feed(e, np.arange(20_000) * 1e-6, rng)
    assert e.state.thinning.window < 1e-5
    return e


def naive_late(t, since, limit, before):
    runs = []
    for x in t:
        if not np.isnan(x):
            before = before + 1 if abs(x - since) > limit else 0
        runs.append(before)
    return runs


@pytest.mark.parametrize("before", [0, 3])
def test_late_rows_are_counted_one_after_the_other(rng, before):
    t = rng.choice([0.0, 5.0, 500.0, -500.0, np.nan], size=200)
    assert late_rows(t, 1.0, 60.0, before).tolist() == naive_late(t, 1.0, 60.0, before)


def test_a_stream_that_was_fast_once_is_learnt_whole_again(rng):
    e = after_a_burst(rng)
    feed(e, 10.0 + np.arange(2000.0) * 5.0, rng)
    assert e.state.thinning.window == 1.0
    assert e.state.window.newest() > 9000.0


def test_a_clock_that_was_wrong_for_one_row_does_not_stop_the_learning(rng):
    e = after_a_burst(rng)
    t = 10.0 + np.arange(2000.0) * 5.0
    t[::100] = 4e9
    feed(e, t, rng)
    assert e.state.thinning.window == 1.0


def test_wild_timestamps_do_not_make_a_fast_stream_learn_everything(rng):
    e = engine()
    feed(e, np.arange(20_000) * 1e-3, rng)
    before = e.state.thinning.window
    t = 20.0 + np.arange(100_000) * 1e-3
    t[rng.random(len(t)) < 0.01] = 0.0
    feed(e, t, rng)
    assert before / 2 < e.state.thinning.window < before * 2


def test_a_fast_stream_keeps_a_window_of_the_span(rng):
    e = engine(replace(SETTINGS, span=60.0))
    feed(e, np.arange(300_000) * 1e-3, rng)
    assert 40.0 < e.state.window.span() < 90.0


def test_a_stream_without_a_clock_is_learnt_whole(rng):
    e = engine()
    feed(e, np.full(5000, np.nan), rng)
    assert e.state.thinning.window == e.state.thinning.calibration == 1.0


def test_one_row_a_day_after_a_burst_still_ends_steps(rng):
    e = after_a_burst(rng)
    feed(e, 1e6 + np.arange(400.0) * 86_400.0, rng)
    assert e.state.thinning.window == 1.0


@pytest.mark.parametrize("apart", [1e-6, 1e-5])
def test_a_stream_that_is_hardly_learnt_is_told_once(rng, apart):
    e = engine()
    feed(e, np.arange(20_000) * apart, rng)
    (event,) = [ev for ev in e.events() if ev.kind == "thinned"]
    assert event.fields["share"] < 0.001
    assert e.status().thinning == e.state.thinning.window < 0.001


@pytest.mark.parametrize("t", [60.0 * np.arange(5000), np.full(5000, 1.7e9), np.full(5000, np.nan)])
def test_a_stream_that_is_learnt_whole_says_so(rng, t):
    e = engine()
    feed(e, t, rng)
    assert e.status().thinning == 1.0
    assert not [ev for ev in e.events() if ev.kind == "thinned"]


@pytest.mark.parametrize("dated", [4.07e9, 2.5e11])
def test_a_refit_that_a_wrong_time_has_dated_is_made_up_for(rng, dated):
    e = engine(replace(SETTINGS, members=(replace(MEMBER, refit_seconds=6000.0),)))
    feed(e, 1.7e9 + 60.0 * np.arange(1000.0), rng)
    promotion = e.state.detector.version.promotion
    e.state.clocks[0].refit_at = dated
    feed(e, 1.7e9 + 60.0 * np.arange(1000.0, 3000.0), rng)
    assert e.state.clocks[0].refit_at < 1.8e9
    assert e.state.detector.version.promotion > promotion + 1
