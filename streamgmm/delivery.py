"""The one owner of write → flush → commit. No other module commits, and nothing is committed before it was flushed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamgmm.errors import StopError
from streamgmm.records import Event
from streamgmm.sources import COMMIT_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streamgmm.records import OutputRecord, TopicPartition
    from streamgmm.sinks import Sink
    from streamgmm.sources import Source

# While a sink pushes back, the source is polled (paused) this often, so that we stay in the group.
FLUSH_SLICE = 0.5


@dataclass(frozen=True, slots=True)
class Outlet:
    """A sink and what it wants: anomalies, all (a compact record of every row), dead_letters, or a feed by its name."""

    sink: Sink
    takes: str


class Delivery:
    """Write to every sink, flush, and only then commit those explicit offsets.

    Parameters
    ----------
    outlets
        Every one must have flushed a row before its offset is committed. None on a dry run, which commits nothing.
    commit_interval
        Seconds between two commits; a revoked partition's flushed offsets are committed by the source at once.
    now
        Monotonic seconds.
    interrupted
        Asked while a sink is stuck: True gives up (the rows stay uncommitted and are read again).
    patience
        Seconds that a commit may take now: less and less while a stop uses up its budget.
    """

    def __init__(
        self,
        source: Source,
        outlets: Sequence[Outlet],
        *,
        commit_interval: float,
        now: Callable[[], float],
        interrupted: Callable[[], bool] = lambda: False,
        patience: Callable[[], float] = lambda: COMMIT_TIMEOUT,
    ) -> None:
        self._source = source
        self._outlets = outlets
        self._interval = commit_interval
        self._now = now
        self._interrupted = interrupted
        self._patience = patience
        self._flushed: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._last_commit = now()
        self._events: list[Event] = []

    def complete(
        self, records: Mapping[str, Sequence[OutputRecord]], next_offsets: Mapping[TopicPartition, int]
    ) -> dict[str, int]:
        """Make records durable and their offsets committable; commit when it is time.

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
        for outlet in self._outlets:
            if outlet.sink.name in taken:
                self._flush(outlet.sink)
        self._note(next_offsets)
        self.tick()
        return taken

    def tick(self) -> None:
        """Commit when it is time, also while the stream is quiet."""
        if self._now() - self._last_commit >= self._interval:
            self.commit()

    def commit(self) -> bool:
        """Commit everything flushed so far; False when it was refused.

        A refusal is no error: whoever owns the partition now reads it again.
        """
        due = {tp: o for tp, o in self._flushed.items() if o > self._committed.get(tp, -1)}
        self._last_commit = self._now()
        if not due or not self._outlets:
            return True
        accepted = self._source.commit(due, self._patience())
        self._events.append(Event("commit", {"outcome": "ok" if accepted else "refused"}))
        if accepted:
            self._committed |= due
        return accepted

    def assigned(self, floors: Mapping[TopicPartition, int]) -> None:
        """Learn where newly assigned partitions are committed: nothing below is ever committed again."""
        for tp, floor in floors.items():
            self._flushed.pop(tp, None)
            self._committed[tp] = floor

    def released(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions that are no longer ours."""
        for tp in partitions:
            self._flushed.pop(tp, None)
            self._committed.pop(tp, None)

    def events(self) -> list[Event]:
        """Return, once, what happened since the last call."""
        events, self._events = self._events, []
        return events

    def close(self, timeout: float) -> None:
        """Commit, and close every sink inside the time."""
        deadline = self._now() + timeout
        self.commit()
        for outlet in self._outlets:
            outlet.sink.close(max(0.0, deadline - self._now()))

    def _note(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        floor = self._committed | self._flushed
        ahead = {tp: offset for tp, offset in next_offsets.items() if offset > floor.get(tp, -1)}
        self._flushed |= ahead
        if self._outlets:
            self._source.flushed(ahead)

    def _flush(self, sink: Sink) -> None:
        paused = False
        try:
            while not sink.flush(FLUSH_SLICE):
                self._events.append(Event("sink_error", {"sink": sink.name, "reason": "timeout"}))
                if self._interrupted():
                    raise StopError(f"sink {sink.name} did not take its records before the stop")
                if not paused:
                    self._source.pause()
                    paused = True
                self._source.poll(0.0)
        finally:
            if paused:
                self._source.resume()
