"""From kafka-python's records to the arrays that the rest of the daemon works on."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from streamgmm.records import ByteColumn, RecordBatch, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Record: TypeAlias = Any  # kafka.consumer.fetcher.ConsumerRecord
Blocks: TypeAlias = "list[tuple[TopicPartition, Sequence[Record]]]"


def batch_of(blocks: Blocks, next_offsets: Mapping[TopicPartition, int]) -> RecordBatch:
    """Join blocks of records, each from one partition, into one batch."""
    if not blocks:
        return RecordBatch.empty() if not next_offsets else _bare(next_offsets)
    partitions = tuple(dict.fromkeys(tp for tp, _ in blocks))
    index = {tp: i for i, tp in enumerate(partitions)}
    records = [record for _, block in blocks for record in block]
    return RecordBatch(
        partitions,
        np.repeat([index[tp] for tp, _ in blocks], [len(block) for _, block in blocks]).astype(np.int64),
        np.array([r.offset for r in records], dtype=np.int64),
        np.array([-1 if r.timestamp is None else r.timestamp for r in records], dtype=np.int64),
        ByteColumn.from_values([r.value for r in records]),
        ByteColumn.from_values([r.key for r in records]),
        [[(name, value or b"") for name, value in r.headers] if r.headers else () for r in records],
        next_offsets,
    )


def _bare(next_offsets: Mapping[TopicPartition, int]) -> RecordBatch:
    """Return no records, but offsets that moved all the same (transaction markers)."""
    none = RecordBatch.empty()
    return RecordBatch(
        (), none.partition, none.offset, none.timestamp, none.value, none.key, none.headers, next_offsets
    )


def size_of(record: Record) -> int:
    """Return a record's size as its consumer must hold it: key, value and headers."""
    return int(
        max(record.serialized_value_size, 0)
        + max(record.serialized_key_size, 0)
        + max(record.serialized_header_size, 0)
    )


class Carry:
    """Records that were fetched but not handed over yet, in the order they came."""

    def __init__(self) -> None:
        self._blocks: deque[tuple[TopicPartition, Sequence[Record]]] = deque()

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def put(self, fetched: Mapping[Any, Sequence[Record]]) -> None:
        """Add what a poll returned."""
        self._blocks.extend((TopicPartition(*tp), records) for tp, records in fetched.items() if records)

    def take(self, rows: int, size: int) -> Blocks:
        """Take up to `rows` records and `size` bytes; one record is taken even if it is larger."""
        taken: Blocks = []
        while self._blocks and rows > 0 and (size > 0 or not taken):
            tp, records = self._blocks.popleft()
            count, used = _fitting(records, rows, size, at_least_one=not taken)
            if count < len(records):
                self._blocks.appendleft((tp, records[count:]))
            if not count:
                break
            taken.append((tp, records[:count]))
            rows, size = rows - count, size - used
        return taken

    def first_offsets(self) -> dict[TopicPartition, int]:
        """Return, per partition, the first offset that is still carried."""
        first: dict[TopicPartition, int] = {}
        for tp, records in self._blocks:
            first.setdefault(tp, int(records[0].offset))
        return first

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget the records of partitions that are no longer ours."""
        gone = set(partitions)
        self._blocks = deque((tp, records) for tp, records in self._blocks if tp not in gone)


def _fitting(records: Sequence[Record], rows: int, size: int, *, at_least_one: bool) -> tuple[int, int]:
    count, used = 0, 0
    for record in records[:rows]:
        grown = used + size_of(record)
        if grown > size and (count or not at_least_one):
            break
        count, used = count + 1, grown
    return count, used
