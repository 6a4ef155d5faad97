"""Back to a model of the past: a new snapshot that has its detector, and all else of the newest one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamgmm.detector.committee import Detector
from streamgmm.errors import SnapshotError, StopError
from streamgmm.offline.model import existing
from streamgmm.records import Version
from streamgmm.snapshots import Snapshot, SnapshotStore, understood

if TYPE_CHECKING:
    from pathlib import Path

_DETECTOR = "engine.detector."
# What was made by or for the detector that goes: maps of scores, and a candidate that was judged against it.
_ITS_OWN = (_DETECTOR, "engine.comparable.", "engine.shadow")


def revert(directory: Path | str, version: str, created: str) -> tuple[str, Version]:
    """Save a snapshot with the detector of an earlier one, and return its name and the detector's new version.

    Window, calibration and covered offsets stay those of the newest intact snapshot: nothing is read or learnt twice.
    The manifest names the parent.

    Parameters
    ----------
    version
        The name of a snapshot, or the version of a model: its newest snapshot is meant.

    Raises
    ------
    SnapshotError
        There is none such, or it is damaged.
    StopError
        A daemon owns the folder, or the two differ in what they read or in their members.
    """
    found = existing(directory)
    # Nothing is thrown away here: how many are kept is the daemon's to say.
    store = SnapshotStore(directory, keep=len(found.names()) + 1)
    with store.lock():
        newest = store.newest()
        if newest is None:
            raise SnapshotError(f"every snapshot in {directory} is damaged", hint="run streamgmm model verify")
        snapshot = _reverted(newest, store.load(_named(store, version)), created)
        return store.save(snapshot), Version(*(int(v) for v in snapshot.arrays[f"{_DETECTOR}version"]))


def _named(store: SnapshotStore, version: str) -> str:
    if version in store.names():
        return version
    intact: dict[str, str] = {}
    for name in store.names():
        try:
            intact[str(store.manifest(name).get("model_version"))] = name
        except SnapshotError:
            continue
    if version not in intact:
        raise SnapshotError(
            f"no snapshot in {store.directory} is called {version!r} or holds that version of the model",
            hint="streamgmm model list shows all of them",
        )
    return intact[version]


def _reverted(newest: Snapshot, parent: Snapshot, created: str) -> Snapshot:
    detectors = [_detector(snapshot) for snapshot in (newest, parent)]
    now, then = ([member.name for member in detector.members] for detector in detectors)
    if now != then:
        raise StopError(
            f"snapshot {parent.name} has the members {', '.join(then)}, and {newest.name} {', '.join(now)}",
            hint="both must have the same members",
        )
    for what in ("fields", "columns", "codec", "features"):
        if newest.manifest[what] != parent.manifest[what]:
            raise StopError(f"snapshot {parent.name} was made with other {what} than {newest.name}")
    version = Version(detectors[0].version.promotion + 1, 0)
    arrays = {name: array for name, array in newest.arrays.items() if not name.startswith(_ITS_OWN)}
    arrays |= {name: array for name, array in parent.arrays.items() if name.startswith(_DETECTOR)}
    arrays |= {f"{_DETECTOR}version": np.array(version), "engine.step.shadow": np.empty(0)}
    engine = dict(newest.manifest["engine"])
    # Whatever is under way was begun for the detector that goes: the epoch makes it stale.
    engine |= {"shadow": None, "flight": None, "epoch": engine["epoch"] + 1}
    manifest: dict[str, Any] = dict(newest.manifest) | {
        "created": created,
        "model_version": str(version),
        "engine": engine,
        "parent": {"snapshot": parent.name, "model_version": parent.manifest["model_version"]},
    }
    return Snapshot(arrays, manifest)


def _detector(snapshot: Snapshot) -> Detector:
    arrays = {n.removeprefix(_DETECTOR): a for n, a in snapshot.arrays.items() if n.startswith(_DETECTOR)}
    if not arrays:
        raise SnapshotError(f"snapshot {snapshot.name} contains no model: it was written before the first fit")
    with understood(snapshot.name):
        return Detector.from_arrays(arrays)
