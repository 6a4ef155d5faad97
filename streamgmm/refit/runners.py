"""Two places for a job to run: right here, or on a worker thread beside the loop."""

from __future__ import annotations

import queue
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING

from streamgmm.refit.fitting import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from streamgmm.refit.fitting import Clock, OnPass
    from streamgmm.refit.job import Candidate, Failure, Job


class InlineRunner:
    """Runs a job when it is submitted: results depend on the stream alone.

    `on_pass` is told the number and the lower bound of every EM pass.
    """

    def __init__(self, now: Clock, on_pass: OnPass | None = None) -> None:
        self._now, self._on_pass = now, on_pass
        self._result: Candidate | Failure | None = None

    @property
    def busy(self) -> bool:
        """Return whether a result waits."""
        return self._result is not None

    def submit(self, job: Job) -> None:
        """Run the job."""
        self._result = run(job, self._now, on_pass=self._on_pass)

    def wait(self, seconds: float) -> bool:  # noqa: ARG002 - the protocol's signature; nothing ever runs here
        """Return True: a submitted job is done."""
        return True

    def result(self) -> Candidate | Failure | None:
        """Return, once, what came of the job."""
        result, self._result = self._result, None
        return result

    def close(self, timeout: float) -> bool:  # noqa: ARG002 - the protocol's signature; nothing ever runs here
        """Return True: nothing runs."""
        return True


class ThreadRunner:
    """Runs one job at a time on a daemon thread; kernels release the GIL, so the loop goes on beside it.

    `busy` marks the thread as at work, for the supervisor.
    """

    def __init__(self, now: Clock, busy: Callable[[str], AbstractContextManager[object]] = nullcontext) -> None:
        self._now = now
        self._busy = busy
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Candidate | Failure] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._pending = False
        self._thread = threading.Thread(target=self._work, name="refit", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Return whether a job runs or its result waits."""
        return self._pending

    def submit(self, job: Job) -> None:
        """Hand a job to the worker."""
        self._pending = True
        self._jobs.put(job)

    def wait(self, seconds: float) -> bool:
        """Wait for the submitted job so long; True when it is done."""
        try:
            self._results.put(self._results.get(timeout=seconds))
        except queue.Empty:
            return False
        return True

    def result(self) -> Candidate | Failure | None:
        """Return, once, what came of the job; None while it runs."""
        try:
            result = self._results.get_nowait()
        except queue.Empty:
            return None
        self._pending = False
        return result

    def close(self, timeout: float) -> bool:
        """Ask the job to stop between passes and wait for the thread."""
        self._cancelled.set()
        self._jobs.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            with self._busy("refit"):
                self._results.put(run(job, self._now, self._cancelled.is_set))
