"""Deadlines of all parts and progress of all partitions. After a deadline: log the part, print all stacks, exit.

A living thread is no evidence of progress. Parts must return, and offsets must advance if records wait.
"""

from __future__ import annotations

import faulthandler
import logging
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from streamgmm.records import Report, TopicPartition

_log = logging.getLogger(__name__)

# Seconds, where the configuration says nothing else. A poll may hold a whole rebalance; a sink gets as long as a broker
# needs to come back; a fit looks at its own deadline between passes, so only a pass that hangs outlives this one.
# `turn` is the pulse of the loop; it is kept longer than any part, so that a part is blamed by its name first.
DEADLINES: Mapping[str, float] = {
    "start": 300.0,
    "poll": 120.0,
    "decode": 60.0,
    "features": 60.0,
    "score": 60.0,
    "render": 60.0,
    "deliver": 300.0,
    "commit": 60.0,
    "refit": 180.0,
    "snapshot": 120.0,
    "turn": 600.0,
}
STALL_DEADLINE = 600.0
GRACE = 15.0
CHECK_SECONDS = 1.0
# Between two reports nothing but the part that worked could move, and that part has its own deadline: a longer gap
# counts as no more than this against a waiting partition.
LONGEST_WAIT = 5.0
# Parts that wait for brokers: while these are silent, a restart would not help.
OUTSIDE = ("deliver", "commit")
LAST_LOG_SECONDS = 5.0
# Parts that compute: one of them that hangs may hold the interpreter lock, and then no check runs any more.
COMPUTING = ("decode", "features", "score", "render")


@dataclass(frozen=True, slots=True)
class Stuck:
    """A part that is past its deadline, the seconds that it has been busy, and details."""

    part: str
    seconds: float
    detail: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A partition: where it stands, and how long its records have waited there."""

    next_offset: int
    lag: int
    seconds: float


def dump_stacks() -> None:
    """Write the stack of every thread to standard error."""
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)


def arm(seconds: float) -> None:
    """End the process with exit code 1 and every stack, unless this is called again within so many seconds.

    A thread of C does it, which needs no interpreter lock. It cannot tell a process that hangs from one that was
    stopped by a signal for so long: that one is ended as it goes on.
    """
    with suppress(RuntimeError, OSError, ValueError):  # no standard error to write to
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)


class Supervisor:
    """Watches the parts from a thread of its own.

    Parameters
    ----------
    last_resort
        Ends the process with exit code 1; must not return to anything that is stuck.
    now
        Monotonic seconds.
    deadlines
        Part → seconds it may be at work; what is named here replaces DEADLINES, part by part.
    stall_deadline
        Seconds that a partition with records to read may stay where it is.
    grace
        Seconds between a part's deadline, when /livez turns 503, and the last resort.
    dump
        Shows every stack.
    """

    def __init__(
        self,
        *,
        last_resort: Callable[[], None],
        now: Callable[[], float],
        deadlines: Mapping[str, float] | None = None,
        stall_deadline: float = STALL_DEADLINE,
        grace: float = GRACE,
        dump: Callable[[], None] = dump_stacks,
    ) -> None:
        self._last_resort = last_resort
        self._now = now
        self._deadlines = {**DEADLINES, **(deadlines or {})}
        self._deadlines["turn"] = max(2.0 * d if part != "turn" else d for part, d in self._deadlines.items())
        self._stall_deadline = stall_deadline
        self._grace = grace
        self._dump = dump
        self._busy: dict[tuple[str, int], float] = {}
        self._waiting: Mapping[TopicPartition, _Waiting] = {}
        self._silent = False
        self._pulse: float | None = None
        self._stuck_since: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def busy(self, part: str) -> Iterator[None]:
        """Mark a part as at work on this thread."""
        key = (part, threading.get_ident())
        outer = self._busy.get(key)
        self._busy[key] = self._now() if outer is None else outer
        try:
            yield
        finally:
            if outer is None:
                del self._busy[key]

    def progress(self, report: Report) -> None:
        """Note where every partition stands. Only the loop's thread calls this."""
        now = self._now()
        # A report while a sink is stuck: that is the sink's deadline, which may be the longer one.
        held = report.contact.lost or any((part, threading.get_ident()) in self._busy for part in OUTSIDE)
        if self._silent and not report.contact.lost:
            self._busy |= {key: now for key in self._busy.copy() if key[0] in OUTSIDE}
        self._silent = report.contact.lost
        gap = 0.0 if self._pulse is None or held else min(now - self._pulse, LONGEST_WAIT)
        engine = report.engine
        # Rows wait for the first fit, which has a deadline of its own.
        fitting = engine is not None and engine.state == "warming_up" and engine.refit_in_progress
        waiting = {}
        for tp in report.assigned:
            offset, lag = report.next_offsets.get(tp, -1), report.lag.get(tp, 0)
            before = self._waiting.get(tp)
            # A restart would not help a partition that brokers do not hand over, nor one that waits for earlier rows.
            held = fitting or tp in report.waiting or tp in report.ahead
            same = before is not None and before.next_offset == offset and lag > 0 and not held
            waiting[tp] = _Waiting(offset, lag, before.seconds + gap if before is not None and same else 0.0)
        self._waiting = waiting
        self._pulse = now

    def finished(self) -> None:
        """Note that the loop has ended in order: its pulse and its partitions are watched no more."""
        self._pulse, self._waiting = None, {}

    def verdict(self, now: float) -> list[Stuck]:
        """Return what is past its deadline, worst first. Changes nothing."""
        stuck = [
            Stuck(part, now - since, f"busy for longer than its deadline of {self._deadlines[part]:g} s")
            for (part, _), since in self._busy.copy().items()
            if now - since > self._deadlines.get(part, float("inf")) and not (self._silent and part in OUTSIDE)
        ]
        pulse = self._pulse
        if pulse is not None and now - pulse > self._deadlines["turn"]:
            stuck.append(Stuck("turn", now - pulse, "the loop has not finished a turn"))
        stuck += [
            Stuck(f"partition {tp.topic}/{tp.partition}", w.seconds, f"{w.lag} records wait and none is processed")
            for tp, w in self._waiting.items()
            if w.seconds > self._stall_deadline
        ]
        return sorted(stuck, key=lambda s: -s.seconds)

    def stuck(self) -> list[Stuck]:
        """Return what is past its deadline now."""
        return self.verdict(self._now())

    def check(self) -> None:
        """Look once; resort to the last when something has been stuck for the grace as well."""
        now = self._now()
        stuck = {s.part: s for s in self.verdict(now)}
        for part in stuck.keys() - self._stuck_since.keys():
            _log.error("%s is stuck: %s (%.0f s)", part, stuck[part].detail, stuck[part].seconds)
        self._stuck_since = {part: self._stuck_since.get(part, now) for part in stuck}
        hopeless = [stuck[part] for part, since in self._stuck_since.items() if now - since >= self._grace]
        if hopeless:
            self._give_up(hopeless)

    def start(self) -> None:
        """Check every second, on a daemon thread."""
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Check no more; safe to call twice."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _watch(self) -> None:
        # Later than what is done under the lock, which names the part that is stuck.
        held = min(self._deadlines[part] for part in COMPUTING) + self._grace + 2 * LAST_LOG_SECONDS
        try:
            arm(held)
            while not self._stop.wait(CHECK_SECONDS):
                self.check()
                arm(held)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _give_up(self, hopeless: list[Stuck]) -> None:
        """Log the reason and exit. Another thread logs, because a full pipe or a held logging lock could block."""
        logger = threading.Thread(target=self._log_hopeless, args=(hopeless,), name="last log", daemon=True)
        logger.start()
        logger.join(LAST_LOG_SECONDS)
        self._last_resort()

    def _log_hopeless(self, hopeless: list[Stuck]) -> None:
        for s in hopeless:
            _log.critical("exiting: %s is stuck: %s (%.0f s)", s.part, s.detail, s.seconds)
        self._dump()
