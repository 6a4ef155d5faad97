"""What members see of wider rows, and how what they say of the past comes back to the columns shown."""

import numpy as np
import pytest

from streamgmm.detector.committee import Detector
from streamgmm.detector.sight import WHOLE, Sight
from streamgmm.records import Version
from streamgmm.refit.fitting import cold
from streamgmm.refit.job import MemberSettings

SHOWN = MemberSettings("slow", n_components=1, n_columns=2)
PAST = MemberSettings("temporal", kind="marginals", n_components=2, stems=(0, 1, 0, 1), weight=2.0)


def smooth(rng, n):
    """Two slow waves, with level and activity as hidden columns; the last row's first column stands still."""
    t = np.arange(n)[:, None]
    X = np.sin(t / [37.0, 11.0]) + 0.05 * rng.normal(size=(n, 2))
    activity = np.abs(np.diff(X, axis=0, prepend=X[:1]))
    return np.hstack([X, X, activity])


@pytest.fixture
def committee(rng):
    X = smooth(rng, 2000)
    members = tuple(cold(X, 0.0, settings, np.random.default_rng(0)) for settings in (SHOWN, PAST))
    return Detector(members, Version(1, 0)), X


def test_rows_are_cut_to_what_is_seen(rng):
    X = rng.normal(size=(5, 6))
    assert WHOLE.of(X) is X
    np.testing.assert_array_equal(Sight((0, 1)).of(X), X[:, :2])
    np.testing.assert_array_equal(Sight((2, 5), (0, 1)).of(X), X[:, [2, 5]])
    assert Sight((2, 5), (0, 1)).of(X).flags.c_contiguous


def test_what_is_said_of_the_past_is_averaged_by_column():
    values = np.array([[1.0, 2.0, 30.0, 40.0]])
    np.testing.assert_array_equal(Sight((3, 4, 5, 6), (0, 2, 0, 2)).folded(values, 3), [[15.5, 0.0, 21.0]])
    assert WHOLE.folded(values, 4) is values


@pytest.mark.parametrize("sight", [WHOLE, Sight((0, 1)), Sight((2, 3), (0, 0), 0.0)], ids=str)
def test_it_comes_back_from_arrays(sight):
    assert Sight.from_arrays(sight.to_arrays()) == sight


def test_the_committee_is_the_weighted_mean(committee):
    detector, X = committee
    slow, past = (member.log_density(X) for member in detector.members)
    assert detector.members[1].sight.weight == 2.0
    np.testing.assert_allclose(detector.log_density(X), (slow + 2.0 * past) / 3.0, rtol=1e-12)


def test_who_has_no_say_changes_nothing(committee, rng):
    detector, X = committee
    shuffled = rng.permutation(X[:, :2])
    rows = np.hstack([shuffled, shuffled, np.abs(np.diff(shuffled, axis=0, prepend=shuffled[:1]))])
    silent = cold(rows, 0.0, PAST, np.random.default_rng(0))
    assert silent.sight.weight == 0.0
    alone = Detector((detector.members[0], silent), Version(1, 0))
    np.testing.assert_array_equal(alone.log_density(X), detector.members[0].log_density(X))


def test_a_frozen_column_is_named_by_its_own_name(committee):
    detector, X = committee
    row = X[-1:].copy()
    row[0, 4] = 30.0 * X[:, 4].max()
    (told,) = detector.explain(row, ("a", "b"))
    assert [c.feature for c in told.contributions] == ["a", "b"]
    assert told.contributions[0].surprise > 5.0
    assert told.contributions[0].observed == row[0, 0]
    assert told.member == "slow"


def test_a_detector_comes_back_from_arrays(committee):
    detector, X = committee
    again = Detector.from_arrays(detector.to_arrays())
    np.testing.assert_array_equal(again.log_density(X), detector.log_density(X))


@pytest.mark.parametrize("units", [(1e3, 1e3), (1e3, 1e-2)], ids=str)
def test_log_densities_are_in_the_units_of_the_columns(committee, units):
    detector, X = committee
    factors = np.tile(units, 3)
    members = tuple(cold(X * factors, 0.0, settings, np.random.default_rng(0)) for settings in (SHOWN, PAST))
    shift = Detector(members, Version(1, 0)).log_density(X * factors) - detector.log_density(X)
    np.testing.assert_allclose(shift, -np.log(np.prod(units)), atol=1e-6)
