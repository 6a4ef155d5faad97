"""Record batches that are damaged in the log: say where, and where to go on.

kafka-python 3.0 raises CorruptRecordError once and then spins for ever in the next poll, because its dead generator is
never drained; and the error does not say where the damaged batch ends. `raise_again` puts that right for one consumer.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from kafka import errors
from kafka.consumer.fetcher import Fetcher
from kafka.record.util import calc_crc32c

from streamgmm.bus.internals import fetched_bytes, read_with
from streamgmm.records import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamgmm.bus.client import Client

# Record batch, format 2: base offset, length, (epoch, magic), checksum, what it covers.
OVERHEAD, CRC_AT, COVERED_AT, LAST_DELTA_AT = 12, 17, 21, 23


class DamagedBatchError(errors.CorruptRecordError):  # type: ignore[misc] # kafka-python ships no types
    """A batch of a partition cannot be read.

    Attributes
    ----------
    partition
    offset
        The first offset that cannot be had.
    next_offset
        Where the next batch begins, as far as this fetch shows it.
    drop
        Forgets the fetch, so that the same offset is fetched again.
    """

    def __init__(
        self,
        partition: TopicPartition,
        offset: int,
        next_offset: int,
        cause: Exception,
        drop: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(f"{partition.topic}/{partition.partition}/{offset}: {type(cause).__name__}: {cause}")
        self.partition = partition
        self.offset = offset
        self.next_offset = next_offset
        self.drop = drop


class CheckedRecords(Fetcher.PartitionRecords):  # type: ignore[misc] # kafka-python ships no types
    """One partition of one fetch: what went wrong is raised again until the consumer seeks away, as in Java."""

    def __init__(self, fetch_offset: int, tp: Any, records: Any, **how: Any) -> None:  # noqa: ANN401 - kafka-python's
        self._fetched = records
        self._failure: Exception | None = None
        super().__init__(fetch_offset, tp, records, **how)

    def take(self, n: int | None = None) -> Any:  # noqa: ANN401 - kafka-python's records
        """Return up to `n` records."""
        if self._failure is not None:
            raise self._failure
        try:
            return super().take(n)
        except Exception as error:
            self._failure = self._located(error)
            raise self._failure from error

    def _located(self, error: Exception) -> Exception:
        damaged = isinstance(error, errors.CorruptRecordError) or not isinstance(error, errors.KafkaError)
        if not damaged:
            return error  # a missing codec, say, is nobody's damage
        offset = int(self.next_fetch_offset)
        after = following(fetched_bytes(self._fetched), offset)
        return DamagedBatchError(TopicPartition(*self.topic_partition), offset, after, error, self.drain)


def following(fetched: bytes, offset: int) -> int:
    """Return the offset after the first unreadable batch: where the next one begins, else what its header claims."""
    batches = list(_batches(fetched))
    damaged = next((i for i, (_, _, intact) in enumerate(batches) if not intact), None)
    if damaged is None:
        damaged = next((i for i, (_, last, _) in enumerate(batches) if last >= offset), None)
    if damaged is None:
        return offset + 1
    after = batches[damaged + 1][0] if damaged + 1 < len(batches) else batches[damaged][1] + 1
    return max(after, offset + 1)


def _batches(fetched: bytes) -> Iterator[tuple[int, int, bool]]:
    """Yield first offset, last offset, and whether the checksum holds; the last batch of a fetch may be cut short."""
    at = 0
    while at + COVERED_AT + 6 <= len(fetched):
        base, length = struct.unpack_from(">qi", fetched, at)
        end = at + OVERHEAD + length
        if length <= 0 or end > len(fetched):
            return
        crc = struct.unpack_from(">I", fetched, at + CRC_AT)[0]
        delta = struct.unpack_from(">i", fetched, at + LAST_DELTA_AT)[0]
        yield base, base + delta, calc_crc32c(memoryview(fetched)[at + COVERED_AT : end]) == crc
        at = end


def raise_again(consumer: Client) -> None:
    """Let one consumer report damage as `DamagedBatchError`, again and again, instead of hanging."""
    read_with(consumer, CheckedRecords)
