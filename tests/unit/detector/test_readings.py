"""Cells that cannot be measurements: which ones they are, and that no fit is moved by them."""

from functools import cache

import numpy as np
import pytest

from streamgmm import StreamDetector
from streamgmm.detector.readings import FEW_SHARE, GAP, bounds, measured
from streamgmm.detector.view import View
from streamgmm.mixture.parameters import MixtureParameters
from streamgmm.refit.fitting import cold, warm
from streamgmm.refit.job import MemberSettings

LARGEST = float(np.finfo(np.float64).max)
WILD = (65535.0, 1e6, 1.8e19, 1e155, LARGEST, -LARGEST)


@pytest.mark.parametrize("wild", WILD)
def test_one_wild_cell_is_no_measurement(rng, wild):
    X = rng.normal(10.0, 1.0, size=(1000, 3))
    X[500, 1] = wild
    found = measured(X)
    assert np.argwhere(np.isnan(found)).tolist() == [[500, 1]]
    np.testing.assert_array_equal(measured(X, View.fit(X[:400], 30.0, ())), found)


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_wild_cells_are_the_same_in_any_unit(rng, unit):
    X = rng.normal(10.0, 1.0, size=(1000, 2))
    X[[3, 500, 501], [0, 0, 1]] = 65535.0, 1e6, -1e9
    np.testing.assert_array_equal(np.isnan(measured(X * unit)), np.isnan(measured(X)))


def test_a_column_without_a_gap_is_measured_as_a_whole(rng):
    for x in (rng.standard_cauchy(5000), rng.lognormal(sigma=3.0, size=5000), np.arange(5000.0), np.full(5000, 3.0)):
        X = x[:, None]
        assert measured(X) is X


def test_what_many_cells_show_is_how_the_column_is_now(rng):
    X = rng.normal(size=(1000, 1))
    X[: int(FEW_SHARE * 1000) + 1] = 1e6
    assert measured(X) is X


def test_a_resting_column_is_measured_by_what_moves_or_by_its_size():
    still, switch, zero = np.full(1000, 5.0), np.repeat([0.0, 1.0], [700, 300]), np.zeros(1000)
    assert bounds(np.append(still, 65535.0))[1] == GAP * 5.0
    assert bounds(np.append(still, 6.0))[1] > 1e100
    assert bounds(np.append(switch, 65535.0))[1] == GAP
    assert bounds(np.append(zero, 65535.0))[1] > 1e100  # nobody knows the unit of zero


def test_a_row_of_wild_cells_only_is_left_out(rng):
    X = rng.normal(size=(1000, 2))
    X[7], X[9] = LARGEST, np.nan
    assert len(measured(X)) == 998


@pytest.mark.parametrize("more", [{}, {"kind": "marginals"}, {"scaling": "robust"}, {"pca_components": 1}])
@pytest.mark.parametrize("wild", [65535.0, LARGEST])
def test_no_fit_is_moved(rng, more, wild):
    settings, X = MemberSettings(n_components=2, **more), rng.normal(size=(1000, 3))
    spoilt = X.copy()
    spoilt[500, 1], spoilt[600] = wild, -wild
    members = [warm(cold(x, 0.0, settings, np.random.default_rng(3)), x, 0.0, settings, 3) for x in (X, spoilt)]
    clean, moved = (member.log_density(rng.normal(size=(200, 3)) * 2.0) for member in members)
    assert np.isfinite(moved).all()
    assert (np.abs(members[0].view.scale - members[1].view.scale) < 0.01).all()
    assert abs(np.median(clean) - np.median(moved)) < 0.3
    if isinstance(members[1].mixture, MixtureParameters):
        assert np.abs(members[1].mixture.means).max() < 5.0


def planted(wild, cells):
    """Return rows of two quiet columns, one in order and two of few values, and where faults of 8 to 100 σ stand."""
    r = np.random.default_rng(5)
    walk = np.zeros(4600)
    for i, e in enumerate(r.normal(size=4599)):
        walk[i + 1] = 0.9 * walk[i] + e
    X = np.column_stack(
        [r.normal(10, 1, 4600), r.normal(-300, 5, 4600), walk, np.full(4600, 5.0), r.random(4600) < 0.3]
    )
    spikes, gross = [3500, 3700, 3900, 4100], [4500, 4520, 4540]
    X[spikes, 0] += [8.0, 10.0, 15.0, 25.0]
    X[gross, 0] += 100.0
    for i, j in cells:
        X[i, j] = wild
    return X, spikes, gross


@pytest.mark.parametrize(
    "cells",
    [[(500, 0)], [(1500, 1)], [(1500, 2)], [(3, 3)], [(500, 4)], [(1500, j) for j in range(5)], [(3400, 0), (3402, 0)]],
)
@pytest.mark.parametrize("wild", WILD)
def test_one_reading_blinds_nobody(wild, cells):
    X, spikes, gross = planted(wild, cells)
    scored = StreamDetector.from_config({"codec": {"fields": list("abcde")}}).process(X)
    assert np.isfinite(scored.log_density[1000:]).all()
    assert scored.is_anomaly[spikes].sum() >= 3
    severe = {a.index for a in scored.anomalies if a.severity == "critical"}
    assert severe.issuperset(gross)
    assert severe.issuperset(i for i, _ in cells if i > 1000)


def wandering(wild, cells):
    """Return rows of three columns that depend on the rows before, and where faults of 8 to 100 σ stand."""
    r = np.random.default_rng(0)
    X = np.zeros((5000, 3))
    for i, e in enumerate(r.normal(size=(4999, 3))):
        X[i + 1] = 0.95 * X[i] + 0.3 * e
    X[:, 2] += X[:, 0]
    X = 3.0 * X + [20.0, 0.0, 5.0]
    spikes, gross = [3500, 3700, 3900, 4100], [4500, 4501, 4502]
    X[spikes, 0] += 3.0 * np.array([8.0, 10.0, 15.0, 25.0])
    X[gross, 0] += 300.0
    for i, j in cells:
        X[i, j] = wild
    return X, spikes, gross


@cache
def spikes_found_without():
    X, spikes, _ = wandering(0.0, [])
    return StreamDetector.from_config({"codec": {"fields": list("abc")}}).process(X).is_anomaly[spikes].sum()


@pytest.mark.parametrize(
    "cells",
    [
        [(500, 0)],
        [(1500, 0)],
        [(1500, j) for j in range(3)],
        [(i, 0) for i in (1500, 1501, 1502, 1800, 2200)],
        [(3300, 0)],
    ],
)
@pytest.mark.parametrize("wild", [65535.0, 1e155, -LARGEST])
def test_one_reading_blinds_nobody_where_the_past_of_the_rows_is_scored(wild, cells):
    X, spikes, gross = wandering(wild, cells)
    scored = StreamDetector.from_config({"codec": {"fields": list("abc")}}).process(X)
    assert np.isfinite(scored.log_density[1000:]).all()
    assert scored.is_anomaly[spikes].sum() >= spikes_found_without() > 2
    severe = {a.index for a in scored.anomalies if a.severity == "critical"}
    assert severe.issuperset(gross)
    assert severe.issuperset(i for i, _ in cells if i > 1000)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("unit", [1e-4, 1e4])
def test_the_unit_of_a_column_that_changes_its_kind_does_not_matter(seed, unit):
    """For 2000 rows the column has five values, for 2000 it has many, and again."""
    flags = []
    for factor in (1.0, unit):
        r = np.random.default_rng(seed)
        X = r.normal(size=(8000, 3))
        few = (np.arange(8000) // 2000) % 2 == seed
        X[few, 2] = np.round(X[few, 2]).clip(-2, 2)
        X[:, 2] *= factor
        flags.append(StreamDetector.from_config({"codec": {"fields": list("abc")}}).process(X).is_anomaly)
    assert (flags[0] & flags[1]).sum() >= 0.9 * (flags[0] | flags[1]).sum() > 0


@pytest.mark.parametrize("offset", [1e9, 1e10, -1e12])
def test_spread_is_seen_however_small_a_share_of_the_size_it_is(offset):
    X = np.random.default_rng(0).normal(size=(4000, 2)) * max(1.0, abs(offset) * 1e-10) + offset
    X[3000:3010, 0] += 20.0 * max(1.0, abs(offset) * 1e-10)
    config = {"codec": {"fields": ["a", "b"]}, "detection": {"target_rate": 0.01}}
    scored = StreamDetector.from_config(config).process(X)
    assert scored.is_anomaly[3000:3010].any()
    assert scored.is_anomaly[1000:].mean() < 0.03
