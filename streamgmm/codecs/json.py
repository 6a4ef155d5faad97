"""JSON: an object with the fields by name or dotted path, or an array with the fields by position; a vector a record.

A compiled reader takes what is plain. Whatever it leaves is read with care, and that second reading alone decides: null
and NaN are missing, an overflow or Infinity is `non_finite`, a wrong type is `schema` and says where.
"""

from __future__ import annotations

import json as stdlib
from typing import TYPE_CHECKING

import msgspec

from streamgmm.codecs import _block, _framing
from streamgmm.codecs._compiled import decode_block, read_nothing
from streamgmm.codecs._keys import tables
from streamgmm.codecs._objects import ObjectCodec, read_passthrough, read_row
from streamgmm.codecs._payload import RefusalError

if TYPE_CHECKING:
    from streamgmm.codecs import CodecSettings
    from streamgmm.codecs._objects import Row
    from streamgmm.records import FeatureBatch, Json, RecordBatch

# Longer integers overflow a float64 anyway, and Python refuses to parse some of them.
_MAX_DIGITS = 400


def build(settings: CodecSettings) -> JsonCodec | ObjectCodec:
    """Return the JSON codec."""
    _block.require_fields(settings)
    return JsonCodec(settings) if settings.unwrap is None else ObjectCodec(settings, parse)


class JsonCodec:
    """Codec for JSON objects and arrays."""

    def __init__(self, settings: CodecSettings) -> None:
        self.fields = settings.fields
        self._settings = settings
        asked = tables(settings)
        self._quick = asked.read if asked is not None else read_nothing(len(settings.fields))

    def decode(self, batch: RecordBatch) -> FeatureBatch:
        """Decode every record of a block; see `Codec.decode`."""
        return decode_block(self._settings, batch, self._quick, self._careful)

    def passthrough(self, value: bytes, row: int = 0) -> dict[str, Json]:  # noqa: ARG002 - there is one row
        """Return the declared paths that an object payload has; never raises."""
        try:
            return read_passthrough(parse(memoryview(value)), self._settings)
        except RefusalError:
            return {}

    def _careful(self, value: memoryview, codes: dict[str, float]) -> Row:
        return read_row(parse(value), self._settings, codes)


def parse(value: memoryview) -> Json:
    """Return what a JSON text says, as Python's own parser reads it.

    Raises
    ------
    RefusalError
        `decode`: not JSON.
    """
    text = _text(value)
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        pass  # NaN tokens, overflowing numbers and lone surrogates are for the standard parser
    try:
        return stdlib.loads(text, parse_int=_integer)
    except RecursionError:
        raise RefusalError("decode", "nested too deeply") from None
    except stdlib.JSONDecodeError as error:
        byte = len(text[: error.pos].encode())
        guess = _framing.hint(text[: _framing.HEAD_BYTES].encode("utf-8", "replace"), "json")
        raise RefusalError("decode", f"not JSON at byte {byte}: {error.msg:.200}{guess}") from None


def _text(value: memoryview) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        guess = _framing.hint(bytes(value[: _framing.HEAD_BYTES]), "json")
        raise RefusalError("decode", f"not UTF-8 at byte {error.start}{guess}") from None


def _integer(digits: str) -> float:
    return int(digits) if len(digits) < _MAX_DIGITS else float(digits)
