"""Packed little-endian floats: one or several vectors a record, back to back, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamgmm.codecs import _block, _framing
from streamgmm.codecs.packed_kernels import unpack
from streamgmm.records import Reject

if TYPE_CHECKING:
    from streamgmm.codecs import CodecSettings
    from streamgmm.records import ByteColumn, FeatureBatch, Floats, Ints, Json, RecordBatch


class PackedCodec:
    """Codec for packed floats of one width.

    Parameters
    ----------
    settings
        Fields are positions; paths, a timestamp and passthrough have no place in a packed vector.
    dtype
        `<f4` or `<f8`.
    """

    def __init__(self, settings: CodecSettings, dtype: str) -> None:
        _block.require_fields(settings)
        _block.require_positions(settings, "packed floats")
        self.fields = settings.fields
        self._settings = settings
        self._dtype = np.dtype(dtype)
        self._width = len(settings.fields) * self._dtype.itemsize

    def decode(self, batch: RecordBatch) -> FeatureBatch:
        """Decode every record of a block; see `Codec.decode`."""
        length = batch.value.length
        rejects: list[Reject] = []
        # One vector in each record is what most topics hold: nothing need be asked of it.
        if self._width > self._settings.max_bytes or not (length == self._width).all():
            length, rejects = self._screened(batch)
        X, record, row, finite = self._vectors(batch.value, length)
        time, tombstones = _block.record_time(batch)[record], _block.tombstones(batch)
        return _block.feature_batch(self._settings, X, record, row, time, rejects, tombstones, complete=finite)

    def passthrough(self, value: bytes, row: int = 0) -> dict[str, Json]:  # noqa: ARG002 - part of the contract
        """Return nothing: a packed vector carries nothing else."""
        return {}

    def _screened(self, batch: RecordBatch) -> tuple[Ints, list[Reject]]:
        """Return the length of each record (n,), 0 for those without a vector, and what is rejected."""
        length = batch.value.length
        readable = (length >= 0) & (length <= self._settings.max_bytes)
        whole = readable & (length > 0) & (length % self._width == 0)
        rejects = _block.oversize(batch, self._settings.max_bytes)
        rejects += [self._misfit(batch.value, int(i)) for i in np.flatnonzero(readable & ~whole)]
        return np.where(whole, length, 0), rejects

    def _vectors(self, column: ByteColumn, length: Ints) -> tuple[Floats, Ints, Ints, bool]:
        """Return X (rows, fields), the record of each row, its row number, and whether all values are finite."""
        n = int(length.sum()) // self._width
        X, record, row = np.empty((n, len(self.fields))), np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
        start, length = np.ascontiguousarray(column.start), np.ascontiguousarray(length)
        finite = unpack(column.buffer, start, length, self._dtype.itemsize, X, record, row)
        return X, record, row, bool(finite)

    def _misfit(self, column: ByteColumn, index: int) -> Reject:
        length = int(column.length[index])
        start = int(column.start[index])
        head = column.buffer[start : start + min(length, _framing.HEAD_BYTES)].tobytes()
        expected = f"expected a multiple of {self._width} ({len(self.fields)} × {self._dtype.itemsize})"
        return Reject(index, -1, "dimension", f"{length} bytes, {expected}{_framing.hint(head, self._dtype.name)}")
