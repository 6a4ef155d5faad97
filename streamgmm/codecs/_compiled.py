"""Blocks of text records: a compiled reader takes what is plain, and a careful one, record by record, the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from streamgmm.codecs import _block
from streamgmm.codecs._payload import RefusalError
from streamgmm.records import Reject

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from streamgmm.codecs import CodecSettings
    from streamgmm.codecs._objects import Row
    from streamgmm.records import Bools, FeatureBatch, Floats, Ints, RecordBatch

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
