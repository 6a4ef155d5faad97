"""Rows with missing cells are scored on the scale of complete ones."""

import time

import numpy as np
import pytest

from streamgmm.engine.comparable import MOST_PATTERNS, USUAL_CELL, Comparable
from streamgmm.engine.core import Engine
from streamgmm.engine.drive import drive
from streamgmm.engine.settings import EngineSettings
from streamgmm.engine.state import State
from streamgmm.engine.window import Block, Window
from streamgmm.records import STATUSES
from streamgmm.refit.job import MemberSettings
from streamgmm.refit.runners import InlineRunner

D = 4


class Gaussian:
    """A detector: independent columns, all of variance one."""

    def log_density(self, X):
        return np.nansum(-0.5 * np.log(2 * np.pi) - 0.5 * X * X, axis=1)


def hide(X, share, rng):
    X = X.copy()
    X[rng.random(X.shape) < share] = np.nan
    return X[~np.isnan(X).all(axis=1)]


def corrected(X, window, detector=None):
    maps, absent, scores = Comparable.of_window(window), np.isnan(X), Gaussian().log_density(X)
    keys = maps.keys(absent)
    maps = maps.extended([int(k) for k in np.unique(keys[keys >= 0])], detector or Gaussian(), window, 0)
    return scores + maps.correction(scores, absent, keys)


def test_complete_rows_are_left_alone(rng):
    X = rng.normal(size=(50, D))
    np.testing.assert_array_equal(corrected(X, rng.normal(size=(500, D))), Gaussian().log_density(X))


@pytest.mark.parametrize("missing", [1, 2, 3])
@pytest.mark.parametrize("one_pattern", [True, False])
def test_scores_spread_as_those_of_complete_rows_do(rng, missing, one_pattern):
    window, X = rng.normal(size=(3000, D)), rng.normal(size=(3000, D))
    order = np.tile(np.arange(D), (3000, 1)) if one_pattern else np.argsort(rng.random(X.shape), axis=1)
    X[np.arange(3000)[:, None], order[:, :missing]] = np.nan
    found, whole = corrected(X, window), Gaussian().log_density(rng.normal(size=(3000, D)))
    probabilities = [0.02, 0.1, 0.5, 0.9]
    np.testing.assert_allclose(np.quantile(found, probabilities), np.quantile(whole, probabilities), atol=1.0)


def test_common_patterns_get_maps_of_their_own(rng):
    X = hide(rng.normal(size=(3000, D)), 0.3, rng)
    maps = Comparable.of_window(X)
    assert len(maps.patterns) == MOST_PATTERNS
    counts = [(np.isnan(X) == p).all(axis=1).sum() for p in maps.patterns]
    assert counts == sorted(counts, reverse=True)
    keys = maps.keys(np.isnan(X))
    assert (keys[~np.isnan(X).any(axis=1)] == -1).all()
    rare = keys >= MOST_PATTERNS
    np.testing.assert_array_equal(keys[rare], MOST_PATTERNS - 1 + np.isnan(X[rare]).sum(axis=1))


def test_a_column_that_is_always_missing_needs_no_complete_rows(rng):
    X = rng.normal(size=(500, D))
    X[:, 2] = np.nan
    np.testing.assert_allclose(corrected(X, X), Gaussian().log_density(X) + USUAL_CELL)


def test_order_is_kept_within_a_pattern(rng):
    X = rng.normal(size=(2000, D)) * np.geomspace(0.01, 100.0, 2000)[:, None]
    X[:, 1] = np.nan
    raw, found = Gaussian().log_density(X), corrected(X, rng.normal(size=(500, D)))
    assert (np.diff(found[np.argsort(raw)]) >= 0.0).all()


def test_maps_are_renewed_for_a_new_pattern_and_with_age(rng):
    X = rng.normal(size=(100, D))
    window = Window(1000).add(Block.seal(X, np.zeros(100)))
    maps = Comparable.of_window(X).extended([0], Gaussian(), X, 0)
    assert maps.after(X, window).maps
    assert maps.after(X, window).age == 100
    dead = X.copy()
    dead[:, 1] = np.nan
    assert maps.after(dead, window.add(Block.seal(dead, np.zeros(100)))).patterns.tolist() == [
        [False, True, False, False]
    ]
    for _ in range(5):
        maps = maps.after(X, window)
    assert not maps.maps


SETTINGS = EngineSettings(
    ("a", "b", "c", "d"),
    (MemberSettings(n_components=2, window=500, refresh_every=50, refit_every=200),),
    min_records=200,
    step=50,
    target_rate=0.02,
    buffer=500,
)


def feed(e, X):
    n, seen = len(X), e.state.rows_seen
    return [p for _, p in drive(e, X, np.full(n, np.nan), np.arange(seen, seen + n, dtype=np.uint64))]


def test_only_rows_without_any_cell_are_unscored(rng):
    e, X = Engine(SETTINGS, InlineRunner(time.monotonic)), rng.normal(size=(900, D))
    X[rng.random(X.shape) < 0.3] = np.nan
    X[::50] = np.nan
    status = np.concatenate([p.status for p in feed(e, X)])
    assert ((status == STATUSES.index("missing")) == np.isnan(X).all(axis=1)).all()
    assert not np.isnan(e.state.window.rows()).all(axis=1).any()
    assert np.isnan(e.state.window.rows()).any()


def test_a_far_cell_beside_missing_ones_is_flagged_and_explained(rng):
    e = Engine(SETTINGS, InlineRunner(time.monotonic))
    feed(e, rng.normal(size=(1000, D)))
    (part,) = feed(e, np.array([[np.nan, 0.0, 30.0, np.nan]]))
    (anomaly,) = part.anomalies
    assert [c.feature for c in anomaly.explanation.contributions] == ["c", "b"]


def test_maps_survive_the_arrays(rng):
    e, X = Engine(SETTINGS, InlineRunner(time.monotonic)), hide(rng.normal(size=(1234, D)), 0.2, rng)
    feed(e, X)
    again = State.from_arrays(SETTINGS, *e.state.to_arrays())
    assert e.state.comparable is not None
    more = hide(rng.normal(size=(700, D)), 0.2, rng)
    one, other = feed(e, more), feed(Engine(SETTINGS, InlineRunner(time.monotonic), again), more)
    for column in ("log_density", "p_value"):
        np.testing.assert_array_equal(*(np.concatenate([getattr(p, column) for p in parts]) for parts in (one, other)))
