"""Does the hook fit the kafka-python that is installed? It reads known batches, and so does the library.

One batch of each kind: compressed or not, null keys and values, headers, stamped by the broker, of a committed and of
an aborted transaction with their markers, one that begins before the fetch, and one that the fetch cut off.
"""

from __future__ import annotations

import inspect
import logging
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka import TopicPartition as KafkaTopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.protocol.consumer import IsolationLevel
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c

from streamgmm.bus import record_kernels as columns
from streamgmm.bus.blocks import BlockCarry
from streamgmm.bus.decompression import CODECS
from streamgmm.bus.hook import CONTROL, TRANSACTIONAL, UNBOUNDED, BlockRecords, hasten
from streamgmm.records import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Sequence

ARGUMENTS = (
    "self", "fetch_offset", "tp", "records", "key_deserializer", "value_deserializer", "check_crcs", "isolation_level",
    "aborted_transactions", "metric_aggregator", "on_drain",
)  # fmt: skip
ABORT, COMMIT = b"\0\0\0\0", b"\0\0\0\1"
TIME = 1_700_000_000_000
FIRST = 2
PARTITION = TopicPartition("rehearsal", 0)
SAMPLE: tuple[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]], ...] = (
    (b"key", b"value" * 20, []),
    (None, b"", [("name", b"header"), ("null", None)]),
    (b"", None, []),
)


class Aborted(NamedTuple):
    """An aborted transaction as a broker tells of it."""

    producer_id: int
    first_offset: int


def batch(
    base: int,
    records: Sequence[tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]],
    *,
    codec: int = 0,
    attributes: int = 0,
    producer: int = -1,
) -> bytes:
    """Return a record batch as it stands in a log; `attributes` are bits beside those of the compression."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=codec, is_transactional=False, producer_id=producer, producer_epoch=0,
        base_sequence=0, batch_size=UNBOUNDED,
    )  # fmt: skip
    for i, (key, value, headers) in enumerate(records):
        builder.append(i, TIME + 3 * i, key, value, headers)
    made = builder.build()
    made[:8] = base.to_bytes(8, "big")
    made[columns.COVERED_AT + 1] |= attributes
    return sealed(made)


def sealed(made: bytearray) -> bytes:
    """Return a batch with the checksum that it should have."""
    struct.pack_into(">I", made, columns.CRC_AT, calc_crc32c(memoryview(made)[columns.COVERED_AT :]))
    return bytes(made)


def sample() -> bytes:
    """Return what a fetch from offset FIRST on could bring."""
    made: list[bytes] = []
    base = 0

    def add(records: Any = SAMPLE, **how: int) -> None:  # noqa: ANN401 - as above
        nonlocal base
        made.append(batch(base, records, **how))
        base += len(records)

    add()
    for codec, (_, installed, _) in CODECS.items():
        if installed():
            add(codec=codec)
    add(attributes=columns.LOG_APPEND_TIME)
    base += 5  # a gap that compaction left
    for producer, marker in ((1, COMMIT), (2, ABORT), (2, COMMIT)):
        add(attributes=TRANSACTIONAL, producer=producer)
        add([(marker, b"\0\0\0\0\0\0", [])], attributes=TRANSACTIONAL | CONTROL, producer=producer)
    return b"".join(made) + batch(base, SAMPLE)[:-1]


def fits_here() -> bool:
    """Return whether the hook fits the installed kafka-python; the faster receive path goes with it."""
    reason = misfit()
    if reason:
        logging.getLogger(__name__).warning("records are decoded one by one, which is much slower: %s", reason)
        return False
    hasten()
    return True


def misfit() -> str:
    """Return why the hook cannot be used; empty where it can."""
    try:
        arguments = tuple(inspect.signature(Fetcher.PartitionRecords.__init__).parameters)
        if arguments != ARGUMENTS:
            return f"PartitionRecords takes {', '.join(arguments)}"
        if "PartitionRecords" not in Fetcher._parse_fetched_data.__code__.co_names:  # noqa: SLF001 - the door
            return "the fetcher does not ask for PartitionRecords"
        return _compared(sample())
    except Exception as error:  # noqa: BLE001 - whatever it is, the plain way is still there
        return f"{type(error).__name__}: {error}"


def _compared(data: bytes) -> str:
    # The second transaction of producer 2 is committed; only the batches say where its first one ended.
    aborted = [Aborted(2, next(b.base_offset for b in _batches(data) if b.producer_id == 2))]
    for level in (IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED):
        theirs = as_library(data, FIRST, level, aborted)
        ours = as_blocks(data, FIRST, level, aborted)
        if ours != theirs:
            return f"blocks and records differ under {level.name.lower()}"
    return ""


def _batches(data: bytes) -> list[Any]:
    records, found = MemoryRecords(data), []
    while (one := records.next_batch()) is not None:
        found.append(one)
    assert all(isinstance(one, DefaultRecordBatch) for one in found)  # noqa: S101 - we made them
    return found


Row = tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]


def as_library(data: bytes, offset: int, level: Any, aborted: Sequence[Any]) -> tuple[list[Row], int]:  # noqa: ANN401
    """Return what kafka-python reads: offset, timestamp, key, value, headers; and the next offset to fetch."""
    how = {"isolation_level": level, "aborted_transactions": aborted}
    part = Fetcher.PartitionRecords(offset, KafkaTopicPartition(*PARTITION), MemoryRecords(data), **how)
    rows = [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in part.take()]
    return rows, part.next_fetch_offset


def as_blocks(data: bytes, offset: int, level: Any, aborted: Sequence[Any]) -> tuple[list[Row], int]:  # noqa: ANN401
    """Return what we read, in the same form."""
    how = {"isolation_level": level, "aborted_transactions": aborted}
    part = BlockRecords(offset, KafkaTopicPartition(*PARTITION), MemoryRecords(data), **how)
    carry, rows = BlockCarry(), []
    carry.put({PARTITION: part.take()})
    while carry:
        taken = carry.take(len(data), len(data))
        rows += [
            (int(taken.offset[i]), int(taken.timestamp[i]), taken.key[i], taken.value[i], list(taken.headers[i]))
            for i in range(len(taken))
        ]
    return rows, part.next_fetch_offset
