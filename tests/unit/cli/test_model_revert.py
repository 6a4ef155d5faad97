"""`model revert`: the detector of an earlier snapshot, everything else of the newest."""

import numpy as np
import pytest

from streamgmm import assembly, checkpoint, cli
from streamgmm.cli._arguments import read_config
from streamgmm.engine.state import Shadow
from streamgmm.offline import history
from streamgmm.offline.model import open_model
from streamgmm.records import Version
from streamgmm.snapshots import Snapshot, SnapshotStore

FIELDS = ("a", "b")


def revert(store, version):
    return cli.main(["model", "revert", str(store.directory), version])


def fitted(rng, scale, version, config):
    found = history.fit(config, FIELDS, rng.normal(scale=scale, size=(300, 2)))
    found.state.detector = found.state.detector.with_member(0, found.state.detector.members[0], version)
    return found


@pytest.fixture
def config():
    return read_config(None)


@pytest.fixture
def store(rng, tmp_path, config):
    """Two models of different widths; the second one was judging a candidate."""
    store = SnapshotStore(tmp_path / "state")
    store.save(fitted(rng, 1.0, Version(1, 0), config).snapshot("then"))
    latter = fitted(rng, 5.0, Version(2, 7), config)
    state = latter.state
    state.shadow = Shadow(3, "refit", (0,), state.detector.members[:1], np.zeros(4), np.zeros(4))
    state.epoch = 4
    store.save(latter.snapshot("now"))
    return store


@pytest.mark.parametrize("version", ["00000001", "1.0"])
def test_the_former_detector_serves_under_a_new_version(store, version, capsys):
    then, now = (open_model(store.directory, name) for name in store.names())
    assert revert(store, version) == 0
    assert capsys.readouterr().out.endswith(f"snapshot 00000003, model 3.0, from {version}\n")
    back = open_model(store.directory)
    assert (back.name, back.detector.version) == ("00000003", Version(3, 0))
    x = np.array([[0.5, -2.0], [4.0, 4.0]])
    np.testing.assert_array_equal(back.detector.log_density(x), then.detector.log_density(x))
    np.testing.assert_array_equal(back.window, now.window)
    np.testing.assert_array_equal(back.calibration.recent, now.calibration.recent)
    assert store.manifest("00000003")["parent"] == {"snapshot": "00000001", "model_version": "1.0"}
    assert cli.main(["model", "list", str(store.directory)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("from 00000001")


def test_a_daemon_goes_on_from_it_and_forgets_what_was_under_way(store, config):
    assert revert(store, "1.0") == 0
    columns = assembly.pipeline(config, FIELDS)
    settings = assembly.engine_settings(config, columns.names, stems=columns.stems)
    restored = checkpoint.unpack(store.newest(), settings, history.identity(config, columns))
    assert restored.state.detector.version == Version(3, 0)
    assert (restored.state.shadow, restored.state.flight, restored.state.comparable) == (None, None, None)
    assert restored.state.epoch == 5


def test_nothing_is_thrown_away(store):
    for _ in range(7):
        assert revert(store, "00000001") == 0
    assert len(store.names()) == 9


def test_what_cannot_be_reverted_to_is_told(store, capsys):
    assert revert(store, "7.0") == 1
    assert "no snapshot in" in capsys.readouterr().err
    whole = store.load("00000001")
    store.save(Snapshot(whole.arrays, {**whole.manifest, "fields": ["c", "d"]}))
    assert revert(store, "00000002") == 1
    assert "was made with other fields than 00000003" in capsys.readouterr().err
    bare = {name: array for name, array in whole.arrays.items() if "detector" not in name}
    store.save(Snapshot(bare, {**whole.manifest, "model_version": None}))
    assert revert(store, "00000001") == 1
    assert "it was written before the first fit" in capsys.readouterr().err


def test_the_members_must_be_the_same(store, tmp_path, rng, capsys):
    (tmp_path / "config.yaml").write_text("model: {committee: single}")
    store.save(history.fit(read_config(tmp_path / "config.yaml"), FIELDS, rng.normal(size=(300, 2))).snapshot("now"))
    assert revert(store, "1.0") == 0  # its newest snapshot: the single one
    assert revert(store, "2.7") == 1
    assert "has the members slow, fast, marginals, temporal, and 00000004 single" in capsys.readouterr().err


def test_a_folder_in_use_is_left_alone(store, capsys):
    with store.lock():
        assert revert(store, "1.0") == 1
    assert "is in use by process" in capsys.readouterr().err
    assert len(store.names()) == 2
