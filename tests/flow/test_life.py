"""The life of a model in the daemon: saved before it serves, changed at step ends, the same wherever it is fitted."""

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
from rigs import PARTITIONS, SETTINGS, Rig, logs, rows

from streamgmm.refit.runners import ThreadRunner


@pytest.fixture(name="X")
def stream(rng):
    return rows(rng, 1600)


def versions(rig):
    return [version for *_, version, _ in rig.scores.values()]


def test_a_detector_serves_only_after_its_snapshot(X):
    """The first row of a version is scored after a save that holds this version and covers all rows before it."""
    rig, served = Rig(logs(X), (10_000,), save_interval=1e9), {}
    render = rig.loop.render

    def noted(batch, fields, columns, part, scored):
        for version in {tuple(v) for v in scored.version.tolist()}:
            served.setdefault(version[0], len(rig.snapshots))
        return render(batch, fields, columns, part, scored)

    rig.loop.render = noted
    rig.run()
    saved = [snapshot.manifest["model_version"] for snapshot, _ in rig.snapshots]
    assert len(served) > 2
    assert saved == [f"{promotion}.0" for promotion in range(1, max(served) + 1)]
    assert all(count >= promotion for promotion, count in served.items())


def test_a_snapshot_covers_what_is_committed_and_no_more(X):
    rig = Rig(logs(X, poison=True), (90,)).run()
    for snapshot, committed in rig.snapshots:
        for topic, partition, offset, *_ in snapshot.manifest["covered"]:
            assert offset == committed[topic, partition]


def durations(rig):
    return [e.labels["outcome"] for e in rig.events("snapshot")]


def test_a_disk_that_refuses_costs_durability_and_never_detection(X):
    """From the first start on: as many rows are scored, by the same models, and one fit is made for each of them."""
    calm, rig = Rig(logs(X), (100,)).run(), Rig(logs(X), (100,))
    rig.saves = False
    rig.run()
    assert not rig.snapshots
    assert rig.scores == calm.scores
    assert set(durations(rig)) == {"failed"}
    assert {e.labels["outcome"] for e in rig.events("refit")} == {e.labels["outcome"] for e in calm.events("refit")}
    assert len(rig.events("refit_started")) == len(calm.events("refit_started"))


def test_what_was_refused_is_saved_when_the_disk_is_there_again_also_on_a_quiet_stream(X):
    rig = Rig(logs(X), (100,))
    rig.saves = False
    rig.run()
    rig.saves = True
    rig.loop.turn()
    (snapshot, committed) = rig.snapshots[-1]
    assert snapshot.manifest["model_version"] == str(rig.engine.state.detector.version)
    again = Rig(rig.log, (100,), rig.restored(snapshot)).run()
    assert again.engine.state.rows_seen == rig.engine.state.rows_seen
    assert committed == rig.log.committed


@pytest.mark.parametrize("sizes", [(1,), (33, 500)], ids=str)
def test_versions_change_at_step_ends_only(X, sizes):
    rig = Rig(logs(X), sizes).run()
    seen = versions(rig)
    changes = [i for i, (a, b) in enumerate(itertools.pairwise(seen), 1) if a != b]
    assert len(changes) > 10
    assert all(i % SETTINGS.step == 0 for i in changes)


def test_a_worker_thread_makes_the_same_model(X):
    """Where the worker is as fast as the stream, every bit is that of the inline runner."""
    inline = Rig(logs(X)).run()
    runner = ThreadRunner(time.monotonic)
    threaded = Rig(logs(X), runner=Settled(runner)).run()
    assert runner.close(10.0)
    assert threaded.scores == inline.scores


def test_a_worker_thread_that_is_left_alone_gets_there_too(X):
    runner = ThreadRunner(time.monotonic)
    rig = Rig(logs(np.tile(X, (4, 1))), (50,), runner=runner).run()
    assert runner.close(10.0)
    assert rig.engine.state.detector.version.promotion > 1
    assert rig.engine.state.rows_seen == 4 * len(X)


class Settled:
    """A worker thread whose jobs are done before anybody asks."""

    def __init__(self, runner):
        self._runner = runner

    def submit(self, job):
        self._runner.submit(job)
        self._runner.wait(120.0)

    def __getattr__(self, name):
        return getattr(self._runner, name)


def test_a_refit_under_way_at_a_stop_is_done_after_the_restart(X):
    """A snapshot between a refit's start and its result starts it again, on the same rows, to the same bits."""
    whole = Rig(logs(X), (25,)).run()
    under_way = [(s, c) for s, c in whole.snapshots if s.manifest["engine"]["flight"] is not None]
    assert len(under_way) > 2
    for snapshot, committed in under_way:
        log = logs(X)
        log.committed.update(committed)
        again = Rig(log, (70,), whole.restored(snapshot)).run()
        assert again.scores == {where: whole.scores[where] for where in again.scores}


def test_a_committee_repeats_as_well(X):
    """Two members with windows and schedules of their own."""
    slow = replace(SETTINGS.members[0], name="slow", window=600, refresh_every=100, refit_every=300)
    settings = replace(SETTINGS, members=(SETTINGS.members[0], slow))
    one = Rig(logs(X, poison=True), (10_000,), settings=settings).run()
    other = Rig(logs(X, poison=True), (21, 4), settings=settings).run()
    assert one.scores == other.scores
    names = {e.labels["member"] for e in one.events("refit")}
    assert names == {"single", "slow"}
    assert set(one.log.committed) == set(PARTITIONS)
