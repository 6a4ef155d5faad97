"""JSON: an object with the fields by name or dotted path, or an array with the fields by position; a vector a record.

A typed decoder takes the ordinary record. Whatever it refuses is read again with care, and that second reading alone
decides: null and NaN are missing, an overflow or Infinity is `non_finite`, a wrong type is `schema` and says where.
"""

from __future__ import annotations

import json as stdlib
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np

from streamgmm.codecs import _block, _framing
from streamgmm.codecs._objects import ObjectCodec, read_passthrough, read_row
from streamgmm.codecs._payload import RefusalError
from streamgmm.codecs._typed import reader
from streamgmm.records import Reject

if TYPE_CHECKING:
    from streamgmm.codecs import CodecSettings
    from streamgmm.records import FeatureBatch, Json, RecordBatch

_Row: TypeAlias = "tuple[tuple[float | None, ...], float]"
# Longer integers overflow a float64 anyway, and Python refuses to parse some of them.
_MAX_DIGITS = 400
_UNREADABLE = (msgspec.MsgspecError, RecursionError, ValueError)


def build(settings: CodecSettings) -> JsonCodec | ObjectCodec:
    """Return the JSON codec."""
    _block.require_fields(settings)
    return JsonCodec(settings) if settings.unwrap is None else ObjectCodec(settings, parse)


class JsonCodec:
    """Codec for JSON objects and arrays."""

    def __init__(self, settings: CodecSettings) -> None:
        self.fields = settings.fields
        self._settings = settings
        self._quick = reader(settings)

    def decode(self, batch: RecordBatch) -> FeatureBatch:
        """Decode every record of a block; see `Codec.decode`."""
        rows: list[tuple[float | None, ...]] = []
        record: list[int] = []
        times: list[float] = []
        rejects = _block.oversize(batch, self._settings.max_bytes)
        codes: dict[str, float] = {}
        view = batch.value.buffer.data
        slices = zip(batch.value.start.tolist(), batch.value.length.tolist(), strict=True)
        for i, (start, length) in enumerate(slices):
            if not 0 <= length <= self._settings.max_bytes:
                continue
            try:
                values, time = self._read(view[start : start + length], codes)
            except RefusalError as refusal:
                rejects.append(Reject(i, -1, refusal.reason, refusal.detail))
                continue
            rows.append(values)
            record.append(i)
            times.append(time)
        return self._assemble(batch, rows, record, times, rejects)

    def passthrough(self, value: bytes, row: int = 0) -> dict[str, Json]:  # noqa: ARG002 - there is one row
        """Return the declared paths that an object payload has; never raises."""
        try:
            return read_passthrough(parse(memoryview(value)), self._settings)
        except RefusalError:
            return {}

    def _assemble(
        self,
        batch: RecordBatch,
        rows: list[tuple[float | None, ...]],
        record: list[int],
        times: list[float],
        rejects: list[Reject],
    ) -> FeatureBatch:
        # numpy turns None into NaN: exactly what null and an absent field mean.
        X = np.array(rows, dtype=np.float64).reshape(len(rows), len(self.fields))
        records = np.array(record, dtype=np.int64)
        in_payload = np.array(times, dtype=np.float64)
        event_time = np.where(np.isnan(in_payload), _block.record_time(batch)[records], in_payload)
        none = np.zeros(len(rows), dtype=np.int64)
        return _block.feature_batch(self._settings, X, records, none, event_time, rejects, _block.tombstones(batch))

    def _read(self, value: memoryview, codes: dict[str, float]) -> _Row:
        text = _text(value)
        if self._quick is not None:
            try:
                return self._quick(text, codes)
            except _UNREADABLE:
                pass  # the careful reading below decides
        return read_row(_parse(text), self._settings, codes)


def parse(value: memoryview) -> Json:
    """Return what a JSON text says, as Python's own parser reads it.

    Raises
    ------
    RefusalError
        `decode`: not JSON.
    """
    return _parse(_text(value))


def _text(value: memoryview) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        guess = _framing.hint(bytes(value[: _framing.HEAD_BYTES]), "json")
        raise RefusalError("decode", f"not UTF-8 at byte {error.start}{guess}") from None


def _parse(text: str) -> Json:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        pass  # NaN tokens, overflowing numbers and lone surrogates are for the standard parser
    try:
        return stdlib.loads(text, parse_int=_integer)
    except RecursionError:
        raise RefusalError("decode", "nested too deeply") from None
    except ValueError as error:
        guess = _framing.hint(text[: _framing.HEAD_BYTES].encode("utf-8", "replace"), "json")
        raise RefusalError("decode", f"not JSON: {error!s:.200}{guess}") from None


def _integer(digits: str) -> float:
    return int(digits) if len(digits) < _MAX_DIGITS else float(digits)
