"""The plain way of fetched records: kafka-python makes an object of each, and arrays are made of those.

Five to twenty times slower than blocks (`bus/blocks.py`), and nothing of it depends on kafka-python's inside: what is
left where the hook does not fit.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

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
        [[(name, value or b"") for name, value in r.headers] if r.headers else () for r in records],
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
    """Records that were fetched but not handed over yet, in the order they came."""

    def __init__(self) -> None:
        self._parts: deque[tuple[TopicPartition, Sequence[Record]]] = deque()
        self._mean_size = 1024.0

    def __bool__(self) -> bool:
        return bool(self._parts)

    def wanted(self, rows: int, size: int) -> int:
        """Return how many records to ask for: bytes as rows of the mean size of the last ones, so little is carried."""
        return max(min(rows, int(size / self._mean_size)), 1)

    def put(self, fetched: Mapping[Any, Sequence[Record]]) -> None:
        """Add what a poll returned."""
        self._parts.extend((TopicPartition(*tp), records) for tp, records in fetched.items() if records)
        records = [record for part in fetched.values() for record in part]
        if records:
            self._mean_size = max(sum(map(size_of, records)) / len(records), 1.0)

    def take(self, rows: int, size: int) -> RecordBatch:
        """Take up to `rows` records and `size` bytes; one record is taken even if it is larger."""
        taken: Records = []
        while self._parts and rows > 0 and (size > 0 or not taken):
            tp, records = self._parts.popleft()
            count, used = _fitting(records, rows, size, at_least_one=not taken)
            if count < len(records):
                self._parts.appendleft((tp, records[count:]))
            if not count:
                break
            taken.append((tp, records[:count]))
            rows, size = rows - count, size - used
        return batch_of(taken)

    def first_offsets(self) -> dict[TopicPartition, int]:
        """Return, per partition, the first offset that is still carried."""
        first: dict[TopicPartition, int] = {}
        for tp, records in self._parts:
            first.setdefault(tp, int(records[0].offset))
        return first

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget the records of partitions that are no longer ours."""
        gone = set(partitions)
        self._parts = deque((tp, records) for tp, records in self._parts if tp not in gone)


def _fitting(records: Sequence[Record], rows: int, size: int, *, at_least_one: bool) -> tuple[int, int]:
    count, used = 0, 0
    for record in records[:rows]:
        grown = used + size_of(record)
        if grown > size and (count or not at_least_one):
            break
        count, used = count + 1, grown
    return count, used
