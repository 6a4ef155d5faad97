"""The fast way of fetched records: whole record batches as bytes, parsed by a compiled function when they are due.

Nothing here makes an object per record. What is fetched stays as it came, compressed or not, until a poll has room
for it.
"""

from __future__ import annotations

from collections import deque
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from kafka import errors

from streamgmm.bus import record_kernels as columns
from streamgmm.bus.damage import DamagedBatchError
from streamgmm.bus.decompression import CODECS
from streamgmm.bus.headers import HeaderColumn
from streamgmm.records import ByteColumn, RecordBatch, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from streamgmm.records import Ints

CODEC = 7
# All that has arrived: a fetch is taken whole, so that the next one can be asked for at once.
EVERYTHING = 1 << 30


def batches_of(data: bytes) -> tuple[Ints, int]:
    """Return the table of a fetch's batches (n, COLUMNS), and with what the scan ended."""
    buffer = np.frombuffer(data, dtype=np.uint8)
    n, _, status = columns.scan_batches(buffer, np.empty((0, columns.COLUMNS), dtype=np.int64))
    table = np.empty((n, columns.COLUMNS), dtype=np.int64)
    if n:
        columns.scan_batches(buffer, table)
    return table, status


class Part(NamedTuple):
    """Batches of one block that come next.

    Attributes
    ----------
    table
        A view; the bytes of batch i of the part begin in `pieces`, joined, at its START + shift[i].
    whole
        A buffer that the table fits as it stands: nothing need be joined where there is one part alone. None if not.
    """

    block: Block
    table: Ints
    pieces: Sequence[bytes | memoryview]
    shift: Ints
    whole: bytes | None


class Block:
    """The batches of one partition that one fetch brought, and how far they were handed over.

    Parameters
    ----------
    table : (n, COLUMNS) int64, at least one row
        What is to be handed over; it is kept up to date.
    """

    def __init__(self, partition: TopicPartition, data: bytes, table: Ints) -> None:
        self.partition = partition
        self._data = data
        self._table = table
        self._at = 0
        self._compressed = bool((table[:, columns.ATTRIBUTES] & CODEC).any())
        self._bodies: dict[int, bytes] = {}  # decompressed, and not done yet

    def __len__(self) -> int:
        return len(self._table) - self._at

    @property
    def position(self) -> int:
        """The first offset that is still to be handed over."""
        row = self._table[self._at]
        return int(max(row[columns.FROM], row[columns.BASE] + row[columns.PREVIOUS] + 1))

    def part(self, rows: int, size: int) -> Part:
        """Return the next batches, as many as hold `rows` records or `size` bytes.

        Raises
        ------
        DamagedBatchError, kafka.errors.UnsupportedCodecError
            The first of them cannot be decompressed.
        """
        return self._decompressed(rows, size) if self._compressed else self._plain(rows, size)

    def _plain(self, rows: int, size: int) -> Part:
        table = self._table[self._at :]
        enough = (np.cumsum(_sizes(table)) >= size) | (np.cumsum(_rows(table)) >= rows)
        table = table[: int(enough.argmax()) + 1 if enough.any() else len(table)]
        lo, hi = int(table[0, columns.START]), int(table[-1, columns.END])
        pieces = [memoryview(self._data)[lo:hi]]
        return Part(self, table, pieces, np.full(len(table), -lo, dtype=np.int64), self._data)

    def _decompressed(self, rows: int, size: int) -> Part:
        """Decompress no batch before it is due."""
        bodies: list[bytes] = []
        counts = self._table[self._at :, columns.COUNT].tolist()
        for at, count in enumerate(counts, self._at):
            try:
                body = self._body(at)
            except errors.KafkaError:
                # What came before it goes first; the next take finds the same batch again.
                if not bodies:
                    raise
                break
            bodies.append(body)
            size -= len(body)
            rows -= max(min(count, len(body) // columns.SMALLEST_RECORD), 0)
            if rows <= 0 or size <= 0:
                break
        lengths = np.array([len(body) for body in bodies], dtype=np.int64)
        table = self._table[self._at : self._at + len(bodies)]
        return Part(self, table, bodies, np.cumsum(lengths) - lengths, bodies[0] if len(bodies) == 1 else None)

    def _body(self, at: int) -> bytes:
        """Return a batch's records; from then on the table's row is about these bytes."""
        body = self._bodies.get(at)
        if body is None:
            row = self._table[at]
            start, end, attributes = row[[columns.START, columns.END, columns.ATTRIBUTES]].tolist()
            body = self._bodies[at] = self._decompress(self._data[start:end], attributes & CODEC)
            row[columns.START], row[columns.END] = 0, len(body)
        return body

    def _decompress(self, data: bytes, kind: int) -> bytes:
        if not kind:
            return data
        if kind not in CODECS:
            raise self.damage(errors.UnsupportedCodecError(f"compression {kind}"))
        name, installed, decode = CODECS[kind]
        if not installed():
            raise errors.UnsupportedCodecError(f"the library for {name} is not installed")
        try:
            return decode(data)
        except Exception as error:  # each library has its own
            raise self.damage(error) from error

    def epochs(self) -> list[tuple[int, int]]:
        """Return where each leader epoch begins: first offset, epoch."""
        epochs = self._table[:, columns.EPOCH]
        begins = np.flatnonzero(np.diff(epochs, prepend=epochs[0] - 1))
        return [(int(self._table[i, columns.BASE]), int(epochs[i])) for i in begins]

    def advance(self, n: int) -> None:
        """Leave `n` batches behind."""
        for at in range(self._at, self._at + n):
            self._bodies.pop(at, None)
        self._at += n

    def damage(self, cause: Exception) -> DamagedBatchError:
        """Return the error for the batch that comes next."""
        row = self._table[self._at]
        after = int(row[columns.BASE] + row[columns.LAST] + 1)
        return DamagedBatchError(self.partition, self.position, max(after, self.position + 1), cause)


def _sizes(table: Ints) -> Ints:
    return table[:, columns.END] - table[:, columns.START]


def _rows(table: Ints) -> Ints:
    """Return the most records that each batch can hold, whatever its header claims."""
    return np.maximum(np.minimum(table[:, columns.COUNT], _sizes(table) // columns.SMALLEST_RECORD), 0)


class BlockCarry:
    """Blocks that were fetched but not handed over yet, in the order they came."""

    def __init__(self) -> None:
        self._blocks: deque[Block] = deque()

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def wanted(self, rows: int, size: int) -> int:  # noqa: ARG002 - a fetch is bounded by its own limits
        """Return how many blocks to ask for."""
        return EVERYTHING

    def put(self, fetched: Mapping[Any, Sequence[Block]]) -> None:
        """Add what a poll returned."""
        self._blocks.extend(block for blocks in fetched.values() for block in blocks if block)

    def take(self, rows: int, size: int) -> RecordBatch:
        """Take up to `rows` records and `size` bytes; one record is taken even if it is larger.

        Raises
        ------
        DamagedBatchError
            The next batch cannot be read; again and again, until it is dropped.
        kafka.errors.UnsupportedCodecError
            Its compression needs a library that is not there.
        """
        parts = self._parts(rows, size)
        if not parts:
            return RecordBatch.empty()
        data, table, shift = _joined(parts)
        # Room for one record at least, or a batch too short for the records it claims would never be found out.
        room = min(rows, max(int(_rows(table).sum()), 1))
        out = np.empty((columns.OUTPUTS, room), dtype=np.int64)
        n, done, status = columns.parse_records(data, table, rows, size, out)
        table[:, : columns.END + 1] -= shift
        _advance(parts, table, done)
        while self._blocks and not self._blocks[0]:
            self._blocks.popleft()
        if status == columns.BROKEN and not n:
            raise self._blocks[0].damage(errors.CorruptRecordError("a record is malformed"))
        return _batch(data, out[:, :n], tuple(dict.fromkeys(part.block.partition for part in parts)))

    def _parts(self, rows: int, size: int) -> list[Part]:
        parts: list[Part] = []
        try:
            for block in self._blocks:
                part = block.part(rows, size)
                parts.append(part)
                rows, size = rows - int(_rows(part.table).sum()), size - int(_sizes(part.table).sum())
                # Nothing may overtake what is left of a block, full or damaged.
                if len(part.table) < len(block) or rows <= 0 or size <= 0:
                    break
        except errors.KafkaError:
            if not parts:
                raise
        return parts

    def first_offsets(self) -> dict[TopicPartition, int]:
        """Return, per partition, the first offset that is still carried."""
        first: dict[TopicPartition, int] = {}
        for block in self._blocks:
            first.setdefault(block.partition, block.position)
        return first

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget the records of partitions that are no longer ours."""
        gone = set(partitions)
        self._blocks = deque(block for block in self._blocks if block.partition not in gone)


def _joined(parts: Sequence[Part]) -> tuple[NDArray[np.uint8], Ints, Ints]:
    """Return one buffer, one table of all batches in it, and how far each one's bytes were moved for that (n, 1)."""
    table = np.concatenate([part.table for part in parts])
    index: dict[TopicPartition, int] = {}
    numbers = [index.setdefault(part.block.partition, len(index)) for part in parts]
    table[:, columns.PARTITION] = np.repeat(numbers, [len(part.table) for part in parts])
    if len(parts) == 1 and parts[0].whole is not None:  # as it came, without a copy
        return np.frombuffer(parts[0].whole, dtype=np.uint8), table, np.zeros((1, 1), dtype=np.int64)
    begins = accumulate((sum(map(len, part.pieces)) for part in parts), initial=0)
    shift = np.concatenate([part.shift + begin for part, begin in zip(parts, begins, strict=False)])[:, np.newaxis]
    table[:, : columns.END + 1] += shift
    joined = b"".join(piece for part in parts for piece in part.pieces)
    return np.frombuffer(joined, dtype=np.uint8), table, shift


def _advance(parts: Sequence[Part], table: Ints, done: int) -> None:
    """Note in every block what was handed over; `done` batches of all of them are."""
    first = 0
    for part in parts:
        n = len(part.table)
        part.table[:] = table[first : first + n]
        part.block.advance(min(max(done - first, 0), n))
        first += n


def _batch(data: NDArray[np.uint8], out: Ints, partitions: tuple[TopicPartition, ...]) -> RecordBatch:
    partition = out[columns.OUT_PARTITION]
    alone = len(partitions) == 1 and len(partition) > 0
    used = np.ones(1, dtype=bool) if alone else np.bincount(partition, minlength=len(partitions)) > 0
    if not used.all():
        partition = (np.cumsum(used) - 1)[partition]
    return RecordBatch(
        tuple(tp for tp, here in zip(partitions, used, strict=True) if here),
        partition,
        out[columns.OUT_OFFSET],
        out[columns.OUT_TIME],
        ByteColumn(data, out[columns.VALUE], out[columns.VALUE_LENGTH]),
        ByteColumn(data, out[columns.KEY], out[columns.KEY_LENGTH]),
        HeaderColumn(data, out[columns.HEADERS], out[columns.HEADER_COUNT]),
        {},
    )
