"""Columns whose values are counted: which ones, what a value costs, and that scores keep their level."""

from dataclasses import replace

import numpy as np
import pytest

from streamgmm.detector import column_kernels as kernels
from streamgmm.detector.committee import Detector
from streamgmm.detector.tables import MAX_CATEGORIES, MAX_VALUES, Table, of_few_values
from streamgmm.detector.view import View
from streamgmm.records import Version
from streamgmm.refit.fitting import cold, gate, warm
from streamgmm.refit.job import MemberSettings

KINDS = ("mixture", "marginals")


def settings(kind="mixture"):
    return MemberSettings(name=kind, kind=kind, n_components=2)


def switched(rng, n, share=0.05):
    """Rows of two lively columns and a switch."""
    return np.column_stack([rng.normal(size=(n, 2)), (rng.random(n) < share).astype(float)])


def test_columns_of_few_values_are_counted(rng):
    X = np.column_stack([rng.normal(size=500), rng.integers(0, 8, 500), rng.integers(0, 9, 500), np.full(500, 3.0)])
    assert [table.column for table in View.fit(X, 30.0, ()).counted] == [1, 3]
    assert View.fit(X, 30.0, (), count_few=False).counted == ()
    assert View.fit(X[:50], 30.0, ()).counted == ()  # of so few rows nobody can tell


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_counts_are_numpy_s(rng, missing):
    X = rng.integers(0, 12, (400, 5)) % np.array([1, 2, 5, 8, 12]) * 0.5
    X[rng.random(X.shape) < missing] = np.nan
    values, counts, found = np.zeros((5, MAX_VALUES)), np.zeros((5, MAX_VALUES)), np.zeros(5, dtype=np.intp)
    kernels.count_values(X, values, counts, found)
    for j in range(5):
        codes, expected = np.unique(X[~np.isnan(X[:, j]), j], return_counts=True)
        assert found[j] == min(len(codes), MAX_VALUES + 1)
        if len(codes) <= MAX_VALUES:
            order = np.argsort(values[j, : found[j]])
            np.testing.assert_array_equal(values[j, order], codes)
            np.testing.assert_array_equal(counts[j, order], expected)


def test_scaling_is_numpy_s_and_keeps_what_is_missing(rng):
    X, location, scale = rng.normal(size=(100, 3)) * 50, rng.normal(size=3), rng.uniform(0.5, 2.0, 3)
    X[::7, 1] = np.nan
    X.setflags(write=False)
    z = np.empty(X.shape)
    kernels.scale_and_clip(X, location, scale, 30.0, z)
    np.testing.assert_allclose(z, np.clip((X - location) / scale, -30.0, 30.0), rtol=1e-15)


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("d", [1, 8, 19])
def test_the_moments_are_numpy_s_at_any_offset(rng, missing, d):
    X = rng.normal(size=(700, d)) + 1e6 * np.arange(d)
    X[rng.random(X.shape) < missing] = np.nan
    mean, deviation, low, high = (np.empty(d) for _ in range(4))
    kernels.moments(X, mean, deviation, low, high)
    np.testing.assert_allclose(mean, np.nanmean(X, axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(deviation, np.nanstd(X, axis=0), rtol=1e-9)
    np.testing.assert_array_equal([low, high], [np.nanmin(X, axis=0), np.nanmax(X, axis=0)])
    kernels.moments(np.full((5, d), np.nan), mean, deviation, low, high)
    assert not np.array([mean, deviation, low, high]).any()


def test_a_value_costs_its_rarity_and_an_unseen_one_its_distance_too():
    X = np.repeat([[0.0], [1.0]], [900, 100], axis=0)
    tables = View.fit(X, 30.0, ()).tables
    zero, one, two, far, missing = tables.surprise(np.array([[0.0], [1.0], [2.0], [1e9], [np.nan]]))[:, 0]
    assert zero == pytest.approx(-np.log(900.5 / 1001.5))
    assert one == pytest.approx(-np.log(100.5 / 1001.5))
    assert two == pytest.approx(-np.log(0.5 / 1001.5) + 0.5 * ((2.0 - 0.1) / 0.3) ** 2)
    assert far == pytest.approx(-np.log(0.5 / 1001.5) + 450.0)
    assert missing == 0.0


def test_a_constant_that_moves_is_a_sensation(rng):
    X = np.column_stack([rng.normal(size=1000), np.full(1000, 7.0)])
    for kind in KINDS:
        member = cold(X, 0.0, settings(kind), rng)
        moved = member.log_density(np.array([[0.0, 7.0], [0.0, 9.0]]))
        assert moved[0] - moved[1] > 30.0


def test_a_switch_that_rests_is_still_a_switch(rng):
    view = View.fit(switched(rng, 500), 30.0, ())
    at_rest = np.column_stack([rng.normal(size=(500, 2)), np.zeros(500)])
    rested = View.fit(at_rest, 30.0, (), view)
    assert rested.counted[0].codes.tolist() == [0.0, 1.0]
    assert rested.tables.surprise(np.array([[0.0, 0.0, 1.0]]))[0, 0] < 8.0
    assert View.fit(at_rest, 30.0, ()).tables.surprise(np.array([[0.0, 0.0, 1.0]]))[0, 0] > 100.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_switch_does_not_move_the_level(rng, kind):
    """Rows of the mode have about the density of the other columns, however often the switch is thrown."""
    alone = cold(switched(rng, 1000)[:, :2], 0.0, settings(kind), rng).log_density(np.zeros((1, 2)))
    member = cold(switched(rng, 1000, 0.0), 0.0, settings(kind), rng)
    for share in (0.0, 0.002, 0.05, 0.0):
        member = warm(member, switched(rng, 1000, share), 0.0, settings(kind), 3)
        assert gate(member) is None
        assert member.log_density(np.zeros((1, 3))) == pytest.approx(alone, abs=0.35)


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_may_turn_from_few_values_to_many_and_back(rng, kind):
    few, many = switched(rng, 1000), rng.normal(size=(1000, 3))
    member = cold(few, 0.0, settings(kind), rng)
    there = warm(member, many, 0.0, settings(kind), 5)
    assert there.view.counted == ()
    fresh = cold(many, 0.0, settings(kind), rng)
    width = np.log(there.view.mass_width[2])
    assert there.log_density(many).mean() == pytest.approx(fresh.log_density(many).mean() + width, abs=0.1)
    back = warm(there, few, 0.0, settings(kind), 5)
    assert [table.column for table in back.view.counted] == [2]
    assert back.log_density(few).mean() == pytest.approx(member.log_density(few).mean(), abs=0.1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("begins", ["few", "many"])
@pytest.mark.parametrize("unit", [1e-4, 1e4])
def test_units_do_not_matter_when_a_column_changes_its_kind(kind, begins, unit):
    """All log-densities move by the unit's own constant, and that by one and the same through every change."""
    moved = []
    for factor in (1.0, unit):
        rng = np.random.default_rng(3)
        tables = {"few": switched(rng, 1000), "many": rng.normal(size=(1000, 3))}
        for X in tables.values():
            X[:, 2] *= factor
        other = "many" if begins == "few" else "few"
        member = cold(tables[begins], 0.0, settings(kind), np.random.default_rng(4))
        levels = [member.log_density(tables[begins])]
        for name in (other, begins, other):
            member = warm(member, tables[name], 0.0, settings(kind), 5)
            levels.append(member.log_density(tables[name]))
        moved.append(np.concatenate(levels))
    constant = -np.log(unit) if begins == "many" else 0.0
    np.testing.assert_allclose(moved[1] - moved[0], constant, atol=1e-3)


@pytest.mark.parametrize("shape", ["full", "tied", "diag", "spherical"])
def test_counted_columns_leave_the_density_of_the_others(rng, shape):
    X = switched(rng, 1000)
    own = replace(settings(), covariance_type=shape, n_components=1, shrinkage=0.0)
    member, other = cold(X, 0.0, own, rng), cold(X[:, :2], 0.0, own, rng)
    expected = other.log_density(X[:, :2]) + member.view.tables.log_mass(X)
    if shape != "spherical":  # its one variance is shared with the column that stands still
        np.testing.assert_allclose(member.log_density(X), expected, rtol=1e-6, atol=1e-6)


def test_an_explanation_names_the_switch(rng):
    X = switched(rng, 2000, 0.01)
    members = tuple(cold(X, 0.0, settings(kind), rng) for kind in KINDS)
    [told] = Detector(members, Version(1, 0)).explain(np.array([[0.0, 0.0, 1.0]]), ("a", "b", "valve"))
    first = told.contributions[0]
    assert (first.feature, first.observed, first.share) == ("valve", 1.0, 0.0)
    assert first.expected == pytest.approx(X[:, 2].mean())
    assert first.surprise == pytest.approx(-np.log(X[:, 2].mean()), rel=0.1)
    assert sum(c.share for c in told.contributions) == pytest.approx(told.distance2, abs=1e-9)


def test_tables_come_back_from_arrays(rng):
    X = np.column_stack([switched(rng, 400), rng.integers(0, 30, 400)])
    view = View.fit(X, 30.0, (3,))
    again = View.from_arrays(view.to_arrays())
    assert [(t.column, t.numeric) for t in again.counted] == [(2, True), (3, False)]
    np.testing.assert_array_equal(again.tables.surprise(X), view.tables.surprise(X))
    for one, other in zip(of_few_values(X, (3,), again.counted), of_few_values(X, (3,), view.counted), strict=True):
        np.testing.assert_array_equal(one.surprise, other.surprise)


def test_categories_for_which_there_is_no_room_share_what_is_left(rng):
    codes = rng.integers(0, 1000, 20_000).astype(float)
    table = Table.of_categories(0, codes)
    assert len(table.codes) == MAX_CATEGORIES
    np.testing.assert_allclose(table.encode(np.arange(1000.0)), np.log(1000.0), atol=0.6)
    few = Table.of_categories(0, codes % 10)
    assert few.encode(np.array([99.0]))[0] > 9.0  # where there is room, an unseen one is new
