"""Where we reach into kafka-python: whole record batches instead of records, and a receive path with fewer copies.

Both are guarded. The hook is tried on known batches before a consumer gets it (`bus/rehearsal.py`); a method of the
receive path is replaced only where its source is the one that the replacement was written for. What does not fit is
left as it is, with a warning: slower, and right.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka import errors
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport
from kafka.protocol.consumer import IsolationLevel
from kafka.protocol.frame import KafkaBytes
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c

from streamgmm.bus import record_kernels as columns
from streamgmm.bus.blocks import Block, batches_of
from streamgmm.bus.damage import CheckedRecords
from streamgmm.bus.internals import fetched_bytes, read_with
from streamgmm.records import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from streamgmm.bus.client import Client
    from streamgmm.records import Ints

logger = logging.getLogger(__name__)

TRANSACTIONAL, CONTROL = 0x10, 0x20
UNBOUNDED = 1 << 40


# --- whole record batches


class BlockRecords(CheckedRecords):
    """One partition of one fetch: `take` returns all of it as one Block.

    Positions, pauses and epochs stay the library's. Checksums and transactions are looked at here, batch by batch, and
    records not at all.
    """

    def take(self, n: int | None = None) -> list[Block]:
        """Return everything before the first damage; the next take raises it."""
        if self._failure is None:
            try:
                blocks = self._blocks(n)
            except Exception as error:
                self._failure = self._located(error)
                raise self._failure from error
            if blocks or self._failure is None:
                return blocks
        raise self._failure

    def _blocks(self, n: int | None) -> list[Block]:
        data = fetched_bytes(self._fetched)
        table, ended = batches_of(data)
        if ended == columns.LEGACY:
            return self._legacy(n)
        intact = self._intact(data, table)
        keep = self._wanted(data, table[:intact])
        if intact:
            last = table[intact - 1]
            self.leader_epoch = int(last[columns.EPOCH])
            self.next_fetch_offset = max(int(last[columns.BASE] + last[columns.LAST]) + 1, self.fetch_offset)
        kept = table[:intact][keep]
        kept[:, columns.FROM] = self.fetch_offset
        self.bytes_read, self.records_read = len(data), int(kept[:, columns.COUNT].sum())
        if intact == len(table) and ended == columns.FINE:
            self.drain()
        else:
            what = "checksum does not match" if intact < len(table) else "header is malformed"
            self._failure = self._located(errors.CorruptRecordError(what))
        return [Block(TopicPartition(*self.topic_partition), data, kept)] if len(kept) else []

    def _intact(self, data: bytes, table: Ints) -> int:
        """Return how many batches come before the first with a wrong checksum."""
        if not self.check_crcs:
            return len(table)
        view, before = memoryview(data), columns.HEADER - columns.COVERED_AT
        for i, (start, end, crc) in enumerate(table[:, (columns.START, columns.END, columns.CRC)].tolist()):
            if calc_crc32c(view[start - before : end]) != crc:
                return i
        return len(table)

    def _wanted(self, data: bytes, table: Ints) -> NDArray[np.bool_]:
        """Return which batches hold records for us: no markers, and where only committed ones are, no aborted ones."""
        keep: NDArray[np.bool_] = (table[:, columns.ATTRIBUTES] & CONTROL) == 0
        if self.isolation_level != IsolationLevel.READ_COMMITTED or not self.aborted_transactions:
            return keep
        for i, row in enumerate(table.tolist()):
            producer, attributes = row[columns.PRODUCER], row[columns.ATTRIBUTES]
            if producer < 0:
                continue
            self._consume_aborted_transactions_up_to(row[columns.BASE] + row[columns.LAST])
            if attributes & CONTROL:
                if _aborts(data, row):
                    self.aborted_producer_ids.discard(producer)
            elif attributes & TRANSACTIONAL and producer in self.aborted_producer_ids:
                keep[i] = False
        return keep

    def _legacy(self, n: int | None) -> list[Block]:
        """Let the library read what was written before Kafka 0.11, and write it anew."""
        records = super().take(n)
        if not records:
            return []
        data = _rewritten(records)
        table, _ = batches_of(data)
        return [Block(TopicPartition(*self.topic_partition), data, table)]


def _aborts(data: bytes, row: Sequence[int]) -> bool:
    if not row[columns.COUNT]:
        return False  # a marker that compaction has emptied
    marker = DefaultRecordBatch(memoryview(data)[row[columns.START] - columns.HEADER : row[columns.END]])
    return bool(next(marker).abort)


def _rewritten(records: Sequence[Any]) -> bytes:
    base = records[0].offset
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=False, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=UNBOUNDED,
    )  # fmt: skip
    for record in records:
        time = -1 if record.timestamp is None else record.timestamp
        builder.append(record.offset - base, time, record.key, record.value, record.headers)
    batch = builder.build()
    batch[:8] = base.to_bytes(8, "big")
    return bytes(batch)


def hook(consumer: Client) -> bool:
    """Let one consumer's polls return blocks, each counting as one of `max_records`; False where it cannot be done."""
    return read_with(consumer, BlockRecords)


# --- the receive path

# One connection may not keep the others waiting: heartbeats go over this thread as well.
TURN_SIZE = 1 << 20
# The rest of a TLS record that was begun.
SLACK = 32 << 10


def _receive(self: Any) -> tuple[bytes | memoryview, Exception | None]:  # noqa: ANN401 - KafkaTCPTransport
    """Read what has arrived; the selector comes back for what is left."""
    return _received(self, nothing_decrypted)


def _receive_tls(self: Any) -> tuple[bytes | memoryview, Exception | None]:  # noqa: ANN401 - KafkaSSLTransport
    """Read what has arrived, and all that TLS holds: the selector knows nothing of what is decrypted already."""
    return _received(self, self._sock.pending)


def nothing_decrypted() -> int:
    """Return how many bytes a plain socket holds back."""
    return 0


def _received(transport: Any, pending: Callable[[], int]) -> tuple[bytes | memoryview, Exception | None]:  # noqa: ANN401 - as above
    """Read into one buffer, again and again: its bytes are taken before the next turn, by `KafkaBytes.write`."""
    room = vars(transport).setdefault("_room", None)
    if room is None:
        room = transport._room = memoryview(bytearray(TURN_SIZE + SLACK))  # noqa: SLF001 - our own
    size, error = 0, None
    while size < TURN_SIZE or pending():
        try:
            n = transport._sock.recv_into(room[size:])  # noqa: SLF001 - we stand in for its method
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            break
        except BaseException as failure:  # noqa: BLE001 - as the library does: the connection fails, not its thread
            error = errors.KafkaConnectionError(failure)
            break
        if not n:
            error = errors.KafkaConnectionError("socket disconnected")
            break
        size += n
    return (room[:size] if size else b""), error


def _read(self: Any, nbytes: int | None = None) -> bytes:  # noqa: ANN401 - KafkaBytes
    start = self._idx
    end = len(self) if nbytes is None else min(start + nbytes, len(self))
    self._idx = end
    with memoryview(self) as view:
        return bytes(view[start:end])


def _write(self: Any, data: bytes) -> None:  # noqa: ANN401 - KafkaBytes
    start = self._idx
    self._idx += len(data)
    with memoryview(self) as view:
        view[start : self._idx] = data


class Patch(NamedTuple):
    """A method, what replaces it, and the fingerprint of the source that it was written for."""

    owner: type
    name: str
    replacement: Callable[..., Any]
    fingerprint: str


PATCHES = (
    Patch(KafkaTCPTransport, "_sock_recv", _receive, "2594a6a62ec5a3e5"),
    Patch(KafkaSSLTransport, "_sock_recv", _receive_tls, "0a592f230c5c4455"),
    Patch(KafkaBytes, "read", _read, "21580870f9dff4aa"),
    Patch(KafkaBytes, "write", _write, "49f98a321eb68eb1"),
)


def fingerprint(method: Callable[..., Any]) -> str:
    """Return what changes with a method's source; empty where that is not to be had."""
    try:
        return hashlib.sha256(inspect.getsource(method).encode()).hexdigest()[:16]
    except (OSError, TypeError):
        return ""


def hasten(patches: Sequence[Patch] = PATCHES) -> list[str]:
    """Replace the methods that are as expected, for all connections of this process; return those that are not."""
    left = []
    for patch in patches:
        method = patch.owner.__dict__.get(patch.name)
        if method is patch.replacement:
            continue
        if method is not None and fingerprint(method) == patch.fingerprint:
            setattr(patch.owner, patch.name, patch.replacement)
        else:
            left.append(f"{patch.owner.__name__}.{patch.name}")
    if left:
        logger.warning("kafka-python's %s is not as expected: receiving is slower", ", ".join(left))
    return left
