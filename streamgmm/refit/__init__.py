"""Job → candidate → verdict: what turns a window into a detector worth serving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from streamgmm.refit.job import Candidate, Failure, Job


class Runner(Protocol):
    """Where jobs run: inline (deterministic) or on a worker thread (the daemon)."""

    @property
    def busy(self) -> bool:
        """Return whether a job runs or its result waits."""

    def submit(self, job: Job) -> None:
        """Start a job; only when not busy."""

    def wait(self, seconds: float) -> bool:
        """Wait for the submitted job so long; True when it is done."""

    def result(self) -> Candidate | Failure | None:
        """Return, once, what came of the job; None while it runs."""

    def close(self, timeout: float) -> bool:
        """Ask a running job to stop between passes; False when it did not within `timeout` seconds."""
