"""The daemon's pace of learning: a share of the processor time that the process takes, and of one core at most.

Refreshes and refits that are refused stay due, so a stream too fast for its schedule is learnt at longer intervals.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What was not used is kept for so long: a refit after a quiet while may take more than its share at once.
BURST_SECONDS = 2.0
# Whatever learning puts into the processor's caches, the rest must fetch again: measured, up to as much as its own
# time; a quarter more is for machines that were not measured.
WITH_CACHES = 2.25


class Budget:
    """Processor time for learning.

    Parameters
    ----------
    share
        Of what the process takes (and of one core), between 0 and 1. Learning, and what it costs the rest in cold
        caches, then take at most share / (1 − share) of what the rest takes without it.
    now, process_time, thread_time
        Monotonic time, processor time of the process and of the calling thread, seconds.
    """

    def __init__(
        self,
        share: float,
        *,
        now: Callable[[], float] = time.monotonic,
        process_time: Callable[[], float] = time.process_time,
        thread_time: Callable[[], float] = time.thread_time,
    ) -> None:
        self._share = share
        self._now, self._process_time, self._thread_time = now, process_time, thread_time
        self._lock = threading.Lock()
        self._credit = share * BURST_SECONDS
        self._seen = now(), process_time()

    def allows(self) -> bool:
        """Return whether learning has taken less than its share of late."""
        now, used = self._now(), self._process_time()
        with self._lock:
            earned = self._share * min(now - self._seen[0], used - self._seen[1])
            self._credit = min(self._credit + earned, self._share * BURST_SECONDS)
            self._seen = now, used
            return self._credit > 0.0

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Take what the calling thread uses from the budget."""
        start = self._thread_time()
        try:
            yield
        finally:
            spent = self._thread_time() - start
            with self._lock:
                self._credit -= WITH_CACHES * spent
