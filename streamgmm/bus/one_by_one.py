"""The plain way of fetched records: kafka-python makes an object of each, and arrays are made of those.

Five to twenty times slower than blocks (`bus/blocks.py`), and nothing of it depends on kafka-python's inside: what is
left where the hook does not fit.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from streamgmm.order import Shares
from streamgmm.records import ByteColumn, RecordBatch, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Record: TypeAlias = Any  # kafka.consumer.fetcher.ConsumerRecord
Records: TypeAlias = "list[tuple[TopicPartition, Sequence[Record]]]"


def batch_of(parts: Records) -> RecordBatch:
    """Join records, each part from one partition, into one batch."""
    if not parts:
        return RecordBatch.empty()
    partitions = tuple(dict.fromkeys(tp for tp, _ in parts))
    index = {tp: i for i, tp in enumerate(partitions)}
    records = [record for _, part in parts for record in part]
    return RecordBatch(
        partitions,
        np.repeat([index[tp] for tp, _ in parts], [len(part) for _, part in parts]).astype(np.int64),
        np.array([r.offset for r in records], dtype=np.int64),
        np.array([-1 if r.timestamp is None else r.timestamp for r in records], dtype=np.int64),
        ByteColumn.from_values([r.value for r in records]),
        ByteColumn.from_values([r.key for r in records]),
        [list(r.headers) if r.headers else () for r in records],
        {},
    )


def size_of(record: Record) -> int:
    """Return a record's size as its consumer must hold it: key, value and headers."""
    return int(
        max(record.serialized_value_size, 0)
        + max(record.serialized_key_size, 0)
        + max(record.serialized_header_size, 0)
    )


class RecordCarry:
    """Records that were fetched but not handed over yet, by partition."""

    def __init__(self) -> None:
        self._records: dict[TopicPartition, deque[Record]] = {}
        self._shares = Shares()
        self._taken: dict[TopicPartition, list[Record]] = {}
        self._mean_size = 1024.0

    def __bool__(self) -> bool:
        return bool(self._records)

    def wanted(self, rows: int, size: int) -> int:
        """Return how many records to ask for: bytes as rows of the mean size of the last ones, so little is carried."""
        return max(min(rows, int(size / self._mean_size)), 1)

    def put(self, fetched: Mapping[Any, Sequence[Record]]) -> None:
        """Add what a poll returned."""
        for tp, some in fetched.items():
            if some:
                self._records.setdefault(TopicPartition(*tp), deque()).extend(some)
        records = [record for part in fetched.values() for record in part]
        if records:
            self._mean_size = max(sum(map(size_of, records)) / len(records), 1.0)

    def take(self, rows: int, size: int) -> RecordBatch:
        """Take up to `rows` records and `size` bytes, a portion of each partition; one record is taken if it is larger.

        What finds no room any more comes first the next time.
        """
        self._taken = {}
        share = size / rows
        for tp, most in list(self._shares.portions(self._records, rows)):
            if rows <= 0 or size <= 0:
                break
            part, used = _fitting(self._records[tp], min(most, rows), min(size, int(share * most)))
            if self._taken and used > size:
                self._records[tp].extendleft(reversed(part))
                break
            self._taken[tp] = part
            self._shares.note(tp, len(part))
            left = self._records.pop(tp)
            if left:
                self._records[tp] = left
            rows, size = rows - len(part), size - used
        return batch_of(list(self._taken.items()))

    def give_back(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Take back, from these offsets on, what was taken last."""
        for tp, offset in offsets.items():
            back = [record for record in self._taken.get(tp, ()) if record.offset >= offset]
            if back:
                self._records.setdefault(tp, deque()).extendleft(reversed(back))
                self._shares.returned(tp, len(back))

    def first_offsets(self) -> dict[TopicPartition, int]:
        """Return, per partition, the first offset that is still carried."""
        return {tp: int(records[0].offset) for tp, records in self._records.items()}

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget the records of partitions that are no longer ours."""
        for tp in set(partitions):
            self._records.pop(tp, None)
            self._taken.pop(tp, None)
            self._shares.forget([tp])


def _fitting(records: deque[Record], rows: int, size: int) -> tuple[list[Record], int]:
    """Take off what fits, one record at least; return its size as well."""
    part: list[Record] = []
    used = 0
    while records and len(part) < rows:
        grown = used + size_of(records[0])
        if grown > size and part:
            break
        part.append(records.popleft())
        used = grown
    return part, used
