"""Blocks of records: a compiled reader takes what is plain, and a careful one, record by record, the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from streamgmm.codecs import _block
from streamgmm.codecs._keys import tables
from streamgmm.codecs._objects import read_passthrough, read_row
from streamgmm.codecs._payload import RefusalError
from streamgmm.records import Reject

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from streamgmm.codecs import CodecSettings
    from streamgmm.codecs._objects import Parse, Row
    from streamgmm.records import Bools, FeatureBatch, Floats, Ints, Json, RecordBatch

    # Slices of a buffer → rows (n, n_fields), times (n,; NaN where there is none), and which of them were read.
    Quick: TypeAlias = Callable[[NDArray[np.uint8], Ints, Ints], tuple[Floats, Floats, Bools]]
    # One record, and the categories of this block → its row and its time. Raises RefusalError.
    Careful: TypeAlias = Callable[[memoryview, dict[str, float]], Row]


def decode_block(settings: CodecSettings, batch: RecordBatch, quick: Quick, careful: Careful) -> FeatureBatch:
    """Return a row for each record; what neither reader takes is rejected, in the careful one's words."""
    length = batch.value.length
    record = np.flatnonzero((length >= 0) & (length <= settings.max_bytes))
    value = batch.value if len(record) == len(length) else batch.value.take(record)
    X, time, read = quick(value.buffer, np.ascontiguousarray(value.start), np.ascontiguousarray(value.length))
    rejects = _block.oversize(batch, settings.max_bytes)
    if not read.all():
        rejects += _read_rest(batch, record, careful, (X, time, read))
        X, time, record = X[read], time[read], record[read]
    event_time = _block.record_time(batch)[record]
    if settings.timestamp is not None:
        event_time = np.where(np.isnan(time), event_time, time)
    none = np.zeros(len(X), dtype=np.int64)
    return _block.feature_batch(settings, X, record, none, event_time, rejects, _block.tombstones(batch))


class DocumentCodec:
    """Codec for objects and arrays of a format that has a compiled reader, without an envelope around them.

    Parameters
    ----------
    settings
        What is asked for.
    decode
        The kernel; it is not used where paths overlap.
    parse
        Bytes → mappings, sequences and plain values. Raises RefusalError for what it cannot read.
    """

    def __init__(self, settings: CodecSettings, decode: Callable[..., None], parse: Parse) -> None:
        _block.require_fields(settings)
        self.fields = settings.fields
        self._settings = settings
        self._parse = parse
        asked = tables(settings)
        self._quick = read_nothing(len(self.fields)) if asked is None else asked.reader(decode)

    def decode(self, batch: RecordBatch) -> FeatureBatch:
        """Decode every record of a block; see `Codec.decode`."""
        return decode_block(self._settings, batch, self._quick, self._careful)

    def passthrough(self, value: bytes, row: int = 0) -> dict[str, Json]:  # noqa: ARG002 - there is one row
        """Return the declared paths that an object payload has; never raises."""
        try:
            return read_passthrough(self._parse(memoryview(value)), self._settings)
        except RefusalError:
            return {}

    def _careful(self, value: memoryview, codes: dict[str, float]) -> Row:
        return read_row(self._parse(value), self._settings, codes)


def read_nothing(n_fields: int) -> Quick:
    """Return a reader that leaves everything to the careful one."""

    def quick(_buffer: NDArray[np.uint8], start: Ints, _length: Ints) -> tuple[Floats, Floats, Bools]:
        return np.empty((len(start), n_fields)), np.empty(len(start)), np.zeros(len(start), dtype=np.bool_)

    return quick


def _read_rest(batch: RecordBatch, record: Ints, careful: Careful, out: tuple[Floats, Floats, Bools]) -> list[Reject]:
    """Read into the rows that are not read yet; return what cannot be."""
    X, time, read = out
    view = batch.value.buffer.data
    codes: dict[str, float] = {}
    rejects = []
    for i in np.flatnonzero(~read):
        index = int(record[i])
        start, length = int(batch.value.start[index]), int(batch.value.length[index])
        try:
            X[i], time[i] = careful(view[start : start + length], codes)
        except RefusalError as refusal:
            rejects.append(Reject(index, -1, refusal.reason, refusal.detail))
            continue
        read[i] = True
    return rejects
