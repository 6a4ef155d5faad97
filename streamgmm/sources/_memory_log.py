"""The log that memory sources read: what a broker would keep, and the markers that make things happen."""

from __future__ import annotations

import threading
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamgmm.records import Headers, TopicPartition


class Record(NamedTuple):
    """One record of a log."""

    value: bytes | None
    key: bytes | None = None
    timestamp: int = -1
    headers: Headers = ()


class Marker(Enum):
    """What happens when a source reaches this point of a log; each happens once, restarts included."""

    PAUSE = "pause"  # the poll ends here
    ABORT = "abort"  # the poll raises AbortError
    LOST = "lost"  # every partition is taken away; commits are refused


PAUSE, ABORT, LOST = Marker.PAUSE, Marker.ABORT, Marker.LOST


class Revoke(NamedTuple):
    """A marker: the group takes these partitions away."""

    partitions: tuple[TopicPartition, ...]


class Assign(NamedTuple):
    """A marker: the group hands these partitions over; they start at their committed offsets."""

    partitions: tuple[TopicPartition, ...]


class Gap(NamedTuple):
    """A marker: this many offsets hold nothing, as after compaction or a transaction marker."""

    offsets: int


Item: TypeAlias = Record | Marker | Revoke | Assign | Gap


class AbortError(Exception):
    """A source reached ABORT: a stand-in for the process dying, so nothing of ours catches it."""


class MemoryLog:
    """Partitions of records, committed offsets and their history; may be appended to while it is read.

    Parameters
    ----------
    partitions
        Items per partition, in order. Offsets count records and gaps; markers take none.

    Attributes
    ----------
    committed
        The stored offset per partition.
    commits
        Every commit that was accepted, oldest first, so that a test can see them never go back.
    """

    def __init__(self, partitions: Mapping[TopicPartition, Iterable[Item]], identity: str = "memory") -> None:
        self.changed = threading.Condition()
        self.identity = identity
        self.committed: dict[TopicPartition, int] = {}
        self.commits: list[dict[TopicPartition, int]] = []
        self._records: dict[TopicPartition, dict[int, Record]] = {tp: {} for tp in partitions}
        self._markers: dict[TopicPartition, dict[int, list[Item]]] = {tp: {} for tp in partitions}
        self._end: dict[TopicPartition, int] = dict.fromkeys(partitions, 0)
        self._refusals = 0
        for tp, items in partitions.items():
            self.append(tp, *items)

    @property
    def partitions(self) -> tuple[TopicPartition, ...]:
        """All partitions, in the order given."""
        return tuple(self._end)

    def append(self, partition: TopicPartition, *items: Item) -> None:
        """Add items to the end of a partition; a waiting poll sees them at once."""
        with self.changed:
            for item in items:
                end = self._end[partition]
                if isinstance(item, Record):
                    self._records[partition][end] = item
                    self._end[partition] += 1
                elif isinstance(item, Gap):
                    self._end[partition] += item.offsets
                else:
                    self._markers[partition].setdefault(end, []).append(item)
            self.changed.notify_all()

    def end(self, partition: TopicPartition) -> int:
        """Return the next offset to be written."""
        return self._end[partition]

    def record(self, partition: TopicPartition, offset: int) -> Record | None:
        """Return a record, or None inside a gap."""
        return self._records[partition].get(offset)

    def has_marker(self, partition: TopicPartition, offset: int) -> bool:
        """Return whether something is still to happen before this offset is read."""
        return bool(self._markers[partition].get(offset))

    def take_marker(self, partition: TopicPartition, offset: int) -> Item | None:
        """Remove and return the next marker that stands before this offset."""
        markers = self._markers[partition].get(offset)
        return markers.pop(0) if markers else None

    def refuse_commits(self, times: int) -> None:
        """Make the group refuse the next commits."""
        self._refusals = times

    def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Store offsets, unless the group refuses."""
        if self._refusals:
            self._refusals -= 1
            return False
        self.committed.update(offsets)
        self.commits.append(dict(offsets))
        return True
