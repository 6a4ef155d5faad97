"""A snapshot holds everything that survives a restart, and is refused where it does not belong."""

import time
from dataclasses import replace

import numpy as np
import pytest

from streamgmm.checkpoint import Identity, MismatchError, pack, unpack
from streamgmm.engine.core import Engine
from streamgmm.engine.drive import drive
from streamgmm.engine.settings import EngineSettings
from streamgmm.records import Position, TopicPartition
from streamgmm.refit.job import MemberSettings
from streamgmm.refit.runners import InlineRunner
from streamgmm.snapshots import SnapshotStore

SETTINGS = EngineSettings(
    ("a", "b"),
    (MemberSettings(n_components=2, window=200, refresh_every=40, refit_every=100, category_columns=(1,)),),
    min_records=100,
    step=20,
    span=1.0,
    target_rate=0.05,
    level="adaptive",
    buffer=150,
)
IDENTITY = Identity(("a", "b"), ("a", "b"), "json", [{"type": "log", "fields": ["a"]}])
COVERED = {TopicPartition("t", 1): Position(7, 2), TopicPartition("t", 0): Position(40)}
FEATURES = {"0.last": np.arange(3.0)}


def lived(rng, n):
    """Return the state of an engine after n rows of a fast stream with a category column."""
    engine = Engine(SETTINGS, InlineRunner(time.monotonic))
    X = np.column_stack([rng.normal(size=n), rng.integers(0, 3, n).astype(float)])
    X[::40, 0] += 20.0
    for _ in drive(engine, X, np.arange(n) * 1e-3, rng.integers(0, 2**64, n, dtype=np.uint64)):
        pass
    return engine.state


def same(one, other):
    """Compare two states by what they would write."""
    (arrays, manifest), (others, other_manifest) = one.to_arrays(), other.to_arrays()
    assert manifest == other_manifest
    assert set(arrays) == set(others)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, others[name], err_msg=name)
        assert array.dtype == others[name].dtype, name


@pytest.mark.parametrize("n", [0, 1, 30, 99, 100, 130, 333, 901, 2000])
def test_a_state_comes_back_from_disk_as_it_was(rng, tmp_path, n):
    state = lived(rng, n)
    store = SnapshotStore(tmp_path)
    store.save(pack(state, FEATURES, COVERED, IDENTITY, "now"))
    again = unpack(store.newest(), SETTINGS, IDENTITY)
    same(again.state, state)
    assert again.covered == COVERED
    np.testing.assert_array_equal(again.features["0.last"], FEATURES["0.last"])


def test_the_states_above_hold_what_they_should(rng):
    states = [lived(rng, n) for n in (333, 901, 2000)]
    assert any(s.incident is not None for s in states)
    assert any(s.step.learnt for s in states)
    assert any(s.thinning.calibration < 1.0 for s in states)
    assert all(s.detector.members[0].view.counted for s in states)


def test_every_phase_of_a_refit_comes_back():
    phases = set()
    for n in range(100, 420, 20):
        state = lived(np.random.default_rng(3), n)
        phases |= {"flight"} if state.flight else set()
        phases |= {"shadow"} if state.shadow else set()
        snapshot = pack(state, {}, {}, IDENTITY, "now")
        same(unpack(snapshot, SETTINGS, IDENTITY).state, state)
    assert phases == {"flight", "shadow"}


def test_what_a_snapshot_holds_does_not_change_afterwards(rng):
    engine = Engine(SETTINGS, InlineRunner(time.monotonic))
    blocks = [np.column_stack([rng.normal(size=50), rng.integers(0, 3, 50).astype(float)]) for _ in range(20)]
    snapshots = []
    for i, X in enumerate(blocks):
        for _ in drive(engine, X, np.full(50, np.nan), np.arange(50 * i, 50 * i + 50, dtype=np.uint64)):
            pass
        snapshot = pack(engine.state, {}, {}, IDENTITY, "now")
        snapshots.append((snapshot, {k: v.copy() for k, v in snapshot.arrays.items()}))
    for snapshot, copies in snapshots:
        for name, array in copies.items():
            np.testing.assert_array_equal(snapshot.arrays[name], array)


def test_a_smaller_window_and_buffer_keep_the_newest(rng):
    state = lived(rng, 901)
    smaller = replace(SETTINGS, buffer=60, members=(replace(SETTINGS.members[0], window=50),))
    again = unpack(pack(state, {}, {}, IDENTITY, "now"), smaller, IDENTITY).state
    np.testing.assert_array_equal(again.window.rows(), state.window.rows()[-50:])
    np.testing.assert_array_equal(again.calibration.recent, state.calibration.recent[-60:])


@pytest.mark.parametrize(
    "other",
    [
        replace(IDENTITY, codec="float32"),
        Identity(("c", "d"), ("c", "d"), "json", []),
        replace(IDENTITY, features=[{"type": "clip", "fields": ["a"], "max": 1.0}], categories=("b",)),
    ],
    ids=["codec", "fields", "all columns mean something else"],
)
def test_a_snapshot_of_another_stream_is_refused(rng, other):
    snapshot = pack(lived(rng, 120), {}, {}, IDENTITY, "now")
    with pytest.raises(MismatchError) as error:
        unpack(snapshot, replace(SETTINGS, names=tuple(other.columns)), other)
    assert "cold_start" in error.value.hint


def test_the_manifest_names_the_model(rng):
    before, after = (pack(lived(rng, n), {}, {}, IDENTITY, "now").manifest["model_version"] for n in (50, 110))
    assert before is None
    assert after == "1.0"


def test_a_field_that_became_a_category_is_a_new_column(rng):
    snapshot = pack(lived(rng, 130), FEATURES, COVERED, IDENTITY, "now")
    again = unpack(snapshot, SETTINGS, replace(IDENTITY, categories=("b",)))
    assert any("does not know: b" in line for line in again.changes)
    assert np.isnan(again.state.window.rows()[:, 1]).all()
    snapshot.manifest.pop("categories")
    assert not unpack(snapshot, SETTINGS, IDENTITY).changes
