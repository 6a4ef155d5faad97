"""Snapshots: named arrays and a manifest, written so that a kill at any moment leaves a whole one to read."""

from streamgmm.snapshots.format import FORMAT, NewerFormatError, Snapshot, understood
from streamgmm.snapshots.store import SnapshotStore

__all__ = ["FORMAT", "NewerFormatError", "Snapshot", "SnapshotStore", "understood"]
