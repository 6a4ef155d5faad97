"""A file of JSON lines, appended to; it survives crashes, full disks and rotation.

A value that is one line of text is written as it is: an anomalies file is the anomalies. A dead letter (or any value
that is not one line of UTF-8) is written as an envelope, `{"topic", "key", "headers", "value"}`, in which bytes that
are not UTF-8 stand as `{"base64": …}`, for its reason is in its headers and its bytes must not be lost.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from streamgmm import private
from streamgmm.errors import StopError
from streamgmm.sinks._rendering import REASON_HEADER, is_truncated, text_or_base64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamgmm.records import OutputRecord

logger = logging.getLogger(__name__)

_TAIL = 64 * 1024


@dataclass(frozen=True)
class FileSettings:
    """Settings of a file sink.

    Attributes
    ----------
    path
        The file; its folder must be there. A new one is its owner's alone; one that is there keeps its mode.
    name
        In metrics and logs.
    """

    path: Path
    name: str = "file"


def build(settings: FileSettings) -> FileSink:
    """Return a sink that appends to a file.

    Raises
    ------
    StopError
        The file cannot be opened.
    """
    return FileSink(settings)


class FileSink:
    """Sink into a file. One line a record, durable after `flush`."""

    def __init__(self, settings: FileSettings) -> None:
        self.name = settings.name
        self._path = Path(settings.path)
        self.place = str(self._path)
        self.problem = ""
        self.cut: Counter[str] = Counter()
        self._pending: list[bytes] = []
        self._truncated = 0  # of those pending
        self._whole: int | None = None  # the file's size before a write that is not undone yet
        self._descriptor: int | None = self._start()

    def write(self, records: Sequence[OutputRecord]) -> None:
        """Accept records; nothing touches the disk before `flush`."""
        self._pending.extend(line(record) for record in records)
        self._truncated += sum(map(is_truncated, records))

    def flush(self, timeout: float) -> bool:  # noqa: ARG002 - a write to disk cannot be given up half-way
        """Append and fsync what was accepted; False where the disk refused, and the file is as it was before."""
        if not self._pending:
            return True
        try:
            self._append(self._reopened())
        except OSError as error:
            self.problem = error.strerror or str(error)
            return False
        self.problem = ""
        self._pending.clear()
        if self._truncated:
            self.cut["truncated"] += self._truncated
            self._truncated = 0
        return True

    def _append(self, descriptor: int) -> None:
        """Write and fsync all that is pending, or leave the file as it is."""
        if self._whole is not None:
            os.ftruncate(descriptor, self._whole)
        self._whole = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, b"".join(self._pending))
            os.fsync(descriptor)
        except OSError:
            # Half a batch in the file would be there twice after the next try, and half a line for ever. A disk that
            # refuses this as well is asked again before the next write.
            os.ftruncate(descriptor, self._whole)
            self._whole = None
            raise
        self._whole = None

    def close(self, timeout: float) -> None:
        """Flush and close; safe to call twice. What the disk did not take is logged."""
        if self._descriptor is None:
            return
        try:
            if not self.flush(timeout):
                logger.error(
                    "sink %s (%s) is closed; %d records could not be written: %s",
                    self.name, self.place, len(self._pending), self.problem,
                )  # fmt: skip
        finally:
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = None

    def _start(self) -> int:
        try:
            return self._open()
        except OSError as error:
            raise StopError(
                f"cannot append to {self._path}: {error.strerror}",
                hint="name a file, in a folder that exists and is writable",
            ) from error

    def _open(self) -> int:
        descriptor = private.append(self._path)
        try:
            _mend_last_line(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _reopened(self) -> int:
        """Return the open file, opened anew where a rotation has put another one (or none) in its place."""
        if self._descriptor is None:
            raise StopError(f"the sink {self.name} is closed")
        try:
            moved = not os.path.samestat(self._path.lstat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            moved = True
        if moved:
            # The old one stays open until there is a new one: a disk that has no room for it now may have it later.
            fresh = self._open()
            os.close(self._descriptor)
            self._descriptor, self._whole = fresh, None
        return self._descriptor


def line(record: OutputRecord) -> bytes:
    """Return the line that a record becomes, line feed included."""
    text = text_or_base64(record.value)
    one_line = isinstance(text, str) and "\n" not in text and "\r" not in text
    dead_letter = any(name == REASON_HEADER for name, _ in record.headers)
    if one_line and not dead_letter and record.topic is None:
        return record.value + b"\n"
    enveloped = {
        "topic": record.topic,
        "key": text_or_base64(record.key),
        "headers": [[name, text_or_base64(value)] for name, value in record.headers],
        "value": text,
    }
    return msgspec.json.encode(enveloped) + b"\n"


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _mend_last_line(descriptor: int) -> None:
    """Cut off the start of a line that a crash left, or end a last line that is whole.

    What is cut off was never flushed, so nothing was committed on its account and it comes again.
    """
    size = os.fstat(descriptor).st_size
    last = _last_line(descriptor, size)
    if not last:
        return
    if last.startswith(b"{") and (_is_cut_short(last) or _is_cut_short(last + b"0")):  # 1e would be 1e0
        os.ftruncate(descriptor, size - len(last))
    else:
        # A whole line, or one that no writer of JSON has begun: it stays.
        _write_all(descriptor, b"\n")
    os.fsync(descriptor)


def _last_line(descriptor: int, size: int) -> bytes:
    """Return what follows the last line feed."""
    reach = _TAIL
    while True:
        tail = os.pread(descriptor, reach, max(0, size - reach))
        if b"\n" in tail or reach >= size:
            return tail[tail.rfind(b"\n") + 1 :]
        reach *= 2


def _is_cut_short(raw: bytes) -> bool:
    """Return whether text is the beginning of a JSON value, and not all of it."""
    try:
        msgspec.json.decode(raw)
    except UnicodeDecodeError:
        return False
    except msgspec.DecodeError as error:
        return "truncated" in str(error)
    return False
