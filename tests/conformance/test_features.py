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
from streamgmm.features import Rows

NAMES = ("a", "b", "c")
# What a member is built from beside its fields; an option stands here only where the member cannot do without. None
# takes a usual option away.
RIGS = {
    "activity": {"half_life": 3},
    "calendar": {"fields": None, "timezone": "Europe/Berlin"},
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
    spec = {option: value for option, value in spec.items() if value is not None}
    return lambda **more: registry.member("features", request.param).build({**spec, **more}, NAMES)


def of(slot, start=0):
    """Return rows of these slots, an hour and a bit apart from each other."""
    slot = np.asarray(slot, dtype=np.int64)
    return Rows(slot, np.zeros(len(slot), dtype=bool), 1.7e9 + 3700.0 * (start + np.arange(len(slot))))


def test_names_are_unique_and_one_per_column(make, rng):
    feature = make()
    assert len(set(feature.names)) == len(feature.names)
    assert feature.apply(rng.normal(size=(4, 3)), of([0] * 4)).shape == (4, len(feature.names))
    assert feature.apply(np.empty((0, 3)), of([])).shape == (0, len(feature.names))


@pytest.mark.parametrize("wrong", [{"fields": ["d"]}, {"fields": []}, {"fields": "a"}, {"nonsense": 1}])
def test_a_wrong_spec_is_a_config_error(make, wrong):
    with pytest.raises(ConfigError):
        make(**wrong)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(drawn=rows, data=st.data())
def test_blocks_and_restarts_change_nothing(make, drawn, data):
    X, slot = drawn
    before = X.copy()
    whole = make().apply(X, of(slot))
    np.testing.assert_array_equal(X, before)
    assert not np.isinf(whole).any()

    cuts = sorted({0, len(X), *data.draw(st.lists(st.integers(0, len(X)), max_size=4))})
    feature, pieces = make(), []
    for start, stop in pairwise(cuts):
        pieces.append(feature.apply(X[start:stop], of(slot[start:stop], start)))
        state = {key: value.copy() for key, value in feature.state().items()}
        feature = make()
        feature.restore(state)
    np.testing.assert_array_equal(np.concatenate(pieces) if pieces else whole, whole)


@given(drawn=rows)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_slots_do_not_see_each_other_and_gaps_cost_one_row(make, drawn):
    X, slot = drawn
    rows = of(slot)
    whole = make().apply(X, rows)
    for one in np.unique(slot):
        mine = rows.time[slot == one]
        alone = make().apply(X[slot == one], Rows(np.zeros(len(mine), dtype=np.int64), mine < 0, mine))
        np.testing.assert_array_equal(whole[slot == one], alone)
    complete = ~np.isnan(X).any(axis=1)
    assert not np.isnan(whole[complete]).any()


@given(drawn=rows, at=st.integers(0, 12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_slot_that_is_given_away_begins_anew(make, drawn, at):
    X, slot = drawn
    every = of(slot)
    every.fresh[np.flatnonzero(slot == 1)[:1]] = True
    every.fresh[at:][np.flatnonzero(slot[at:] == 1)[:1]] = True
    whole, feature = make().apply(X, every), make()
    before, after = (slot == 1) & (np.arange(len(X)) < at), (slot == 1) & (np.arange(len(X)) >= at)
    for mine in (before, after):
        feature = make()
        alone = feature.apply(
            X[mine],
            every._replace(slot=0 * slot[mine].astype(np.int64), fresh=every.fresh[mine], time=every.time[mine]),
        )
        np.testing.assert_array_equal(whole[mine], alone)


def test_a_state_is_not_changed_by_what_comes_after(make, rng):
    feature = make()
    feature.apply(rng.normal(size=(5, 3)), of([0, 1, 0, 2, 1]))
    state = feature.state()
    frozen = {name: value.copy() for name, value in state.items()}
    feature.apply(rng.normal(size=(5, 3)), of([0, 1, 0, 2, 1]))
    for name, value in frozen.items():
        np.testing.assert_array_equal(state[name], value)
