"""The fast way of fetched records: whole record batches as bytes, parsed by a compiled function when they are due.

Nothing here makes an object per record. What is fetched stays as it came, compressed or not, until a poll has room
for it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from kafka import errors

from streamgmm.bus import record_kernels as columns
from streamgmm.bus.damage import DamagedBatchError
from streamgmm.bus.decompression import CODECS
from streamgmm.bus.headers import HeaderColumn
from streamgmm.records import ByteColumn, RecordBatch, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

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


class Run(NamedTuple):
    """Batches of one block that lie side by side in one buffer; `table` is a view, `lo` to `hi` their bytes."""

    block: Block
    data: bytes
    table: Ints
    lo: int
    hi: int


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
        self._bodies: dict[int, bytes] = {}  # decompressed, and not done yet

    def __bool__(self) -> bool:
        return self._at < len(self._table)

    @property
    def position(self) -> int:
        """The first offset that is still to be handed over."""
        row = self._table[self._at]
        return int(max(row[columns.FROM], row[columns.BASE] + row[columns.PREVIOUS] + 1))

    def runs(self, rows: int, size: int) -> Iterator[Run]:
        """Yield runs until they hold `rows` records or `size` bytes, decompressing no batch before it is due."""
        at = self._at
        while at < len(self._table) and rows > 0 and size > 0:
            run = self._plain(at, rows, size) or self._decompressed(at)
            yield run
            at += len(run.table)
            size -= run.hi - run.lo
            rows -= int(_rows(run.table).sum())

    def _plain(self, first: int, rows: int, size: int) -> Run | None:
        """Return the uncompressed batches that come next, as many as are needed; None where the next is compressed."""
        rest = self._table[first:]
        compressed = (rest[:, columns.ATTRIBUTES] & CODEC) != 0
        if compressed[0]:
            return None
        n = int(compressed.argmax()) or len(rest)
        held = rest[:n, columns.END] - rest[:n, columns.START]
        enough = (np.cumsum(held) >= size) | (np.cumsum(_rows(rest[:n])) >= rows)
        n = int(enough.argmax()) + 1 if enough.any() else n
        return Run(self, self._data, rest[:n], int(rest[0, columns.START]), int(rest[n - 1, columns.END]))

    def _decompressed(self, at: int) -> Run:
        row = self._table[at]
        if at not in self._bodies:
            body = self._bodies[at] = self._decompress(row)
            row[columns.START], row[columns.END] = 0, len(body)
        return Run(self, self._bodies[at], self._table[at : at + 1], int(row[columns.START]), int(row[columns.END]))

    def _decompress(self, row: Ints) -> bytes:
        kind = int(row[columns.ATTRIBUTES]) & CODEC
        if kind not in CODECS:
            raise self.damage(errors.UnsupportedCodecError(f"compression {kind}"))
        name, installed, decode = CODECS[kind]
        if not installed():
            raise errors.UnsupportedCodecError(f"the library for {name} is not installed")
        try:
            return decode(self._data[row[columns.START] : row[columns.END]])
        except Exception as error:  # each library has its own
            raise self.damage(error) from error

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


def _rows(table: Ints) -> Ints:
    """Return the most records that each batch can hold, whatever its header claims."""
    most = (table[:, columns.END] - table[:, columns.START]) // columns.SMALLEST_RECORD
    return np.clip(table[:, columns.COUNT], 0, most)


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
        runs = self._runs(rows, size)
        if not runs:
            return RecordBatch.empty()
        data, table, moved = _joined(runs)
        # Room for one record at least, or a batch too short for the records it claims would never be found out.
        room = min(rows, max(int(_rows(table).sum()), 1))
        out = np.empty((columns.OUTPUTS, room), dtype=np.int64)
        n, done, status = columns.parse_records(data, table, rows, size, out)
        table[:, : columns.END + 1] -= moved
        _advance(runs, table, done)
        while self._blocks and not self._blocks[0]:
            self._blocks.popleft()
        if status == columns.BROKEN and not n:
            raise self._blocks[0].damage(errors.CorruptRecordError("a record is malformed"))
        return _batch(data, out[:, :n], tuple(dict.fromkeys(run.block.partition for run in runs)))

    def _runs(self, rows: int, size: int) -> list[Run]:
        runs: list[Run] = []
        try:
            for block in self._blocks:
                for run in block.runs(rows, size):
                    runs.append(run)
                    rows, size = rows - int(_rows(run.table).sum()), size - (run.hi - run.lo)
                if rows <= 0 or size <= 0:
                    break
        except errors.KafkaError:
            # What came before it goes first; the next take finds the same batch again.
            if not runs:
                raise
        return runs

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


def _joined(runs: Sequence[Run]) -> tuple[NDArray[np.uint8], Ints, Ints]:
    """Return one buffer, one table of all batches in it, and how far each one's bytes were moved for that (n, 1)."""
    table = np.concatenate([run.table for run in runs])
    index: dict[TopicPartition, int] = {}
    numbers = [index.setdefault(run.block.partition, len(index)) for run in runs]
    lengths = [len(run.table) for run in runs]
    table[:, columns.PARTITION] = np.repeat(numbers, lengths)
    if len(runs) == 1:  # as it came, without a copy
        return np.frombuffer(runs[0].data, dtype=np.uint8), table, np.zeros((1, 1), dtype=np.int64)
    sizes = np.array([run.hi - run.lo for run in runs], dtype=np.int64)
    starts = np.cumsum(sizes) - sizes - np.array([run.lo for run in runs], dtype=np.int64)
    moved = np.repeat(starts, lengths)[:, np.newaxis]
    table[:, : columns.END + 1] += moved
    joined = b"".join([memoryview(run.data)[run.lo : run.hi] for run in runs])
    return np.frombuffer(joined, dtype=np.uint8), table, moved


def _advance(runs: Sequence[Run], table: Ints, done: int) -> None:
    """Note in every block what was handed over; `done` batches of all of them are."""
    first = 0
    for run in runs:
        n = len(run.table)
        run.table[:] = table[first : first + n]
        run.block.advance(min(max(done - first, 0), n))
        first += n


def _batch(data: NDArray[np.uint8], out: Ints, partitions: tuple[TopicPartition, ...]) -> RecordBatch:
    partition = out[columns.OUT_PARTITION]
    used = np.bincount(partition, minlength=len(partitions)) > 0
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
