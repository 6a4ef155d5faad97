"""Records held in memory: for tests, and for a program that embeds the daemon.

A `MemoryLog` plays the broker and outlives the source, as a broker outlives its consumers: it holds the records, the
committed offsets with their history, and the markers. A `MemorySource` plays the consumer. Records are handed out
lowest offset first across partitions, so the order of the stream does not depend on block sizes or restarts.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.order import Shares
from streamgmm.records import ByteColumn, Contact, Rebalance, RecordBatch
from streamgmm.sources import COMMIT_TIMEOUT, Resume, Start, is_same, start_at
from streamgmm.sources._memory_log import ABORT, LOST, PAUSE, AbortError, Assign, Gap, Item, MemoryLog, Record, Revoke

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from streamgmm.records import Event, TopicPartition

__all__ = [
    "ABORT",
    "LOST",
    "PAUSE",
    "AbortError",
    "Assign",
    "Gap",
    "MemoryLog",
    "MemorySettings",
    "MemorySource",
    "Record",
    "Revoke",
    "build",
]


@dataclass(frozen=True)
class MemorySettings:
    """Settings of a memory source.

    Attributes
    ----------
    log
        What is read; shared by the sources that follow each other.
    block_sizes
        Records per poll, used in turn.
    auto_offset_reset
        `earliest` or `latest`, for a partition without a committed offset.
    """

    log: MemoryLog
    block_sizes: Sequence[int] = (500,)
    auto_offset_reset: str = "earliest"


def build(settings: MemorySettings) -> MemorySource:
    """Return a source that reads a memory log."""
    return MemorySource(settings)


class MemorySource:
    """Source over a MemoryLog."""

    def __init__(self, settings: MemorySettings) -> None:
        self._log = settings.log
        self._settings = settings
        self._covered = Resume({}, 0)
        self._position: dict[TopicPartition, int] = {}
        self._starts: dict[TopicPartition, Start] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._rebalances: list[Rebalance] = []
        self._flushed: dict[TopicPartition, int] = {}
        self._polls = 0
        self._shares = Shares()
        self._each = False  # whether the next block has a portion of every partition
        self._paused = False
        self._closed = False

    def start(self, resume: Resume) -> None:
        """Take every partition of the log."""
        self._covered = Resume(dict(resume.covered), resume.max_replay)
        self._ends = {tp: self._log.end(tp) for tp in self._log.partitions}
        self.rebalance(Rebalance("assigned", self._log.partitions))
        # The snapshot speaks of the first assignment; a partition that comes back starts where the group is.
        self._covered = Resume({}, resume.max_replay)

    def rebalance(self, event: Rebalance) -> None:
        """Change the assignment now; `rebalances` reports it."""
        flushed = {tp: offset for tp in event.partitions if (offset := self._flushed.pop(tp, None)) is not None}
        if flushed and event.event == "revoked":
            self._log.commit(flushed)
        for tp in event.partitions:
            if event.event == "assigned":
                self._starts[tp] = self._start(tp)
                self._position[tp] = self._starts[tp].offset
            else:
                self._position.pop(tp, None)
                self._starts.pop(tp, None)
        self._rebalances.append(event)

    def poll(self, timeout: float) -> RecordBatch:
        """Return the next block; waits only while there is nothing to read."""
        deadline = time.monotonic() + timeout
        with self._log.changed:
            while not self._closed and (self._paused or not self._readable()):
                if not self._log.changed.wait(deadline - time.monotonic()):
                    return RecordBatch.empty()
            return RecordBatch.empty() if self._closed else self._block()

    def give_back(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Hand these out again, in a block that has a portion of every partition."""
        for tp, offset in offsets.items():
            self._shares.returned(tp, self._position[tp] - offset)
            self._position[tp] = offset
        self._each = True

    def rebalances(self) -> list[Rebalance]:
        """Return, once, what happened to the assignment."""
        happened, self._rebalances = self._rebalances, []
        return happened

    def events(self) -> list[Event]:
        """Return nothing: positions do not jump here."""
        return []

    def waiting(self) -> Mapping[TopicPartition, str]:
        """Return nothing: every partition can be read."""
        return {}

    def starts(self) -> Mapping[TopicPartition, Start]:
        """Return where each assigned partition started."""
        return dict(self._starts)

    def flushed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Note what delivery has flushed: committed at once when a partition is revoked, and not when it is lost."""
        self._flushed |= offsets

    def commit(
        self,
        offsets: Mapping[TopicPartition, int],
        timeout: float = COMMIT_TIMEOUT,  # noqa: ARG002 - nothing here can take long
    ) -> bool:
        """Store offsets; refused as a whole when one of the partitions is no longer ours."""
        return all(tp in self._position for tp in offsets) and self._log.commit(offsets)

    def pause(self) -> None:
        """Hand out nothing until `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        with self._log.changed:
            self._paused = False
            self._log.changed.notify_all()

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return the offsets still to read."""
        return {tp: self._log.end(tp) - position for tp, position in self._position.items()}

    def contact(self) -> Contact:
        """Return that there is nobody to ask."""
        return Contact()

    def at_end(self) -> bool:
        """Return whether everything that was there at start has been read."""
        behind = (at < self._ends[tp] or self._log.has_marker(tp, at) for tp, at in self._position.items())
        return not any(behind)

    def close(self, timeout: float) -> None:  # noqa: ARG002 - nothing here can take long
        """Stop handing out records; the log stays as it is."""
        with self._log.changed:
            self._closed = True
            self._log.changed.notify_all()

    def _start(self, tp: TopicPartition) -> Start:
        committed, covered = self._log.committed.get(tp), self._covered.covered.get(tp)
        if committed is not None:
            return start_at(covered, committed, self._covered.max_replay, self._log.identity)
        if covered is not None and is_same(covered.identity, self._log.identity):
            # The group forgot, the snapshot did not: all before it had been committed.
            return Start(covered.offset, covered.row, covered.offset, 0, self._log.identity)
        earliest = covered is not None or self._settings.auto_offset_reset == "earliest"
        offset = 0 if earliest else self._log.end(tp)
        return Start(offset, 0, offset, 0, self._log.identity)

    def _readable(self) -> list[TopicPartition]:
        """Return the partitions with something to read, lowest offset first."""
        ready = [tp for tp, at in self._position.items() if at < self._log.end(tp) or self._log.has_marker(tp, at)]
        return sorted(ready, key=lambda tp: (self._position[tp], tp))

    def _next(self, most: Mapping[TopicPartition, int], touched: Mapping[TopicPartition, int]) -> TopicPartition | None:
        """Return the partition to read from: the first that has not given the most that it may, if that is said."""
        ready = [tp for tp in self._readable() if not most or touched.get(tp, 0) < most.get(tp, 0)]
        # What a marker holds back could not give its portion.
        marked = [tp for tp in ready if most and self._log.has_marker(tp, self._position[tp])]
        return next(iter(marked or ready), None)

    def _block(self) -> RecordBatch:
        sizes = self._settings.block_sizes
        size = sizes[self._polls % len(sizes)]
        self._polls += 1
        taken: list[tuple[TopicPartition, int, Record]] = []
        touched: Counter[TopicPartition] = Counter()
        most = dict(self._shares.portions(self._readable(), size)) if self._each else {}
        size, self._each = max(size, len(most)), False
        while len(taken) < size and (tp := self._next(most, touched)) is not None:
            offset = self._position[tp]
            if self._log.has_marker(tp, offset):
                # A marker ends the block before it, so that it happens between two polls.
                if taken:
                    break
                self._happen(self._log.take_marker(tp, offset))
                break
            self._position[tp] = offset + 1
            touched[tp] += 1
            record = self._log.record(tp, offset)
            if record is not None:
                taken.append((tp, offset, record))
        for tp, n in touched.items():
            self._shares.note(tp, n)
        more = [tp for tp, at in self._position.items() if at < self._log.end(tp)]
        return _batch(taken, {tp: self._position[tp] for tp in sorted(touched) if tp in self._position}, more)

    def _happen(self, marker: Item | None) -> None:
        if marker is ABORT:
            raise AbortError
        if marker is LOST:
            self.rebalance(Rebalance("lost", tuple(self._position)))
        elif isinstance(marker, Revoke):
            self.rebalance(Rebalance("revoked", marker.partitions))
        elif isinstance(marker, Assign):
            self.rebalance(Rebalance("assigned", marker.partitions))


def _batch(
    taken: Sequence[tuple[TopicPartition, int, Record]],
    next_offsets: Mapping[TopicPartition, int],
    more: Collection[TopicPartition],
) -> RecordBatch:
    partitions = tuple(sorted({tp for tp, _, _ in taken}))
    index = {tp: i for i, tp in enumerate(partitions)}
    return RecordBatch(
        partitions,
        np.array([index[tp] for tp, _, _ in taken], dtype=np.int64),
        np.array([offset for _, offset, _ in taken], dtype=np.int64),
        np.array([record.timestamp for _, _, record in taken], dtype=np.int64),
        ByteColumn.from_values([record.value for _, _, record in taken]),
        ByteColumn.from_values([record.key for _, _, record in taken]),
        [record.headers for _, _, record in taken],
        next_offsets,
        more,
    )
