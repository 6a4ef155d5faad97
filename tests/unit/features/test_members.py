"""What each derived column says, and what it refuses to be built from."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from streamgmm import registry
from streamgmm.errors import ConfigError
from streamgmm.features import Pipeline
from streamgmm.features._zones import Zone
from streamgmm.records import ByteColumn

NAN = np.nan
NAMES = ("a", "b")


def apply(spec, X, keys=None, time=None):
    pipeline = Pipeline.build([spec], NAMES)
    column = None if keys is None else ByteColumn.from_values(keys)
    return pipeline.names, pipeline.apply(np.array(X, dtype=float), time, column)


def test_select_keeps_orders_and_renames():
    names, out = apply({"type": "select", "fields": ["b", "a"], "rename": {"b": "load"}}, [[1, 2]])
    assert names == ("load", "a")
    assert out.tolist() == [[2, 1]]
    assert out.flags.c_contiguous


def test_log_keeps_the_sign_and_what_is_missing():
    names, out = apply(
        {"type": "log", "fields": ["b"]}, [[1, np.e - 1], [1, 1 - np.e], [1, 0], [1, NAN], [1, -1.7e308]]
    )
    assert names == NAMES
    np.testing.assert_allclose(out[:, 1], [1, -1, 0, NAN, -np.log(1.7e308)])
    assert (out[:, 0] == 1).all()


def test_clip_limits_on_one_side_or_both():
    rows = [[-5, 0], [0, 0], [5, 0], [NAN, 0]]
    for options, expected in (({"min": -1}, [-1, 0, 5, NAN]), ({"max": 1, "min": -1.5}, [-1.5, 0, 1, NAN])):
        _, out = apply({"type": "clip", "fields": ["a"], **options}, rows)
        np.testing.assert_array_equal(out[:, 0], expected)


def test_difference_is_zero_at_first_and_spans_gaps():
    names, out = apply({"type": "difference", "fields": ["a"]}, [[1, 0], [4, 0], [NAN, 0], [5, 0], [5, NAN]])
    assert names == ("a", "b", "a.difference")
    np.testing.assert_array_equal(out[:, 2], [0, 3, NAN, 1, 0])


def test_difference_never_overflows_to_infinity():
    _, out = apply({"type": "difference", "fields": ["a"]}, [[-1.7e308, 0], [1.7e308, 0]])
    assert np.isfinite(out).all()


def test_lag_gives_own_values_until_there_is_a_past():
    names, out = apply({"type": "lag", "fields": ["a"], "steps": 2}, [[1, 0], [2, 0], [NAN, 0], [4, 0], [5, 0]])
    assert names == ("a", "b", "a.lag2")
    np.testing.assert_array_equal(out[:, 2], [1, 2, 1, 2, 2])
    assert apply({"type": "lag", "fields": ["a"]}, [[1, 0]])[0][-1] == "a.lag"


def test_ewma_measures_against_the_rows_before():
    names, out = apply({"type": "ewma", "fields": ["a"], "half_life": 1}, [[4, 0], [8, 0], [NAN, 0], [8, 0], [8, 0]])
    assert names[-1] == "a.ewma"
    np.testing.assert_allclose(out[:, 2], [0, 4, NAN, 2, 1])


def test_a_half_life_is_one():
    steps = 50
    _, out = apply({"type": "ewma", "fields": ["a"], "half_life": steps}, [[0, 0]] + [[1, 0]] * (steps + 1))
    assert out[-1, 2] == pytest.approx(0.5)


def test_activity_tells_level_and_movement():
    rows = [[4, 0], [8, 0], [NAN, 0], [7, 0], [7, 0]]
    names, out = apply({"type": "activity", "fields": ["a", "b"], "half_life": 1}, rows)
    assert names[2:] == ("a.level", "b.level", "a.activity", "b.activity")
    np.testing.assert_allclose(out[:, 2], [4, 6, NAN, 6.5, 6.75])
    np.testing.assert_allclose(out[:, 4], [0, 4, NAN, 2.5, 1.25])
    assert (out[:, [3, 5]] == 0).all()


def test_activity_is_as_in_the_slow_twin(rng):
    X = rng.normal(size=(200, 2))
    X[rng.random(X.shape) < 0.1] = NAN
    _, out = apply({"type": "activity", "fields": ["a", "b"], "half_life": 7}, X)
    keep = 0.5 ** (1 / 7)
    for j in range(2):
        known = X[~np.isnan(X[:, j]), j]
        level, activity = [known[0]], [0.0, abs(known[1] - known[0])]
        for x in known[1:]:
            level.append(keep * level[-1] + (1 - keep) * x)
        for before, x in pairwise(known[1:]):
            activity.append(keep * activity[-1] + (1 - keep) * abs(x - before))
        np.testing.assert_allclose(out[~np.isnan(X[:, j])][:, [2 + j, 4 + j]], np.column_stack([level, activity]))


def test_a_frozen_sensor_shows_in_its_activity(rng):
    walk = np.sin(np.arange(600) / 5.0) + 0.1 * rng.normal(size=600)
    walk[400:450] = walk[400]
    _, out = apply({"type": "activity", "fields": ["a"], "half_life": 10}, np.column_stack([walk, walk]))
    assert out[449, 3] < 0.2 * out[50:400, 3].min()
    assert out[50:400, 0].min() < walk[449] < out[50:400, 0].max(), "the value by itself is nothing special"


@pytest.mark.parametrize("kind", ["ewma", "activity"])
def test_means_survive_what_overflows(kind):
    _, out = apply(
        {"type": kind, "fields": ["a"], "half_life": 2}, [[-1.7e308, 0], [1.7e308, 0], [-1.7e308, 0], [0, 0]]
    )
    assert np.isfinite(out).all()


@pytest.mark.parametrize("wild", [65535.0, -1e6, 1.8e19, 1e155, 1.7e308, -1.7e308])
@pytest.mark.parametrize("kind", ["ewma", "activity"])
def test_a_wild_reading_is_forgotten_within_a_few_half_lives(kind, wild, rng):
    x = np.column_stack([10.0 + rng.normal(size=800), np.zeros(800)])
    spec = {"type": kind, "fields": ["a"], "half_life": 30}
    _, clean = apply(spec, x)
    x[300:302, 0] = wild
    _, out = apply(spec, x)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out[600:, 2:], clean[600:, 2:], atol=0.1)


@pytest.mark.parametrize("kind", ["ewma", "activity"])
def test_a_lasting_change_is_followed_however_large(kind, rng):
    x = np.column_stack([rng.normal(size=600), np.zeros(600)])
    x[300:, 0] += 1e6
    _, out = apply({"type": kind, "fields": ["a"], "half_life": 10}, x)
    level = x[600 - 1, 0] - out[-1, 2] if kind == "ewma" else out[-1, 2]
    assert level == pytest.approx(1e6, rel=1e-4)


@pytest.mark.parametrize("kind", ["difference", "lag", "ewma", "activity"])
def test_every_key_has_a_past_of_its_own_unless_the_stream_has_one(kind, rng):
    X = rng.normal(size=(60, 2))
    key = rng.choice(["m1", "m2", "mü"], size=60)
    spec = {"type": kind, "fields": ["a", "b"]}
    _, mixed = apply(spec, X, [k.encode() for k in key])
    for one in np.unique(key):
        np.testing.assert_array_equal(mixed[key == one], apply(spec, X[key == one])[1])
    _, together = apply({**spec, "by": "stream"}, X, [k.encode() for k in key])
    np.testing.assert_array_equal(together, apply(spec, X)[1])
    assert (together != mixed).any()


def test_the_calendar_follows_the_zone_and_its_summer():
    spec = {"type": "calendar", "timezone": "Europe/Berlin"}
    noon = [1704106800.0, 1719828000.0]  # 12:00 in Berlin, both Mondays, in winter and in summer
    names, out = apply(spec, [[0, 0], [0, 0], [0, 0]], time=np.array([*noon, NAN]))
    assert names == (*NAMES, "hour.sin", "hour.cos", "weekday.sin", "weekday.cos")
    half, day = np.pi, 2 * np.pi / 7
    np.testing.assert_allclose(
        out[:2, 2:], [[np.sin(half), np.cos(half), np.sin(day / 2), np.cos(day / 2)]] * 2, atol=1e-9
    )
    assert np.isnan(out[2, 2:]).all()
    assert (out[:, :2] == 0).all()


@pytest.mark.parametrize(
    "name", ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Africa/Casablanca"]
)
def test_local_time_is_what_the_standard_library_says(name, rng):
    seconds = np.floor(rng.uniform(0, 4e9, 3000))
    expected = [datetime.fromtimestamp(s, ZoneInfo(name)).replace(tzinfo=UTC).timestamp() for s in seconds]
    np.testing.assert_array_equal(Zone(name).local(seconds), expected)


def test_a_wild_time_is_no_error():
    _, out = apply({"type": "calendar"}, [[0, 0]] * 3, time=np.array([-1e300, 1e300, 1e15]))
    assert np.isfinite(out).all()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"type": "log", "fields": ["c"]}, "no column 'c'"),
        ({"type": "log", "fields": []}, "list of column names"),
        ({"type": "log"}, "list of column names"),
        ({"type": "log", "fields": "a"}, "list of column names"),
        ({"type": "log", "fields": ["a", "a"]}, "named twice"),
        ({"type": "log", "fields": ["a"], "base": 2}, "unknown option 'base'"),
        ({"type": "lag", "fields": ["a"], "step": 2}, "did you mean 'steps'"),
        ({"type": "lag", "fields": ["a"], "steps": 0}, "from 1 on, got 0"),
        ({"type": "lag", "fields": ["a"], "steps": True}, "from 1 on, got True"),
        ({"type": "clip", "fields": ["a"]}, "needs min"),
        ({"type": "clip", "fields": ["a"], "min": 2, "max": 1}, "must be below"),
        ({"type": "clip", "fields": ["a"], "min": "low"}, "finite number"),
        ({"type": "ewma", "fields": ["a"], "half_life": 0}, "above 0"),
        ({"type": "ewma", "fields": ["a"], "half_life": float("inf")}, "above 0"),
        ({"type": "activity", "fields": ["a"], "half_life": True}, "above 0"),
        ({"type": "activity", "fields": ["a"], "steps": 2}, "unknown option 'steps'"),
        ({"type": "lag", "fields": ["a"], "by": "host"}, "key or stream"),
        ({"type": "calendar", "timezone": "Europe/Bärlin"}, "no time zone"),
        ({"type": "calendar", "timezone": "../secrets"}, "no time zone"),
        ({"type": "calendar", "parts": []}, "hour and weekday"),
        ({"type": "calendar", "parts": ["year"]}, "hour and weekday"),
        ({"type": "calendar", "parts": ["hour", "hour"]}, "hour and weekday"),
        ({"type": "calendar", "fields": ["a"]}, "unknown option 'fields'"),
        ({"type": "select", "fields": ["a"], "rename": {"b": "c"}}, "not kept"),
        ({"type": "select", "fields": ["a", "b"], "rename": {"b": "a"}}, "same name"),
        ({"type": "nothing", "fields": ["a"]}, "not one of the features"),
    ],
)
def test_a_wrong_spec_is_refused_with_its_position(spec, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Pipeline.build([{"type": "log", "fields": ["a"]}, spec], NAMES)
    assert "features[1]" in str(caught.value)


def test_a_derived_column_is_not_made_twice():
    spec = {"type": "difference", "fields": ["a"]}
    with pytest.raises(ConfigError, match=r"already a column 'a\.difference'"):
        Pipeline.build([spec, spec], NAMES)


def test_a_pipeline_hands_names_and_columns_on():
    pipeline = Pipeline.build(
        [
            {"type": "difference", "fields": ["a"]},
            {"type": "log", "fields": ["a.difference"]},
            {"type": "select", "fields": ["a.difference", "b"]},
        ],
        NAMES,
    )
    assert pipeline.names == ("a.difference", "b")
    assert pipeline.n_inputs == 2
    np.testing.assert_allclose(pipeline.apply(np.array([[0.0, 1], [1, 1]])), [[0, 1], [np.log(2), 1]])


def test_identity_changes_nothing(rng):
    X = rng.normal(size=(3, 2))
    pipeline = Pipeline.identity(NAMES)
    assert pipeline.apply(X) is X
    assert pipeline.names == NAMES
    assert pipeline.state() == {}
    pipeline.restore({})


def test_a_state_is_not_changed_by_what_comes_after(rng):
    specs = [{"type": kind, "fields": ["a"]} for kind in ("difference", "lag", "ewma", "activity")]
    pipeline = Pipeline.build(specs, NAMES)
    pipeline.apply(rng.normal(size=(5, 2)))
    state = pipeline.state()
    frozen = {key: value.copy() for key, value in state.items()}
    X = rng.normal(size=(5, 2))
    first = pipeline.apply(X)
    for key, value in frozen.items():
        np.testing.assert_array_equal(state[key], value)
    pipeline.restore(state)
    np.testing.assert_array_equal(pipeline.apply(X), first)


def test_every_member_is_tried_here():
    assert registry.names("features") == ("activity", "calendar", "clip", "difference", "ewma", "lag", "log", "select")


@pytest.mark.parametrize("kind", ["ewma", "activity"])
@pytest.mark.parametrize("wild", [1e6, 1.8e19, -1.7e308])
@pytest.mark.parametrize("rows", [1, 5])
def test_means_wait_for_what_may_be_no_measurement(rng, kind, wild, rows):
    clean = rng.normal(10.0, 1.0, size=(400, 1))
    spoilt = clean.copy()
    spoilt[100 : 100 + rows] = wild
    spec = {"type": kind, "fields": ["a"], "half_life": 30}
    one, other = (apply(spec, np.hstack([X, X]))[1][:, 2:] for X in (clean, spoilt))
    assert (np.abs(other[100 : 100 + rows, 0]) > 1e3).all()  # the row itself shows it
    np.testing.assert_allclose(other[140:], one[140:], atol=1.0)


@pytest.mark.parametrize("kind", ["ewma", "activity"])
def test_means_follow_what_lasts(rng, kind):
    X = rng.normal(size=(400, 2))
    X[100:] += 1e6
    _, out = apply({"type": kind, "fields": ["a"], "half_life": 10}, X)
    assert out[399, 2] == pytest.approx(1e6 if kind == "activity" else 0.0, abs=10.0)
