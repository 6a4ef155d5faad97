"""However a stream is cut into blocks, and wherever it is stopped and restored, the engine says the same of a row."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgmm.engine.core import Engine
from streamgmm.engine.drive import drive
from streamgmm.engine.rules import FieldRule
from streamgmm.engine.settings import EngineSettings
from streamgmm.engine.state import State
from streamgmm.engine.thinning import row_hashes
from streamgmm.records import ScoredBatch
from streamgmm.refit.job import MemberSettings
from streamgmm.refit.runners import InlineRunner

SETTINGS = EngineSettings(
    ("a", "b"),
    members=(MemberSettings(n_components=2, window=120, refresh_every=30, refit_every=40, refit_seconds=40.0),),
    min_records=60,
    span=20.0,
    step=30,
    target_rate=0.02,
    level="adaptive",
    buffer=80,
    adaptation="fast",
    challenger_every=2,
    incident_seconds=3.0,
    incident_rows=40,
    rules={"a": FieldRule("high", 1.0)},
)
N = 1500
HASHES = row_hashes(np.zeros(N, np.uint64), np.arange(N), np.arange(N), np.zeros(N, np.int64))
COLUMNS = ("log_density", "p_value", "score", "is_anomaly", "threshold", "version", "status")
CLOCKS = ("none", "steady", "fast", "patchy", "wild", "pauses")
SHIFT = 700


def frozen_clock():
    return 0.0


def stream(seed, clock, missing):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 2)) + np.where(rng.random((N, 1)) < 0.3, 4.0, 0.0)
    X[rng.random(N) < 0.01] += 12.0
    X[SHIFT : SHIFT + 300] += 20.0
    X[rng.random(N) < missing, 1] = np.nan
    t = 1.7e9 + np.cumsum(rng.exponential(0.05, N))
    if clock == "none":
        t[:] = np.nan
    elif clock == "fast":
        t = 1.7e9 + np.cumsum(rng.exponential(0.001, N)) + np.where(np.arange(N) > N // 2, 60.0, 0.0)
    elif clock == "patchy":
        t[rng.random(N) < 0.5] = np.nan
    elif clock == "wild":
        t[rng.random(N) < 0.1] = rng.choice([0.0, 4e9])
    elif clock == "pauses":
        t += np.cumsum(np.where(rng.random(N) < 0.02, 300.0, 0.0))
    return X, t


def run(X, t, cuts, restart=()):
    """Feed blocks that end at `cuts`; at those in `restart`, go on from the state's arrays."""
    engine, parts = Engine(SETTINGS, InlineRunner(frozen_clock)), []
    edges = [0, *sorted(cuts), N]
    for start, stop in itertools.pairwise(edges):
        if start in restart:
            state = State.from_arrays(SETTINGS, *engine.state.to_arrays())
            engine = Engine(SETTINGS, InlineRunner(frozen_clock), state)
        parts += [p for _, p in drive(engine, X[start:stop], t[start:stop], HASHES[start:stop])]
    return engine, ScoredBatch.concatenate(parts)


CUTS = st.lists(st.integers(1, N - 1), max_size=8, unique=True)


@pytest.mark.parametrize("clock", CLOCKS)
@given(seed=st.integers(0, 5), missing=st.sampled_from([0.0, 0.2]), cuts=CUTS, data=st.data())
@settings(max_examples=12, deadline=None)
def test_cuts_and_restarts_change_nothing(clock, seed, missing, cuts, data):
    restart = data.draw(st.sets(st.sampled_from(cuts))) if cuts else set()
    X, t = stream(seed, clock, missing)
    whole, one = run(X, t, ())
    cut, other = run(X, t, cuts, restart)
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column), err_msg=column)
    assert [(a.index, a.incident) for a in one.anomalies] == [(a.index, a.incident) for a in other.anomalies]
    assert (one.opened, one.ended, one.withdrawn) == (other.opened, other.ended, other.withdrawn)
    assert [
        a.index
        for a in one.anomalies
        if a.incident not in {b.incident for b in one.anomalies[: one.anomalies.index(a)]}
    ] == list(one.opened)
    assert len(one.opened) - len(one.ended) == (whole.state.incident is not None)
    assert whole.state.rows_seen == cut.state.rows_seen == N
    assert whole.state.thinning == cut.state.thinning or math.isnan(cut.state.thinning.rows_per_second)
    np.testing.assert_array_equal(whole.state.window.rows(), cut.state.window.rows())


@pytest.mark.parametrize("clock", ["steady", "patchy", "wild"])
def test_the_streams_above_do_thin(clock):
    X, t = stream(1, clock, 0.0)
    assert run(X, t, ())[0].state.thinning.calibration < 1.0


def test_the_streams_above_drift():
    X, t = stream(1, "none", 0.2)
    assert run(X, t, ())[0].state.epoch > 0


@pytest.mark.parametrize("clock", [c for c in CLOCKS if c != "fast"])
def test_the_streams_above_promote(clock):
    X, t = stream(1, clock, 0.0)
    assert run(X, t, ())[1].version[-1, 0] > 1
