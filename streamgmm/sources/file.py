"""A file of records: JSON lines, or CSV with a header whose rows become JSON objects. One line is one record.

The offset of a record is its line number, from 0 (a CSV's header is not counted; empty lines are numbered but hold
nothing). The committed offset is kept in a small file of its own, with what tells the file from another one of that
name. Lines that are appended while the source runs are
read once they end in a line feed.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np

from streamgmm.errors import ConfigError, StopError
from streamgmm.records import ByteColumn, Contact, Event, Rebalance, RecordBatch, TopicPartition
from streamgmm.sources import COMMIT_TIMEOUT, Resume, Start, start_at
from streamgmm.sources._csv import BOM, as_json, header
from streamgmm.sources._file_identity import identity_of, is_file
from streamgmm.sources._offsets import read_offset, write_offset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CHUNK = 1 << 20


@dataclass(frozen=True)
class FileSettings:
    """Settings of a file source.

    Attributes
    ----------
    path
        The file.
    format
        `jsonl` or `csv`; by the file's ending unless given.
    offsets_path
        Where the committed offset is kept; beside the file, as `<file>.offsets.json`, unless given.
    max_rows, max_bytes
        Bounds of one poll. A line longer than `max_bytes` stops the source.
    """

    path: Path
    format: Literal["jsonl", "csv"] | None = None
    offsets_path: Path | None = None
    max_rows: int = 5000
    max_bytes: int = 16 * 1024 * 1024


def build(settings: FileSettings) -> FileSource:
    """Return a source that reads a file."""
    return FileSource(settings)


class FileSource:
    """Source over the lines of a file; its one partition is `<file name>/0`."""

    def __init__(self, settings: FileSettings) -> None:
        self._settings = settings
        self._path = Path(settings.path)
        self._offsets = settings.offsets_path or self._path.with_name(f"{self._path.name}.offsets.json")
        self._csv = (settings.format or _format_of(self._path)) == "csv"
        self._partition = TopicPartition(self._path.name, 0)
        self._file: BinaryIO | None = None
        self._header: tuple[str, ...] = ()
        self._start: Start | None = None
        self._rebalances: list[Rebalance] = []
        self._events: list[Event] = []
        self._line = 0  # the next line's offset
        self._byte = 0  # where it begins
        self._begins: dict[int, int] = {}  # line → byte, of the last block
        self._end_byte = 0  # the file's size at start
        self._midline = False  # whether it ended without a line feed
        self._feeds = 0  # line feeds seen in the file
        self._counted = 0  # bytes among which they were counted
        self._paused = False
        self._wake = threading.Event()

    def start(self, resume: Resume) -> None:
        """Open the file and go to the committed offset."""
        stored = read_offset(self._offsets, self._path.name)
        try:
            self._file = self._path.open("rb")
        except OSError as error:
            raise StopError(f"cannot read {self._path}: {error.strerror}") from error
        try:
            self._go_to_start(stored, resume)
        except StopError:
            self.close(0.0)
            raise
        self._rebalances.append(Rebalance("assigned", (self._partition,)))

    def poll(self, timeout: float) -> RecordBatch:
        """Return the next lines; waits when there are none, for at most `timeout`."""
        batch = RecordBatch.empty() if self._paused or self._file is None else self._block()
        if not len(batch) and not batch.next_offsets:
            self._stop_if_replaced()
            self._wake.wait(timeout)
            self._wake.clear()
        return batch

    def give_back(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Go back to a line of the last block."""
        assert self._file is not None  # noqa: S101 - what was handed over came from it
        self._line = offsets[self._partition]
        self._byte = self._begins[self._line]
        self._file.seek(self._byte)

    def rebalances(self) -> list[Rebalance]:
        """Return, once, that the file was assigned to us."""
        happened, self._rebalances = self._rebalances, []
        return happened

    def events(self) -> list[Event]:
        """Return, once, that another file has the name of the one that was read before."""
        happened, self._events = self._events, []
        return happened

    def waiting(self) -> Mapping[TopicPartition, str]:
        """Return nothing: a file can always be read."""
        return {}

    def starts(self) -> Mapping[TopicPartition, Start]:
        """Return where the file is read from."""
        return {} if self._start is None else {self._partition: self._start}

    def flushed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Do nothing: a file is never revoked."""

    def commit(
        self,
        offsets: Mapping[TopicPartition, int],
        timeout: float = COMMIT_TIMEOUT,  # noqa: ARG002 - nothing here can take long
    ) -> bool:
        """Store the offset, durably."""
        if self._partition in offsets:
            identity = self._start.identity if self._start is not None else ""
            write_offset(self._offsets, self._path.name, offsets[self._partition], identity)
        return True

    def pause(self) -> None:
        """Hand out nothing until `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        self._wake.set()

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return the lines still to read, as of the last poll."""
        if self._start is None:
            return {}
        open_line = self._midline and self._counted == self._end_byte
        return {self._partition: max(0, self._feeds + open_line - self._line)}

    def contact(self) -> Contact:
        """Return that there is nobody to ask."""
        return Contact()

    def at_end(self) -> bool:
        """Return whether all that was there at start has been read."""
        return self._byte >= self._end_byte

    def close(self, timeout: float) -> None:  # noqa: ARG002 - nothing here can take long
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._wake.set()

    def _go_to_start(self, stored: tuple[int, str] | None, resume: Resume) -> None:
        assert self._file is not None  # noqa: S101 - just opened
        if self._csv:
            self._header = header(self._file.readline(self._settings.max_bytes), self._path)
        self._byte = self._counted = self._file.tell()
        self._end_byte = self._size()
        self._count_lines()
        self._midline = self._ends_midline()
        identity, covered = identity_of(self._file), resume.covered.get(self._partition)
        known = covered is not None and is_file(covered.identity, self._file)
        # Offsets that are gone while a snapshot is there: all before it had been committed.
        committed = covered.offset if covered is not None and known else 0
        is_other = covered is not None and not known
        if stored is not None:
            is_other = not is_file(stored[1], self._file)
            committed = 0 if is_other else stored[0]
        self._start = start_at(covered if known else None, committed, resume.max_replay)._replace(identity=identity)
        if is_other:
            why = "another file has that name now; it is read from its beginning"
            where = {"topic": self._partition.topic, "partition": 0, "from": -1, "to": 0, "records": 0}
            self._events.append(Event("position_moved", {"reason": "recreated"}, {**where, "why": why}))
        self._skip_to(self._start.offset)

    def _block(self) -> RecordBatch:
        self._count_lines()
        values: list[bytes] = []
        offsets: list[int] = []
        size, first = 0, self._line
        self._begins.clear()
        while self._line - first < self._settings.max_rows and size < self._settings.max_bytes:
            raw = self._next_line()
            if raw is None:
                break
            size += len(raw)
            line = raw.rstrip(b"\r\n").removeprefix(BOM)  # files that were joined have some in the middle
            if line:
                self._begins[self._line - 1] = self._byte - len(raw)
                values.append(self._value(line))
                offsets.append(self._line - 1)
        moved = {self._partition: self._line} if self._line > first else {}
        return self._batch(values, offsets, moved)

    def _next_line(self) -> bytes | None:
        """Return the next line that is whole; the last one of the file as found at start counts as whole."""
        assert self._file is not None  # noqa: S101 - poll has looked
        raw = self._file.readline(self._settings.max_bytes + 1)
        if self._midline and self._byte == self._end_byte and raw in (b"\n", b"\r\n"):
            # It ends the line that was taken as whole, and is no line of its own.
            self._byte += len(raw)
            raw = self._file.readline(self._settings.max_bytes + 1)
        if len(raw) > self._settings.max_bytes:
            raise StopError(
                f"line {self._line} of {self._path} is longer than {self._settings.max_bytes} bytes",
                hint="split it, or raise limits.batch_bytes",
            )
        if not raw.endswith(b"\n") and (not raw or self._byte + len(raw) > self._end_byte):
            self._file.seek(self._byte)
            return None
        self._byte += len(raw)
        self._line += 1
        return raw

    def _value(self, line: bytes) -> bytes:
        return as_json(line, self._header) if self._csv else line

    def _batch(
        self, values: Sequence[bytes], offsets: Sequence[int], moved: Mapping[TopicPartition, int]
    ) -> RecordBatch:
        n = len(values)
        return RecordBatch(
            (self._partition,) if n else (),
            np.zeros(n, dtype=np.int64),
            np.array(offsets, dtype=np.int64),
            np.full(n, -1, dtype=np.int64),
            ByteColumn.from_values(values),
            ByteColumn.from_values([None] * n),
            [()] * n,
            moved,
        )

    def _size(self) -> int:
        assert self._file is not None  # noqa: S101 - only called while it is open
        return os.fstat(self._file.fileno()).st_size

    def _count_lines(self) -> None:
        """Count the line feeds up to the file's size, reading only what was added since."""
        assert self._file is not None  # noqa: S101 - only called while it is open
        size = self._size()
        if size < self._byte:
            raise StopError(
                f"{self._path} has shrunk from {self._byte} to {size} bytes while it was read",
                hint="append to the file, or start again on a new one",
            )
        if size <= self._counted:
            return
        # Of the file that is open: after a rotation another one has its name.
        descriptor = self._file.fileno()
        while chunk := os.pread(descriptor, min(_CHUNK, size - self._counted), self._counted):
            self._feeds += chunk.count(b"\n")
            self._counted += len(chunk)

    def _stop_if_replaced(self) -> None:
        """Stop where everything was read and another file has taken the name: its lines would count from 0 again."""
        if self._paused or self._file is None:
            return
        try:
            replaced = not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except OSError:
            return  # moved away: what has it open may still append
        if replaced:
            raise StopError(
                f"{self._path} was replaced by another file; {self._line} lines of the old one were read",
                hint="restart: the new file is read from its beginning",
            )

    def _ends_midline(self) -> bool:
        """Return whether the file as found at start ends without a line feed."""
        assert self._file is not None  # noqa: S101 - only called while it is open
        return self._end_byte > self._byte and os.pread(self._file.fileno(), 1, self._end_byte - 1) != b"\n"

    def _skip_to(self, offset: int) -> None:
        while self._line < offset:
            if self._next_line() is None:
                raise StopError(
                    f"{self._offsets} says that {offset} lines of {self._path} are done, but it has {self._line}",
                    hint="delete the offsets file to read this file from its beginning",
                )


def _format_of(path: Path) -> str:
    formats = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    ending = path.suffix.lower()
    if ending == ".gz":
        raise ConfigError(f"{path} is compressed", hint="unpack it first: the file source reads a file that may grow")
    if ending not in formats:
        raise ConfigError(f"{path} is neither .jsonl nor .csv", hint="the file source reads these two")
    return formats[ending]
