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
from streamgmm.bus.decompression import CODECS, Bound
from streamgmm.bus.headers import HeaderColumn
from streamgmm.order import Shares
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


class Mark(NamedTuple):
    """Where a block stood: its next batch, and the rows of its table from there on."""

    block: Block
    at: int
    table: Ints


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
        self._spans: dict[int, tuple[int, int]] = {}  # of the data, that they came out of

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
            span = self._spans.get(at)
            start, end = span or row[[columns.START, columns.END]].tolist()
            kind = int(row[columns.ATTRIBUTES]) & CODEC
            body = self._bodies[at] = self._decompress(self._data[start:end], kind)
            if span is None:
                self._spans[at] = start, end
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
        self._at += n

    def mark(self, part: Part) -> Mark:
        """Return how to go back to where a part begins."""
        return Mark(self, self._at, part.table.copy())

    def go_back(self, mark: Mark, offset: int) -> None:
        """Hand over again what was handed over since a mark, from an offset on."""
        self._at = mark.at
        table = self._table[mark.at : mark.at + len(mark.table)]
        table[:] = mark.table
        table[:, columns.FROM] = np.maximum(table[:, columns.FROM], offset)
        self._at += int(np.count_nonzero(table[:, columns.BASE] + table[:, columns.LAST] < offset))

    def settle(self) -> int:
        """Forget the bodies of batches that are done; return how many bytes the others have."""
        for at in [at for at in self._bodies if at < self._at]:
            del self._bodies[at]
        return self.unpacked()

    def unpacked(self) -> int:
        """Return how many bytes are decompressed and not forgotten."""
        return sum(map(len, self._bodies.values()))

    def shrink(self) -> None:
        """Forget all bodies: they are decompressed again when they are due."""
        self._bodies.clear()

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
    """Blocks that were fetched but not handed over yet, by partition."""

    def __init__(self) -> None:
        self._blocks: dict[TopicPartition, deque[Block]] = {}
        self._shares = Shares()
        # What was taken last: where its blocks stood before, and its offsets.
        self._taken: dict[TopicPartition, tuple[list[Mark], Ints]] = {}

    def __bool__(self) -> bool:
        return any(map(any, self._blocks.values()))

    def wanted(self, rows: int, size: int) -> int:  # noqa: ARG002 - a fetch is bounded by its own limits
        """Return how many blocks to ask for."""
        return EVERYTHING

    def put(self, fetched: Mapping[Any, Sequence[Block]]) -> None:
        """Add what a poll returned."""
        for blocks in fetched.values():
            for block in blocks:
                if block:
                    self._blocks.setdefault(block.partition, deque()).append(block)

    def take(self, rows: int, size: int) -> RecordBatch:
        """Take up to `rows` records and `size` bytes, a portion of each partition; one record is taken if it is larger.

        What finds no room any more comes first the next time.

        Raises
        ------
        DamagedBatchError
            The next batch cannot be read; again and again, until it is dropped.
        kafka.errors.UnsupportedCodecError
            Its compression needs a library that is not there.
        """
        self._settle(size)
        taken: dict[TopicPartition, _Portion] = {}
        share, alone, room = size / rows, len(self._blocks) == 1, Bound.most
        for tp, most in list(self._shares.portions(self._blocks, rows)):
            if rows <= 0 or size <= 0 or room <= 0:
                break
            try:
                portion = self._portion(tp, min(most, rows), max(min(size, int(share * most)), 1), alone=alone)
            except errors.KafkaError:
                if not taken:
                    raise
                continue  # what came before it goes first; the next take finds the same batch again
            if taken and portion.held > size:
                self._undo(tp)
                break
            taken[tp] = portion
            rows, size = rows - portion.out.shape[1], size - portion.held
            # A few records may have come out of a batch that holds much more, in each of many partitions.
            room -= sum(block.unpacked() for block in self._blocks[tp])
            self._shares.note(tp, portion.out.shape[1])
            self._blocks[tp] = self._blocks.pop(tp)
        return _batch({tp: portion for tp, portion in taken.items() if portion.out.shape[1]})

    def _portion(self, tp: TopicPartition, rows: int, size: int, *, alone: bool) -> _Portion:
        parts = self._parts(self._blocks[tp], rows, size)
        marks = [part.block.mark(part) for part in parts]
        data, table, shift = _joined(parts, whole=alone)
        # Room for one record at least, or a batch too short for the records it claims would never be found out.
        room = min(rows, max(int(_rows(table).sum()), 1))
        out = np.empty((columns.OUTPUTS, room), dtype=np.int64)
        n, done, status, held = columns.parse_records(data, table, rows, size, out)
        table[:, : columns.END + 1] -= shift
        _advance(parts, table, done)
        if status == columns.BROKEN and not n:
            raise next(filter(None, self._blocks[tp])).damage(errors.CorruptRecordError("a record is malformed"))
        self._taken[tp] = marks, out[columns.OUT_OFFSET, :n]
        return _Portion(data, out[:, :n], held)

    @staticmethod
    def _parts(blocks: Iterable[Block], rows: int, size: int) -> list[Part]:
        parts: list[Part] = []
        try:
            for block in filter(None, blocks):
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

    def _settle(self, size: int) -> None:
        """Forget what is done, and what is decompressed where that is more than `size` bytes."""
        self._taken = {}
        blocks = {tp: deque(filter(None, mine)) for tp, mine in self._blocks.items()}
        self._blocks = {tp: mine for tp, mine in blocks.items() if mine}
        left = [block for mine in self._blocks.values() for block in mine]
        if sum(block.settle() for block in left) > size:
            for block in left:
                block.shrink()

    def give_back(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Take back, from these offsets on, what was taken last."""
        for tp, offset in offsets.items():
            handed = self._undo(tp, offset)
            self._shares.returned(tp, int(np.count_nonzero(handed >= offset)))

    def _undo(self, tp: TopicPartition, offset: int = 0) -> Ints:
        """Take back what a partition gave, from an offset on; return all offsets that it gave."""
        marks, handed = self._taken.pop(tp)
        for mark in marks:
            mark.block.go_back(mark, offset)
        return handed

    def first_offsets(self) -> dict[TopicPartition, int]:
        """Return, per partition, the first offset that is still carried."""
        return {tp: next(filter(None, blocks)).position for tp, blocks in self._blocks.items() if any(blocks)}

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget the records of partitions that are no longer ours."""
        for tp in set(partitions):
            self._blocks.pop(tp, None)
            self._taken.pop(tp, None)
            self._shares.forget([tp])


class _Portion(NamedTuple):
    """Records of one partition: slices of its data, what `parse_records` wrote (OUTPUTS, n), and their bytes."""

    data: NDArray[np.uint8]
    out: Ints
    held: int


def _joined(parts: Sequence[Part], *, whole: bool) -> tuple[NDArray[np.uint8], Ints, Ints]:
    """Return one buffer, one table of all batches in it, and how far each one's bytes were moved for that (n, 1).

    `whole` says whether the buffer may be larger than what the table speaks of.
    """
    table = np.concatenate([part.table for part in parts])
    if whole and len(parts) == 1 and parts[0].whole is not None:  # as it came, without a copy
        return np.frombuffer(parts[0].whole, dtype=np.uint8), table, np.zeros((1, 1), dtype=np.int64)
    begins = accumulate((sum(map(len, part.pieces)) for part in parts), initial=0)
    shift = np.concatenate([part.shift + begin for part, begin in zip(parts, begins, strict=False)])[:, np.newaxis]
    table[:, : columns.END + 1] += shift
    pieces = [piece for part in parts for piece in part.pieces]
    return np.frombuffer(pieces[0] if len(pieces) == 1 else b"".join(pieces), dtype=np.uint8), table, shift


def _advance(parts: Sequence[Part], table: Ints, done: int) -> None:
    """Note in every block what was handed over; `done` batches of all of them are."""
    first = 0
    for part in parts:
        n = len(part.table)
        part.table[:] = table[first : first + n]
        part.block.advance(min(max(done - first, 0), n))
        first += n


def _batch(taken: Mapping[TopicPartition, _Portion]) -> RecordBatch:
    if not taken:
        return RecordBatch.empty()
    portions = list(taken.values())
    data, out, _ = portions[0]
    if len(portions) > 1:
        begins = np.cumsum([0, *(len(portion.data) for portion in portions[:-1])])
        for portion, begin in zip(portions, begins.tolist(), strict=True):
            portion.out[[columns.VALUE, columns.KEY, columns.HEADERS]] += begin
        data = np.concatenate([portion.data for portion in portions])
        out = np.concatenate([portion.out for portion in portions], axis=1)
    return RecordBatch(
        tuple(taken),
        np.repeat(np.arange(len(portions)), [portion.out.shape[1] for portion in portions]),
        out[columns.OUT_OFFSET],
        out[columns.OUT_TIME],
        ByteColumn(data, out[columns.VALUE], out[columns.VALUE_LENGTH]),
        ByteColumn(data, out[columns.KEY], out[columns.KEY_LENGTH]),
        HeaderColumn(data, out[columns.HEADERS], out[columns.HEADER_COUNT]),
        {},
    )
