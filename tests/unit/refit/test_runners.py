"""Two places for a job to run; a result is handed over once, and closing never waits longer than it was told."""

import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from streamgmm.refit import runners
from streamgmm.refit.fitting import run
from streamgmm.refit.job import Candidate, Failure, Job, MemberSettings
from streamgmm.refit.runners import InlineRunner, ThreadRunner

SETTINGS = MemberSettings(n_components=2)


def job(rng, number=0):
    return Job(0, number, "first", (0,), (SETTINGS,), (), rng.normal(size=(200, 2)), 0.0, 1, 60.0)


@pytest.fixture(name="runner", params=["inline", "thread"])
def either(request):
    made = InlineRunner(time.monotonic) if request.param == "inline" else ThreadRunner(time.monotonic)
    yield made
    assert made.close(10.0)


def test_a_result_is_handed_over_once(rng, runner):
    assert not runner.busy
    assert runner.result() is None
    runner.submit(job(rng))
    assert runner.busy
    assert runner.wait(120.0)
    assert runner.busy, "a result that nobody has taken keeps the runner busy"
    assert isinstance(runner.result(), Candidate)
    assert runner.result() is None
    assert not runner.busy


def test_jobs_follow_each_other(rng, runner):
    for number in range(3):
        runner.submit(job(rng, number))
        assert runner.wait(120.0)
        assert runner.result().job.number == number


def test_the_thread_gives_the_bits_of_the_inline_runner(rng):
    one = job(rng)
    inline = run(one, time.monotonic)
    runner = ThreadRunner(time.monotonic)
    runner.submit(one)
    assert runner.wait(120.0)
    np.testing.assert_array_equal(runner.result().members[0].mixture.covariances, inline.members[0].mixture.covariances)
    assert runner.close(10.0)


class Held:
    """A fit that waits until it is let go, and looks at its cancellation as the real one does."""

    def __init__(self):
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self, work, _now, cancelled=lambda: False, **_):
        self.began.set()
        self.go.wait(30.0)
        return Failure(work, "deadline" if cancelled() else None, "", 0.0)


@pytest.fixture(name="held")
def held_fit(monkeypatch):
    fit = Held()
    monkeypatch.setattr(runners, "run", fit)
    yield fit
    fit.go.set()


def test_while_a_job_runs_there_is_no_result_and_the_supervisor_knows(rng, held):
    at_work = []

    @contextmanager
    def busy(name):
        at_work.append(name)
        yield
        at_work.append("done")

    runner = ThreadRunner(time.monotonic, busy)
    runner.submit(job(rng))
    assert held.began.wait(120)
    assert runner.result() is None
    assert runner.busy
    assert at_work == ["refit"]
    held.go.set()
    assert runner.wait(120.0)
    assert isinstance(runner.result(), Failure)
    assert runner.close(10.0)
    assert at_work == ["refit", "done"]


def test_closing_cancels_and_gives_up_in_time(rng, held):
    runner = ThreadRunner(time.monotonic)
    runner.submit(job(rng))
    assert held.began.wait(120)
    assert not runner.close(0.01)
    held.go.set()
    assert runner.wait(120.0)
    assert runner.result().reason == "deadline", "the fit was told to stop"
    assert runner.close(10.0)
