"""JSON texts as Python's own parser reads them, also where a library is stricter."""

from __future__ import annotations

import json as stdlib
from typing import TYPE_CHECKING

import msgspec

from streamgmm.codecs import _framing
from streamgmm.codecs._payload import RefusalError

if TYPE_CHECKING:
    from streamgmm.records import Json

# Longer integers overflow a float64 anyway, and Python refuses to parse some of them.
_MAX_DIGITS = 400


def parse(value: memoryview) -> Json:
    """Return what a JSON text says, as Python's own parser reads it; Confluent framing before it is skipped.

    Bytes that are not UTF-8 are kept as `surrogateescape` keeps them: they matter only where a text is asked for.

    Raises
    ------
    RefusalError
        `decode`: not JSON.
    """
    begin = _framing.json_begins(value)
    try:
        return msgspec.json.decode(value[begin:])
    except (msgspec.MsgspecError, RecursionError):
        pass  # NaN tokens, overflowing numbers, lone surrogates and other bytes are for the standard parser
    text = str(value[begin:], "utf-8", "surrogateescape")
    try:
        return stdlib.loads(text, parse_int=_integer)
    except RecursionError:
        raise RefusalError("decode", "nested too deeply") from None
    except stdlib.JSONDecodeError as error:
        raise RefusalError("decode", _why_not(value, begin, text, error)) from None


def _why_not(value: memoryview, begin: int, text: str, error: stdlib.JSONDecodeError) -> str:
    guess = _framing.hint(bytes(value[: _framing.HEAD_BYTES]), "json")
    try:
        byte = len(text[: error.pos].encode())
        text.encode()
    except UnicodeEncodeError as other:
        byte = len(text[: other.start].encode())
        return f"not UTF-8 at byte {begin + byte}{guess}"
    return f"not JSON at byte {begin + byte}: {error.msg:.200}{guess}"


def _integer(digits: str) -> float:
    return int(digits) if len(digits) < _MAX_DIGITS else float(digits)
