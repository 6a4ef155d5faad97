"""Every derived column: blocks, restarts and other entities' rows change nothing, and nothing infinite comes out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamgmm import registry
from streamgmm.errors import ConfigError

NAMES = ("a", "b", "c")
# What a member is built from; an option stands here only where the member cannot do without.
RIGS = {
    "clip": {"min": -1.0, "max": 1.0},
    "difference": {},
    "ewma": {"half_life": 3},
    "lag": {"steps": 2},
    "log": {},
    "select": {"rename": {"a": "z"}},
}

cell = st.one_of(st.just(np.nan), st.floats(allow_nan=False, allow_infinity=False), st.floats(-10, 10))
rows = st.integers(0, 12).flatmap(
    lambda n: st.tuples(arrays(float, (n, 3), elements=cell), arrays(np.int32, n, elements=st.integers(0, 2)))
)


@pytest.fixture(params=registry.names("features"))
def make(request, rig_of):
    spec = {"type": request.param, "fields": ["a", "c"], **rig_of("features", request.param, RIGS)}
    return lambda **more: registry.member("features", request.param).build({**spec, **more}, NAMES)


def test_names_are_unique_and_one_per_column(make, rng):
    feature = make()
    assert len(set(feature.names)) == len(feature.names)
    assert feature.apply(rng.normal(size=(4, 3)), np.zeros(4, dtype=np.int32)).shape == (4, len(feature.names))
    assert feature.apply(np.empty((0, 3)), np.empty(0, dtype=np.int32)).shape == (0, len(feature.names))


@pytest.mark.parametrize("wrong", [{"fields": ["d"]}, {"fields": []}, {"fields": "a"}, {"nonsense": 1}])
def test_a_wrong_spec_is_a_config_error(make, wrong):
    with pytest.raises(ConfigError):
        make(**wrong)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=rows, data=st.data())
def test_blocks_and_restarts_change_nothing(make, drawn, data):
    X, slot = drawn
    before = X.copy()
    whole = make().apply(X, slot)
    np.testing.assert_array_equal(X, before)
    assert not np.isinf(whole).any()

    cuts = sorted({0, len(X), *data.draw(st.lists(st.integers(0, len(X)), max_size=4))})
    feature, pieces = make(), []
    for start, stop in pairwise(cuts):
        pieces.append(feature.apply(X[start:stop], slot[start:stop]))
        state = {key: value.copy() for key, value in feature.state().items()}
        feature = make()
        feature.restore(state)
    np.testing.assert_array_equal(np.concatenate(pieces) if pieces else whole, whole)


@given(drawn=rows)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_slots_do_not_see_each_other_and_gaps_cost_one_row(make, drawn):
    X, slot = drawn
    whole = make().apply(X, slot)
    for one in np.unique(slot):
        alone = make().apply(X[slot == one], np.zeros((slot == one).sum(), dtype=np.int32))
        np.testing.assert_array_equal(whole[slot == one], alone)
    complete = ~np.isnan(X).any(axis=1)
    assert not np.isnan(whole[complete]).any()
