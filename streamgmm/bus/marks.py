"""What is stored beside a committed offset: the epoch of the record before it, and a mark of ours.

The mark says which topic the offset belongs to, for another one may get the same name; and how many partitions that
topic had when the group began, for one that is added later is read from its beginning. An offset without a mark was
set by somebody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kafka.structs import OffsetAndMetadata

from streamgmm.bus.blocks import Block

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamgmm.records import TopicPartition

NAME = "streamgmm"
NO_EPOCH = -1
UNKNOWN = "-"


class Mark(NamedTuple):
    """The id of a topic, empty where it is not known, and the partitions it had when the group began."""

    identity: str
    partitions: int

    def text(self) -> str:
        """Return the mark as it is stored."""
        return f"{NAME} {self.identity or UNKNOWN} {self.partitions}"


def read_mark(text: str | None) -> Mark | None:
    """Return the mark, or None where another program has committed."""
    match (text or "").split():
        case [name, identity, partitions] if name == NAME and partitions.isdecimal():
            return Mark("" if identity == UNKNOWN else identity, int(partitions))
    return None


class Committed(NamedTuple):
    """An offset that the group has stored."""

    offset: int
    epoch: int = NO_EPOCH
    mark: Mark | None = None


class Stamps:
    """What goes with every offset that is committed.

    Written by the loop's thread and read by kafka-python's as well: values are replaced, never changed.
    """

    def __init__(self) -> None:
        self._marks: dict[TopicPartition, Mark] = {}
        # Partition → (offset from which on records are of the epoch, epoch), in order.
        self._epochs: dict[TopicPartition, tuple[tuple[int, int], ...]] = {}

    def begin(self, tp: TopicPartition, mark: Mark, offset: int, epoch: int) -> None:
        """Note where a partition starts, and the epoch of the record before that."""
        self._marks[tp] = mark
        self._epochs[tp] = ((offset - 1, epoch),)

    def note(self, tp: TopicPartition, epochs: Iterable[tuple[int, int]]) -> None:
        """Note of which epochs the records from certain offsets on are."""
        known = self._epochs.get(tp, ())
        for offset, epoch in epochs:
            if not known or epoch != known[-1][1]:
                known = (*known, (offset, epoch))
        self._epochs[tp] = known

    def stored_as(self, tp: TopicPartition, offset: int) -> OffsetAndMetadata:
        """Return an offset as it is committed."""
        mark = self._marks.get(tp)
        epoch = next((e for first, e in reversed(self._epochs.get(tp, ())) if first < offset), NO_EPOCH)
        return OffsetAndMetadata(offset, mark.text() if mark is not None else "", epoch)


def epochs_of(fetched: Iterable[Block | object]) -> Iterator[tuple[int, int]]:
    """Yield first offset and epoch of what a fetch brought of one partition: blocks, or records one by one."""
    for item in fetched:
        if isinstance(item, Block):
            yield from item.epochs()
        else:
            yield item.offset, item.leader_epoch  # type: ignore[attr-defined]  # kafka-python's ConsumerRecord
