"""One partition's log: record batches as they came, found again by offset or time, optionally kept in a file."""

from __future__ import annotations

import bisect
import struct
from typing import TYPE_CHECKING, NamedTuple

from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import calc_crc32c

from streamgmm.demo.broker_protocol import Code

if TYPE_CHECKING:
    from pathlib import Path

# Layout of a record batch, format 2: what stands where, in bytes.
LENGTH_AT, EPOCH_AT, MAGIC_AT, CRC_AT, ATTRIBUTES_AT, LAST_DELTA_AT, MAX_TIME_AT, PRODUCER_AT = (
    8,
    12,
    16,
    17,
    21,
    23,
    35,
    43,
)
HEADER = 61
REMEMBERED_BATCHES = 5  # a producer may have five requests in flight, so five may come again


class Header(NamedTuple):
    """What the broker reads of a batch."""

    base: int
    last: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    sequence: int

    @property
    def size(self) -> int:
        """How many offsets, and sequence numbers, the batch takes."""
        return self.last - self.base + 1


def header(batch: bytes) -> Header:
    """Read a batch's header."""
    base = struct.unpack_from(">q", batch)[0]
    delta = struct.unpack_from(">i", batch, LAST_DELTA_AT)[0]
    max_timestamp = struct.unpack_from(">q", batch, MAX_TIME_AT)[0]
    return Header(base, base + delta, max_timestamp, *struct.unpack_from(">qhi", batch, PRODUCER_AT))


def intact(batch: bytes) -> bool:
    """Whether these bytes are exactly one batch of format 2 with the right checksum."""
    if len(batch) < HEADER or batch[MAGIC_AT] != 2 or _size(batch, 0) != len(batch):
        return False
    return bool(calc_crc32c(memoryview(batch)[ATTRIBUTES_AT:]) == struct.unpack_from(">I", batch, CRC_AT)[0])


def _size(data: bytes, at: int) -> int:
    return int(struct.unpack_from(">i", data, at + LENGTH_AT)[0]) + LENGTH_AT + 4


class _Producer(NamedTuple):
    """An idempotent producer's state: its epoch, the sequence it must send next, and its last batches."""

    epoch: int
    next_sequence: int
    recent: tuple[tuple[int, int], ...]  # (first sequence, base offset)


class PartitionLog:
    """Batches in offset order.

    Parameters
    ----------
    path
        Where to keep them as well; what stands there is read first, up to the last complete batch.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.start = 0
        self.end = 0
        self._batches: list[bytes] = []
        self._last: list[int] = []
        self._max_timestamp: list[int] = []
        self._producers: dict[int, _Producer] = {}
        self._file = None
        if path is not None:
            if path.exists():
                self._restore(path)
            self._file = path.open("ab", buffering=0)

    def _restore(self, path: Path) -> None:
        data = path.read_bytes()
        at = 0
        while at + HEADER <= len(data) and at + _size(data, at) <= len(data):
            batch = data[at : at + _size(data, at)]
            if not self._batches:
                self.start = header(batch).base
            self._keep(batch)
            self._remember(header(batch))
            at += len(batch)
        if at < len(data):
            with path.open("r+b") as torn:
                torn.truncate(at)

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()

    def append(self, batch: bytes) -> tuple[Code, int]:
        """Append a producer's batch; return an error code and the base offset it got (or had got before)."""
        if not intact(batch):
            return Code.CORRUPT_MESSAGE, -1
        sent = header(batch)
        code, duplicate = self._sequence(sent)
        if code or duplicate >= 0:
            return code, duplicate
        stamped = bytearray(batch)
        struct.pack_into(">q", stamped, 0, self.end)
        struct.pack_into(">i", stamped, EPOCH_AT, 0)
        stored = bytes(stamped)
        base = self.end
        self._keep(stored)
        self._remember(header(stored))
        if self._file is not None:
            self._file.write(stored)
        return Code.NONE, base

    def _keep(self, batch: bytes) -> None:
        found = header(batch)
        self._batches.append(batch)
        self._last.append(found.last)
        self._max_timestamp.append(found.max_timestamp)
        self.end = found.last + 1

    def _sequence(self, sent: Header) -> tuple[Code, int]:
        """Check an idempotent batch; the offset is that of the first copy when this is a second one."""
        known = self._producers.get(sent.producer_id)
        if sent.producer_id < 0 or known is None:
            return Code.NONE, -1
        if sent.producer_epoch < known.epoch:
            return Code.INVALID_PRODUCER_EPOCH, -1
        if sent.producer_epoch > known.epoch:
            return (Code.NONE if sent.sequence == 0 else Code.OUT_OF_ORDER_SEQUENCE_NUMBER), -1
        for sequence, base in known.recent:
            if sequence == sent.sequence:
                return Code.NONE, base
        return (Code.NONE if sent.sequence == known.next_sequence else Code.OUT_OF_ORDER_SEQUENCE_NUMBER), -1

    def _remember(self, stored: Header) -> None:
        if stored.producer_id < 0:
            return
        known = self._producers.get(stored.producer_id)
        recent = known.recent if known is not None and known.epoch == stored.producer_epoch else ()
        following = (stored.sequence + stored.size) % (1 << 31)
        self._producers[stored.producer_id] = _Producer(
            stored.producer_epoch, following, (*recent, (stored.sequence, stored.base))[-REMEMBERED_BATCHES:]
        )

    def read(self, offset: int, max_bytes: int, *, at_least_one: bool) -> bytes:
        """Return whole batches from the one that holds `offset`; one may exceed `max_bytes` if it is the first."""
        first = bisect.bisect_left(self._last, offset)
        end, size = first, 0
        while end < len(self._batches):
            grown = size + len(self._batches[end])
            if grown > max_bytes and (end > first or not at_least_one):
                break
            end, size = end + 1, grown
        return b"".join(self._batches[first:end])

    def at_time(self, timestamp: int) -> tuple[int, int]:
        """Return offset and timestamp of the first record that is not older; (-1, -1) when there is none."""
        for batch, newest in zip(self._batches, self._max_timestamp, strict=True):
            if newest < timestamp:
                continue
            for record in DefaultRecordBatch(batch):
                if record.timestamp >= timestamp and record.offset >= self.start:
                    return record.offset, record.timestamp
        return -1, -1

    def trim(self, offset: int) -> None:
        """Forget what lies before an offset (never past the end)."""
        self.start = max(self.start, min(offset, self.end))
        dead = bisect.bisect_left(self._last, self.start)
        for column in (self._batches, self._last, self._max_timestamp):
            del column[:dead]

    def damage(self, offset: int) -> None:
        """Flip one bit of the payload of the batch that holds `offset`, as a failing disk would."""
        index = bisect.bisect_left(self._last, offset)
        damaged = bytearray(self._batches[index])
        damaged[-2] ^= 0x55
        self._batches[index] = bytes(damaged)
