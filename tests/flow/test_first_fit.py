"""The first fit holds up the stream, and never the loop: which rows are scored depends on the stream alone."""

import threading
import time

import pytest
from rigs import PARTITIONS, SETTINGS, Rig, logs, rows

from streamgmm.refit import runners
from streamgmm.refit.job import Failure
from streamgmm.refit.runners import ThreadRunner


@pytest.fixture(name="X")
def stream(rng):
    return rows(rng, 900)


class Slow:
    """A worker whose first fits wait until they are let go, a minute at most; the others are as they are."""

    def __init__(self, monkeypatch):
        self.go, self.real = threading.Event(), runners.run
        monkeypatch.setattr(runners, "run", self)

    def __call__(self, job, *args, **kwargs):
        if job.kind == "first":
            self.go.wait(60.0)
        return self.real(job, *args, **kwargs)


@pytest.fixture(name="slow")
def slow_fit(monkeypatch):
    slow = Slow(monkeypatch)
    yield slow
    slow.go.set()


@pytest.fixture(name="runner")
def worker():
    runner = ThreadRunner(time.monotonic)
    yield runner
    assert runner.close(60.0)


def fitting(report):
    return report.engine.state == "warming_up" and report.engine.refit_in_progress


@pytest.mark.parametrize("sizes", [(37,), (500,)], ids=str)
def test_the_loop_reports_and_commits_while_the_first_fit_runs(X, slow, runner, sizes):
    rig = Rig(logs(X), sizes, runner=runner, commit_interval=0.0, max_latency=1e6)
    observe, seen = rig.loop.observe, []

    def observed(report):
        observe(report)
        if fitting(report) and not slow.go.is_set():
            seen.append(dict(rig.log.committed))
            if len(seen) == 5:
                slow.go.set()

    rig.loop.observe = observed
    rig.run()
    assert len(seen) == 5, "the loop did not come round while the fit ran"
    assert sum(seen[-1].values()) > 0, "what was done before is committed meanwhile"
    unscored = sum(sum(r.unscored.values()) for r in rig.reports)
    assert unscored == SETTINGS.min_records
    inline = Rig(logs(X), sizes).run()
    first = {where: score for where, score in inline.scores.items() if score[3] == (1, 0)}
    assert {where: rig.scores[where] for where in first} == first


def test_a_stop_cuts_the_wait_short_and_a_restart_goes_on(X, slow, runner):
    whole = Rig(logs(X)).run()
    rig = Rig(logs(X), (500,), runner=runner)
    rig.loop.run(lambda: any(fitting(report) for report in rig.reports))
    assert rig.loop.save()
    assert len(rig.scores) == SETTINGS.min_records
    slow.go.set()
    snapshot, committed = rig.snapshots[-1]
    assert snapshot.manifest["engine"]["flight"][0] == "first"
    log = logs(X)
    log.committed.update(committed)
    again = Rig(log, (500,), whole.restored(snapshot)).run()
    assert rig.scores | again.scores == whole.scores
    assert not rig.scores.keys() & again.scores.keys()
    assert {tp: again.log.committed[tp] for tp in PARTITIONS} == whole.log.committed


def test_rows_pass_once_a_first_fit_has_run_out_of_time(X, monkeypatch, runner):
    """They pass unscored, and the fit is tried again beside them."""
    real, tries = runners.run, []

    def late(job, *args, **kwargs):
        tries.append(job.kind)
        return Failure(job, "deadline", "", 0.0) if len(tries) == 1 else real(job, *args, **kwargs)

    monkeypatch.setattr(runners, "run", late)
    rig = Rig(logs(X), (40,), runner=runner)
    rig.loop.run(lambda: False)
    assert tries[:2] == ["first", "first"]
    assert [e.labels["reason"] for e in rig.events("refit_refused")][:1] == ["deadline"]
    assert not any(r.engine.state == "serving" for r in rig.reports[: 200 // 40])
    assert sum(sum(r.unscored.values()) for r in rig.reports) > SETTINGS.min_records
