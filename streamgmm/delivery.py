"""The one owner of write → flush → commit. No other module commits, and nothing is committed before it was flushed."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamgmm.errors import StopError, UndeliveredError
from streamgmm.records import Event
from streamgmm.sources import COMMIT_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streamgmm.records import OutputRecord, TopicPartition
    from streamgmm.sinks import Sink
    from streamgmm.sources import Source

logger = logging.getLogger(__name__)

# While a sink pushes back, the source is polled (paused) this often, so that we stay in the group.
FLUSH_SLICE = 0.5
# A flush that has not succeeded for so long is a failure of the sink: counted, logged and shown once.
STUCK_SECONDS = 10.0
# Commits that are refused for so long are told. While brokers do not answer they are refused as well, and that is told.
REFUSED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Outlet:
    """A sink and what it wants: anomalies, all (a compact record of every row), packed, dead_letters, or a feed."""

    sink: Sink
    takes: str


class Delivery:
    """Write to every sink, flush, and only then commit those explicit offsets.

    Parameters
    ----------
    outlets
        Every one must have flushed a row before its offset is committed. None on a dry run, which commits nothing.
    max_latency
        Seconds that written records may wait for their flush while more are coming; sinks send meanwhile, and one wait
        for acknowledgements serves many blocks. 0 flushes every block.
    commit_interval
        Seconds between two commits; a revoked partition's flushed offsets are committed by the source at once.
    now
        Monotonic seconds.
    interrupted
        Asked while a sink is stuck: True gives up (the rows stay uncommitted and are read again).
    patience
        Seconds that a commit may take now: less and less while a stop uses up its budget.
    stuck_after
        Seconds without success after which a flush counts as a failure.
    sleep
        Called with seconds: a sink that refuses at once is asked no more often than one that waits.
    """

    def __init__(
        self,
        source: Source,
        outlets: Sequence[Outlet],
        *,
        commit_interval: float,
        max_latency: float = 0.0,
        now: Callable[[], float],
        interrupted: Callable[[], bool] = lambda: False,
        patience: Callable[[], float] = lambda: COMMIT_TIMEOUT,
        stuck_after: float = STUCK_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._outlets = outlets
        self._interval = commit_interval
        self._max_latency = max_latency
        self._now = now
        self._interrupted = interrupted
        self._patience = patience
        self._stuck_after = stuck_after
        self._sleep = sleep
        self._unflushed: dict[str, Sink] = {}
        self._oldest = 0.0
        self._pending: dict[TopicPartition, int] = {}
        self._flushed: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._last_commit = now()
        self._refused_since: float | None = None
        self._refused_told = False
        self._events: list[Event] = []
        self.on_wait: Callable[[], None] = lambda: None
        """Called again and again while a sink is stuck: nothing else tells of it before the turn is over."""

    def complete(
        self, records: Mapping[str, Sequence[OutputRecord]], next_offsets: Mapping[TopicPartition, int]
    ) -> dict[str, int]:
        """Write records; flush them when it is time, which makes their offsets committable; commit when it is time.

        Parameters
        ----------
        records
            What each kind of outlet gets.
        next_offsets
            Per partition, the offset after the last record that is now done.

        Returns
        -------
        dict
            Sink name → records it took.
        """
        taken: dict[str, int] = {}
        for outlet in self._outlets:
            mine = records.get(outlet.takes, ())
            if mine:
                outlet.sink.write(mine)
                taken[outlet.sink.name] = taken.get(outlet.sink.name, 0) + len(mine)
        if taken and not self._unflushed:
            self._oldest = self._now()
        self._unflushed |= {outlet.sink.name: outlet.sink for outlet in self._outlets if outlet.sink.name in taken}
        self._pending |= next_offsets
        if not self._unflushed or self._max_latency <= 0.0:
            self.flush()
        self.tick()
        return taken

    @property
    def waits(self) -> bool:
        """Whether written records wait for their flush: the next turn should not wait for more."""
        return bool(self._unflushed)

    def tick(self, *, quiet: bool = False) -> None:
        """Flush and commit when it is time, and flush at once when the stream is quiet."""
        if self._unflushed and (quiet or self._now() - self._oldest >= self._max_latency):
            self.flush()
        if self._now() - self._last_commit >= self._interval:
            self.commit()

    def flush(self) -> None:
        """Wait until every sink has what was written, however long that takes; then its offsets may be committed.

        Raises
        ------
        StopError
            Trying again cannot help.
        UndeliveredError
            `interrupted` gives up.
        """
        for name, sink in list(self._unflushed.items()):
            self._flush(sink)
            del self._unflushed[name]
        self._note_pending()

    def commit(self) -> bool:
        """Flush, and commit everything; False when it was refused.

        A refusal is no error: whoever owns the partition now reads it again.
        """
        self.flush()
        return self._commit()

    def _commit(self) -> bool:
        due = {tp: o for tp, o in self._flushed.items() if o > self._committed.get(tp, -1)}
        self._last_commit = self._now()
        if not due or not self._outlets:
            return True
        accepted = self._source.commit(due, self._patience())
        self._events.append(Event("commit", {"outcome": "ok" if accepted else "refused"}))
        self._say(accepted=accepted)
        if accepted:
            self._committed |= due
        return accepted

    def _say(self, *, accepted: bool) -> None:
        """Log once that commits are refused for long, and once that they no longer are: a rebalance refuses a few."""
        if accepted:
            if self._refused_told:
                logger.info("offsets are committed again")
            self._refused_since, self._refused_told = None, False
        elif self._refused_since is None:
            self._refused_since = self._now()
        elif not self._refused_told and self._now() - self._refused_since >= REFUSED_SECONDS:
            self._refused_told = not self._source.contact().lost
            if self._refused_told:
                logger.warning(
                    "no offsets could be committed for %g s; a restart reads these rows again", REFUSED_SECONDS
                )

    def assigned(self, floors: Mapping[TopicPartition, int]) -> None:
        """Learn where newly assigned partitions are committed: nothing below is ever committed again."""
        for tp, floor in floors.items():
            self._pending.pop(tp, None)
            self._flushed.pop(tp, None)
            self._committed[tp] = floor

    def released(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions that are no longer ours."""
        for tp in partitions:
            self._pending.pop(tp, None)
            self._flushed.pop(tp, None)
            self._committed.pop(tp, None)

    def behind(self) -> dict[TopicPartition, int]:
        """Return, per partition, how many offsets were taken from the source and are not flushed: they wait as well."""
        floor = self._committed | self._flushed
        return {tp: o - floor[tp] for tp, o in self._pending.items() if o > floor.get(tp, o)}

    def events(self) -> list[Event]:
        """Return, once, what happened since the last call."""
        events, self._events = self._events, []
        return events

    def close(self, timeout: float) -> None:
        """Flush what can be, commit that, and close every sink, inside the time."""
        deadline = self._now() + timeout
        try:
            if all(sink.flush(max(0.0, deadline - self._now())) for sink in self._unflushed.values()):
                self._unflushed.clear()
                self._note_pending()
        except StopError as error:
            # The rows are read again after a restart; a sink says by itself what it closes with.
            logger.warning("not all records were flushed: %s", error)
        self._commit()
        for outlet in self._outlets:
            outlet.sink.close(max(0.0, deadline - self._now()))

    def _note_pending(self) -> None:
        """Everything written is flushed: what was done with it may be committed."""
        floor = self._committed | self._flushed
        ahead = {tp: offset for tp, offset in self._pending.items() if offset > floor.get(tp, -1)}
        self._pending.clear()
        self._flushed |= ahead
        if self._outlets:
            self._source.flushed(ahead)

    def _flush(self, sink: Sink) -> None:
        """Flush one sink, however long that takes; a failure is told once, and its end once."""
        begun, told, paused = self._now(), False, False
        try:
            while not self._tried(sink):
                if not told and self._now() - begun >= self._stuck_after:
                    told = True
                    self._events.append(_failure(sink))
                if self._interrupted():
                    raise UndeliveredError(f"sink {sink.name} ({sink.place}) did not take its records before the stop")
                if not paused:
                    self._source.pause()
                    paused = True
                self._source.poll(0.0)
                self.on_wait()
            for outcome, records in sink.cut.items():
                fields = {"to": sink.place, "records": records}
                self._events.append(Event("output_cut", {"sink": sink.name, "outcome": outcome}, fields))
            sink.cut.clear()
            if told:
                fields = {"to": sink.place, "seconds": self._now() - begun}
                self._events.append(Event("sink_recovered", {"sink": sink.name}, fields))
        finally:
            if paused:
                self._source.resume()

    def _tried(self, sink: Sink) -> bool:
        """Try to flush; a refusal takes FLUSH_SLICE seconds, whether the sink waited or refused at once."""
        begun = self._now()
        if sink.flush(FLUSH_SLICE):
            return True
        left = begun + FLUSH_SLICE - self._now()
        if left > 0.0:
            self._sleep(left)
        return False


def _failure(sink: Sink) -> Event:
    reason = "refused" if sink.problem else "timeout"
    return Event("sink_error", {"sink": sink.name, "reason": reason}, {"to": sink.place, "problem": sink.problem})
