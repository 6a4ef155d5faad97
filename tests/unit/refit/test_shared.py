"""Members that see the same share what they see; the others see what they would see alone."""

from dataclasses import replace

import numpy as np
import pytest

from streamgmm.detector.view import View
from streamgmm.refit.fitting import cold, warm
from streamgmm.refit.job import MemberSettings
from streamgmm.refit.shared import Shared

SETTINGS = MemberSettings(n_components=2)


@pytest.fixture(name="X")
def some_rows(rng):
    return rng.normal(size=(200, 3)) * [1.0, 50.0, 1e-3]


def test_equal_histories_share_a_view_and_its_features(X):
    shared = Shared()
    one, other = (View.fit(X[:100], 30.0, ()) for _ in range(2))
    view = shared.view(X, SETTINGS, one)
    assert shared.view(X, replace(SETTINGS, kind="marginals", floor=0.5), other) is view
    assert shared.features(X, view, 0.0) is shared.features(X, view, np.nan)


@pytest.mark.parametrize("change", [{"clip": 2.0}, {"scaling": "robust"}, {"count_few": False}])
def test_other_wishes_are_another_view(X, change):
    shared = Shared()
    assert shared.view(X, SETTINGS, None) is not shared.view(X, replace(SETTINGS, **change), None)


def test_other_rows_or_another_history_are_another_view(X):
    shared, before = Shared(), View.fit(X[:100], 30.0, ())
    view = shared.view(X, SETTINGS, before)
    assert shared.view(X[100:], SETTINGS, before) is not view
    assert shared.view(X, SETTINGS, View.fit(X[100:], 30.0, ())) is not view
    assert shared.view(X, SETTINGS, None) is not view


@pytest.mark.parametrize("counted", [False, True])
def test_a_refresh_is_the_same_alone_and_in_company(rng, X, counted):
    if counted:
        X[:, 1] = rng.integers(0, 2, 200)
    settings = SETTINGS, replace(SETTINGS, kind="marginals")
    members = [cold(X[:150], 0.0, s, rng) for s in settings]
    shared = Shared()
    for member, s in zip(members, settings, strict=True):
        alone, together = warm(member, X, 0.0, s, 1), warm(member, X, 0.0, s, 1, shared=shared)
        np.testing.assert_array_equal(alone.mixture.means, together.mixture.means)
        np.testing.assert_array_equal(alone.log_density(X), together.log_density(X))
