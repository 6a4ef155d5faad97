"""A past for each record key, through the whole loop: whatever the blocks, after any restart, as in the library."""

import numpy as np
import pytest
from rigs import COLUMNS, FEATURES, NAMES, PARTITIONS, SETTINGS, Rig, packed, rows

from streamgmm import StreamDetector
from streamgmm.features import Pipeline
from streamgmm.sources.memory import MemoryLog, Record

KEYS = (b"m1", b"m2", None, b"\xff")


@pytest.fixture(name="X")
def stream(rng):
    return rows(rng, 900)


@pytest.fixture(name="keys")
def owners(rng, X):
    return [KEYS[i] for i in rng.integers(len(KEYS), size=len(X))]


def log(X, keys):
    return MemoryLog({PARTITIONS[0]: [Record(packed(x[None]), key, -1) for x, key in zip(X, keys, strict=True)]})


def test_blocks_and_restarts_change_nothing(X, keys):
    whole = Rig(log(X, keys), (10_000,)).run()
    assert Rig(log(X, keys), (7, 1, 64)).run().scores == whole.scores
    assert whole.scores != Rig(log(X, [None] * len(X))).run().scores, "keys made no difference"
    cut = Rig(log(X, keys), (50,)).run()
    for snapshot, committed in cut.snapshots[::4]:
        rest = log(X, keys)
        rest.committed.update(committed)
        again = Rig(rest, (33,), cut.restored(snapshot)).run()
        assert again.scores == {where: whole.scores[where] for where in again.scores}


def test_the_library_makes_the_same_columns(X, keys):
    known = [b"none" if key is None else key.hex().encode() for key in keys]
    detector = StreamDetector(SETTINGS, Pipeline.build(FEATURES, NAMES))
    library = detector.process(X, keys=[key.decode() for key in known])
    daemon = Rig(log(X, keys)).run()
    density = np.array([np.frombuffer(score[0])[0] for score in daemon.scores.values()])
    # Rows have other identities there, but nothing is thinned, so nothing depends on them.
    np.testing.assert_array_equal(density, library.log_density)
    assert len(COLUMNS) == len(NAMES) + 1
