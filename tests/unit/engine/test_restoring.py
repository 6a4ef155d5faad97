"""A snapshot under settings that were edited since: what matches is kept, what does not is fitted anew at once."""

import time
from dataclasses import replace

import numpy as np
import pytest

from streamgmm.checkpoint import Identity, pack, unpack
from streamgmm.engine.core import Engine
from streamgmm.engine.drive import drive
from streamgmm.engine.settings import EngineSettings
from streamgmm.errors import SnapshotError
from streamgmm.features import Pipeline
from streamgmm.refit.job import MemberSettings
from streamgmm.refit.runners import InlineRunner
from streamgmm.snapshots import NewerFormatError, Snapshot

SLOW = MemberSettings("slow", n_components=3, window=600, refresh_every=100, refit_every=500)
FAST = MemberSettings("fast", n_components=2, window=200, refresh_every=50, refit_every=300)
MARGINALS = MemberSettings("marginals", kind="marginals", n_components=3, window=600)
BEFORE = EngineSettings(("a", "b", "c"), (SLOW, FAST), min_records=200, target_rate=0.01, buffer=1000)
IDENTITY = Identity(BEFORE.names, BEFORE.names, "json", [])


def rows(rng, n, d=3):
    """Return correlated rows of different scales."""
    X = rng.normal(size=(n, d)) @ np.triu(np.full((d, d), 0.5) + np.eye(d))
    return X * 10.0 ** np.arange(d) + 5.0


def alive(settings, X, state=None):
    """Return an engine that has stepped rows, and its p-values and flags."""
    engine = Engine(settings, InlineRunner(time.monotonic), state)
    hashes = np.random.default_rng(len(X)).integers(0, 2**64, len(X), dtype=np.uint64)
    parts = [scored for _, scored in drive(engine, X, np.arange(len(X)) * 10.0, hashes)]
    return engine, np.concatenate([p.p_value for p in parts]), np.concatenate([p.is_anomaly for p in parts])


@pytest.fixture(scope="module")
def saved():
    engine, *_ = alive(BEFORE, rows(np.random.default_rng(7), 2000))
    return pack(engine.state, {}, {}, IDENTITY, "now")


def shape(member):
    return type(member.mixture).__name__, getattr(member.mixture, "covariance_type", ""), member.mixture.n_components


EDITS = {
    "another member": ((SLOW, MARGINALS), {"slow"}),
    "other names, same shape": ((replace(SLOW, name="single"), FAST), {"fast"}),
    "reordered": ((FAST, SLOW), {"slow", "fast"}),
    "one less": ((SLOW,), {"slow"}),
    "one more": ((SLOW, FAST, MARGINALS), {"slow", "fast"}),
    "n_components": ((replace(SLOW, n_components=9), FAST), {"fast"}),
    "covariance_type": ((SLOW, replace(FAST, covariance_type="diag")), {"slow"}),
    "scaling": ((replace(SLOW, scaling="robust"), FAST), {"fast"}),
    "shrinkage": ((replace(SLOW, shrinkage=30.0), FAST), {"fast"}),
    "clip": ((replace(SLOW, clip=4.0), FAST), {"fast"}),
    "pca": ((replace(SLOW, pca_components=2), FAST), {"fast"}),
    "kind": ((replace(MARGINALS, name="slow"), FAST), {"fast"}),
}


@pytest.mark.parametrize(("members", "kept"), EDITS.values(), ids=EDITS)
def test_what_matches_is_kept_and_the_rest_is_fitted_at_once(saved, members, kept):
    settings = replace(BEFORE, members=members)
    before, after = (unpack(saved, s, IDENTITY) for s in (BEFORE, settings))
    old = {member.name: member for member in before.state.detector.members}
    detector = after.state.detector
    assert [m.name for m in detector.members] == [m.name for m in members]
    for member, wanted in zip(detector.members, members, strict=True):
        if wanted.name in kept:
            np.testing.assert_array_equal(member.mixture.means, old[wanted.name].mixture.means)
            continue
        kind = "Marginals" if wanted.kind == "marginals" else "MixtureParameters"
        covariance_type = wanted.covariance_type if kind == "MixtureParameters" else ""
        assert shape(member) == (kind, covariance_type, wanted.n_components)
        assert member.view.clip == wanted.clip
        if wanted.name in old:
            assert not np.array_equal(member.mixture.means, old[wanted.name].mixture.means)
    np.testing.assert_array_equal(after.state.window.rows(), before.state.window.rows())
    assert len(after.state.calibration.recent) == len(before.state.calibration.recent)
    named = " ".join(after.changes)
    assert all(m.name in named for m in members if m.name not in kept)
    if set(old) != {m.name for m in members} or kept != set(old):
        assert after.changes
    # and it goes on: saved again, nothing is left to change
    again = pack(after.state, {}, {}, IDENTITY, "now")
    assert not unpack(again, settings, IDENTITY).changes


@pytest.mark.parametrize("members", [edit[0] for edit in EDITS.values()], ids=EDITS)
def test_the_rate_of_flags_stays_after_an_edit(saved, members):
    settings = replace(BEFORE, members=members)
    _, p, flagged = alive(settings, rows(np.random.default_rng(8), 1000), unpack(saved, settings, IDENTITY).state)
    assert flagged.mean() < 0.04
    assert 0.3 < np.median(p) < 0.7


def test_schedules_and_windows_refit_nothing(saved):
    members = (replace(SLOW, refresh_every=10, refit_every=99, refit_seconds=5.0, window=300), FAST)
    after = unpack(saved, replace(BEFORE, members=members), IDENTITY)
    assert not after.changes
    before = unpack(saved, BEFORE, IDENTITY).state.detector
    assert after.state.detector.version == before.version
    np.testing.assert_array_equal(after.state.detector.members[0].mixture.means, before.members[0].mixture.means)


def test_a_refit_that_was_under_way_for_another_committee_is_dropped(saved):
    settings = replace(BEFORE, members=(SLOW, MARGINALS))
    state = unpack(saved, settings, IDENTITY).state
    assert state.flight is None
    assert state.shadow is None
    assert state.epoch == unpack(saved, BEFORE, IDENTITY).state.epoch + 1


def columns(names, **fields):
    settings = replace(BEFORE, names=names)
    return settings, replace(IDENTITY, fields=fields.pop("inputs", names), columns=names, **fields)


@pytest.mark.parametrize("names", [("c", "a", "b"), ("a", "c"), ("b",), ("a", "b", "c", "new"), ("new", "c")])
def test_columns_that_stay_keep_their_rows(saved, names):
    settings, identity = columns(names)
    before = unpack(saved, BEFORE, IDENTITY).state.window.rows()
    after = unpack(saved, settings, identity)
    window = after.state.window.rows()
    for j, name in enumerate(names):
        expected = before[:, "abc".index(name)] if name in "abc" else np.full(len(before), np.nan)
        np.testing.assert_array_equal(window[:, j], expected)
    assert after.state.detector is not None
    assert all(name in " ".join(after.changes) for name in set("abc") ^ set(names))
    assert not unpack(pack(after.state, {}, {}, identity, "now"), settings, identity).changes


@pytest.mark.parametrize("names", [("c", "a", "b"), ("a", "c")])
def test_a_detector_of_fewer_columns_is_calibrated(saved, names):
    settings, identity = columns(names)
    X = rows(np.random.default_rng(8), 1000)[:, ["abc".index(name) for name in names]]
    _, p, flagged = alive(settings, np.ascontiguousarray(X), unpack(saved, settings, identity).state)
    assert flagged.mean() < 0.04
    assert 0.3 < np.median(p) < 0.7


def test_a_column_that_is_made_otherwise_is_a_new_one(saved):
    settings, identity = columns(("a", "b", "c"), features=[{"type": "log", "fields": ["b"]}])
    window = unpack(saved, settings, identity).state.window.rows()
    assert np.isnan(window).all(axis=0).tolist() == [False, True, False]


def test_derived_columns_are_added_beside_the_old_ones(saved):
    names = ("a", "b", "c", "b.ewma")
    settings, identity = columns(names, inputs=("a", "b", "c"), features=[{"type": "ewma", "fields": ["b"]}])
    window = unpack(saved, settings, identity).state.window.rows()
    assert np.isnan(window).all(axis=0).tolist() == [False, False, False, True]


def without_settings(snapshot):
    """Return a snapshot as they were before they told the settings of the members."""
    manifest = {k: v for k, v in snapshot.manifest.items() if k != "contents"}
    manifest["engine"] = {k: v for k, v in manifest["engine"].items() if k != "members"}
    return Snapshot(snapshot.arrays, manifest)


def test_a_snapshot_that_does_not_tell_the_settings_goes_on(saved):
    old = without_settings(saved)
    assert not unpack(old, BEFORE, IDENTITY).changes
    for members, kept in EDITS.values():
        names = {m.name for m in members} - kept
        changes = " ".join(unpack(old, replace(BEFORE, members=members), IDENTITY).changes)
        told = {m.name for m in members if m.name not in {"slow", "fast"} or m.n_components == 9 or m.kind != "mixture"}
        assert all(name in changes for name in names & told)


def test_derived_columns_of_an_older_snapshot_begin_anew(saved):
    old = without_settings(saved)
    past = Snapshot({**old.arrays, "features.0.past": np.zeros((1, 3, 2))}, old.manifest)
    restored = unpack(past, BEFORE, IDENTITY)
    assert restored.features is None
    assert "begin anew" in " ".join(restored.changes)


def test_newer_contents_are_told_from_damage(saved):
    with pytest.raises(NewerFormatError, match="format 99"):
        unpack(Snapshot(saved.arrays, {**saved.manifest, "contents": 99}), BEFORE, IDENTITY)


def misshapen(array):
    yield None
    yield array.astype(str)
    yield np.array(7.0)
    yield array[..., None]
    if array.dtype == np.float64 and array.ndim:
        yield array.astype(np.float32)
        yield array.astype(np.int64)
    if array.size > 1:
        yield array.ravel()[:-1]
        yield array[:-1]
    if array.size and array.dtype == np.float64:
        yield np.full_like(array, np.nan)


def test_no_array_can_end_a_start_but_by_a_sentence(saved):
    X = rows(np.random.default_rng(9), 150)
    for name, array in saved.arrays.items():
        for other in misshapen(array):
            arrays = {k: v for k, v in saved.arrays.items() if k != name} | ({} if other is None else {name: other})
            try:
                restored = unpack(Snapshot(arrays, saved.manifest, "x"), BEFORE, IDENTITY)
            except SnapshotError:
                continue
            alive(BEFORE, X, restored.state)  # what is taken works


def test_no_manifest_can_end_a_start_but_by_a_sentence(saved):
    X = rows(np.random.default_rng(9), 150)
    engine = saved.manifest["engine"]
    worse = [{k: v for k, v in engine.items() if k != name} for name in engine]
    worse += [engine | {name: other} for name in engine for other in ("x", [], {}, [[1, 2]], 3.5)]
    manifests = [saved.manifest | {"engine": other} for other in worse]
    manifests += [{k: v for k, v in saved.manifest.items() if k != name} for name in saved.manifest]
    manifests += [saved.manifest | {name: other} for name in saved.manifest for other in (None, "x", 3, [3], {"a": 1})]
    for manifest in manifests:
        try:
            restored = unpack(Snapshot(saved.arrays, manifest, "x"), BEFORE, IDENTITY)
        except SnapshotError:
            continue
        alive(BEFORE, X, restored.state)


def test_members_that_do_not_see_the_past_stay_when_it_changes():
    seen = tuple(replace(m, n_columns=3) for m in (SLOW, FAST))
    temporal = replace(MARGINALS, name="temporal", stems=(0, 1, 2, 0, 1, 2), n_columns=0)
    with_past = replace(BEFORE, members=(*seen, temporal), stems=temporal.stems)
    history = {"type": "history", "columns": [0, 1, 2], "half_life": 30.0}
    pipeline = Pipeline.build([history], BEFORE.names)
    X = np.cumsum(rows(np.random.default_rng(7), 2000), axis=0)
    engine, *_ = alive(with_past, pipeline.apply(X, np.arange(2000.0)))
    identity = replace(IDENTITY, features=[history])
    snapshot = pack(engine.state, {}, {}, identity, "now")
    old = engine.state.detector.members
    for settings, other in (
        (BEFORE, IDENTITY),
        (with_past, replace(IDENTITY, features=[{**history, "half_life": 99.0}])),
    ):
        restored = unpack(snapshot, settings, other)
        for before, after in zip(old, restored.state.detector.members[:2], strict=False):
            np.testing.assert_array_equal(before.mixture.means, after.mixture.means)
        past = np.random.default_rng(1).normal(size=(150, settings.width))
        alive(settings, past, restored.state)
    assert not old[2].sight.weight or not restored.state.detector.members[2].sight.weight


def test_a_committee_without_a_past_can_be_given_one(saved):
    temporal = replace(MARGINALS, name="temporal", stems=(0, 1, 2, 0, 1, 2))
    members = (*(replace(m, n_columns=3) for m in (SLOW, FAST)), temporal)
    settings = replace(BEFORE, members=members, stems=temporal.stems)
    identity = replace(IDENTITY, features=[{"type": "history", "columns": [0, 1, 2], "half_life": 30.0}])
    restored = unpack(saved, settings, identity)
    assert [m.sight.weight for m in restored.state.detector.members] == [1.0, 1.0, 0.0]
    alive(settings, np.random.default_rng(1).normal(size=(150, 9)), restored.state)
