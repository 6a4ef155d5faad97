"""A process that dies anywhere, again and again, delivers every anomaly and learns nothing twice."""

import itertools

import numpy as np
import pytest
from rigs import PARTITIONS, SETTINGS, Rig, logs, rows

from streamgmm import checkpoint
from streamgmm.snapshots import SnapshotStore
from streamgmm.sources.memory import ABORT, AbortError, MemoryLog


@pytest.fixture(name="X")
def stream(rng):
    return rows(rng, 2000)


def with_aborts(log, at):
    """Return the same log, in which the process dies when it reads these offsets."""
    items = {}
    for tp in PARTITIONS:
        items[tp] = [log.record(tp, o) for o in range(log.end(tp))]
        for offset in sorted(at.get(tp, ()), reverse=True):
            items[tp].insert(offset, ABORT)
    return MemoryLog(items)


def live(rig, store):
    """Run to the end or to death, saving at promotions and every fifth turn; True when the end was reached."""

    def save(state, features, covered, pages):
        store.save(checkpoint.pack(state, features, covered, rig.identity, "now", pages))
        return True

    rig.loop.save_state, rig.loop.save_interval = save, 1e9
    turns = itertools.count(1)
    try:
        while rig.loop.turn() or not rig.source.at_end():
            if next(turns) % 5 == 0:
                rig.loop.save()
    except AbortError:
        return False
    return True


@pytest.mark.parametrize(
    ("commit_interval", "max_latency"), [(0.0, 0.0), (1e9, 0.0), (1e9, 1e9)], ids=["eager", "lazy", "unflushed"]
)
def test_nothing_is_lost_and_nothing_learnt_twice(X, rng, tmp_path, commit_interval, max_latency):
    calm = Rig(logs(X, poison=True), (64,)).run()
    aborts = {tp: rng.choice(np.arange(150, 700), 5, replace=False).tolist() for tp in PARTITIONS}
    log, store = with_aborts(logs(X, poison=True), aborts), SnapshotStore(tmp_path)
    deaths, ids, letters, done, replayed = 0, set(), 0, False, 0
    while not done:
        newest = store.newest()
        restored = newest and checkpoint.unpack(newest, SETTINGS, calm.identity)
        rig = Rig(log, (64, 9), restored, commit_interval=commit_interval, max_latency=max_latency)
        done = live(rig, store)
        deaths += not done
        ids |= {a["id"] for a in rig.anomalies()}
        letters += len(rig.letters.records)
        replayed += sum(r.replayed for r in rig.reports)
        assert rig.scores == {where: calm.scores[where] for where in rig.scores}, "as in an undisturbed run"
        assert max(rig.times_scored.values(), default=1) == 1
    assert deaths == 10
    assert ids == {a["id"] for a in calm.anomalies()}
    assert letters >= len(calm.letters.records)
    assert rig.engine.state.rows_seen == len(X), "learnt twice, or not at all"
    assert (replayed > 0) == (commit_interval == 0.0)
    for tp in PARTITIONS:
        offsets = [commit[tp] for commit in log.commits if tp in commit]
        assert offsets == sorted(offsets)


def test_what_lies_too_far_back_is_counted_as_not_learnt(X):
    whole = Rig(logs(X), (50,)).run()
    snapshot, _ = whole.snapshots[5]
    log = logs(X)
    log.committed.update(whole.log.committed)
    again = Rig(log, (50,), whole.restored(snapshot), max_replay=10).run()
    covered = sum(offset for _, _, offset, *_ in snapshot.manifest["covered"])
    (event,) = again.events("not_learnt")
    assert event.fields["records"] == sum(log.committed.values()) - covered
    assert not again.scores


def test_a_commit_that_the_broker_lost_delivers_again(X):
    whole = Rig(logs(X), (50,)).run()
    log = logs(X)
    log.committed.update(dict.fromkeys(PARTITIONS, 300))
    again = Rig(log, (50,), whole.restored(whole.snapshots[-1][0])).run()
    assert {a["id"] for a in again.anomalies()} >= {a["id"] for a in whole.anomalies() if a["offset"] >= 600}
    assert log.committed == whole.log.committed
