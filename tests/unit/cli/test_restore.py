"""A start from snapshots of which the newest one makes no detector."""

import json

import numpy as np
import pytest

from streamgmm import cli
from streamgmm.snapshots import SnapshotStore

FIELDS = ["temperature", "pressure", "flow"]


@pytest.fixture
def started(tables, single, tmp_path, capsys):
    """Return a function that copies a snapshot, whole and with damage to its values, and runs the daemon over it."""

    def run(*stored, **state):
        store, whole = SnapshotStore(tmp_path / "state"), SnapshotStore(single).newest()
        for change in stored:
            arrays = {name: change(name, array) for name, array in whole.arrays.items()}
            store.save(type(whole)({name: a for name, a in arrays.items() if a is not None}, whole.manifest))
        config = {
            "source": {"type": "file", "path": str(tables / "history.csv"), "offsets_path": str(tmp_path / "offsets")},
            "codec": {"fields": FIELDS},
            "model": {"committee": "single"},
            "sinks": [{"type": "file", "path": str(tmp_path / "out.jsonl")}],
            "dead_letters": {"type": "file", "path": str(tmp_path / "dead.jsonl")},
            "state": {"dir": str(tmp_path / "state"), **state},
            "http": {"listen": None},
        }
        (tmp_path / "run.yaml").write_text(json.dumps(config))
        code = cli.main(["run", "-c", str(tmp_path / "run.yaml"), "--until-end"])
        return code, capsys.readouterr().err

    return run


def whole(_, array):
    return array


def nowhere(name, array):
    return np.full_like(array, np.nan) if name.endswith("means") else array


def without_weights(name, array):
    return None if name.endswith("weights") else array


@pytest.mark.parametrize("damage", [nowhere, without_weights])
def test_an_older_snapshot_is_tried(started, damage):
    code, log = started(whole, damage)
    assert code == 0
    assert "skipped a snapshot: snapshot 00000002 cannot be loaded" in log
    assert "restored model 1.0" in log


@pytest.mark.parametrize("damage", [nowhere, without_weights])
def test_the_policy_is_asked_where_none_can_be_loaded(started, damage):
    code, log = started(damage)
    assert code == 78
    assert "snapshot 00000001 cannot be loaded" in log
    assert "state.on_mismatch: cold_start" in log
    code, log = started(on_mismatch="cold_start")
    assert code == 0
    assert "starting cold: snapshot 00000001 cannot be loaded" in log
