"""JSON: an object with the fields by name or dotted path, or an array with the fields by position; a vector a record.

A compiled reader takes what is plain. Whatever it leaves is read with care, and that second reading alone decides: null
and NaN are missing, an overflow or Infinity is `non_finite`, a wrong type is `schema` and says where.
"""

from __future__ import annotations

import json as stdlib
from typing import TYPE_CHECKING

import msgspec

from streamgmm.codecs import _framing
from streamgmm.codecs._compiled import DocumentCodec
from streamgmm.codecs._objects import ObjectCodec
from streamgmm.codecs._payload import RefusalError
from streamgmm.codecs.json_kernels import decode_json

if TYPE_CHECKING:
    from streamgmm.codecs import CodecSettings
    from streamgmm.records import Json

# Longer integers overflow a float64 anyway, and Python refuses to parse some of them.
_MAX_DIGITS = 400


def build(settings: CodecSettings) -> DocumentCodec | ObjectCodec:
    """Return the JSON codec."""
    return DocumentCodec(settings, decode_json, parse) if settings.unwrap is None else ObjectCodec(settings, parse)


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
