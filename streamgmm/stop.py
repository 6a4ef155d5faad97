"""A request to stop, shared between the signals and the loop. It imports nothing of ours: signals come at any time."""

from __future__ import annotations

import math
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class InterruptedStartError(BaseException):
    """A stop was requested before the start was over. No error: nothing that handles errors may take it for one."""


class Stop:
    """A request to stop, shared between signals and the loop. Asking twice means: now."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.signal: int | None = None
        self._now = now
        self._since = math.inf
        self._requested = threading.Event()
        self._forced = threading.Event()

    def request(self, signal: int | None = None) -> None:
        """Ask to stop; the second request forces."""
        if self._requested.is_set():
            self._forced.set()
        else:
            self._since = self._now()
        self.signal = self.signal if signal is None else signal
        self._requested.set()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Make a wait at the start end as a stop where one was requested: not begun, or failed since.

        Nothing is raised in the middle of the wait: the code of a client may be left in any state by that.
        """
        if self.requested():
            raise InterruptedStartError
        try:
            yield
        except Exception:
            if self.requested():
                raise InterruptedStartError from None
            raise

    def requested(self) -> bool:
        """Return whether anybody has asked."""
        return self._requested.is_set()

    def forced(self) -> bool:
        """Return whether anybody has asked twice."""
        return self._forced.is_set()

    def left(self, budget: float) -> float:
        """Return what is left of a stop's budget (s): all of it before anybody has asked, nothing once forced."""
        spent = self._now() - self._since if self.requested() else 0.0
        return 0.0 if self.forced() else max(0.0, budget - spent)

    def overdue(self, budget: float) -> bool:
        """Return whether the stop is forced, or has taken longer than its budget (s)."""
        return self.forced() or self._now() - self._since > budget
