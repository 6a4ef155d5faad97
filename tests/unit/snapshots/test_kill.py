"""A writer killed at any moment never leaves the folder without a readable newest snapshot."""

from __future__ import annotations

import signal
import subprocess
import sys

from streamgmm.snapshots import SnapshotStore

WRITER = """
import sys
import numpy as np
from streamgmm.snapshots import Snapshot, SnapshotStore

store = SnapshotStore(sys.argv[1], keep=3)
lock = store.lock()
newest = store.newest()
i = newest.manifest["i"] if newest else 0
while True:
    i += 1
    store.save(Snapshot({"x": np.full(50_000, float(i))}, {"i": i}))
    print(i, flush=True)
"""
KILLS = 12


def test_kill_9_never_loses_a_snapshot_that_was_acknowledged(tmp_path, rng):
    folder = tmp_path / "state"
    acknowledged = 0
    for _ in range(KILLS):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True) as writer:
            for _ in range(int(rng.integers(1, 8))):
                acknowledged = int(writer.stdout.readline())
            # A spin of random length, far below one save's duration, so that the kill falls anywhere inside it.
            sum(range(int(rng.integers(200_000))))
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read().split()
        acknowledged = int(rest[-1]) if rest else acknowledged
        store = SnapshotStore(folder)
        newest = store.newest()
        assert newest.manifest["i"] in {acknowledged, acknowledged + 1}
        assert (newest.arrays["x"] == newest.manifest["i"]).all()
        for name in store.names():
            store.verify(name)
