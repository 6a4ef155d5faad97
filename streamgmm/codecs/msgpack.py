"""MessagePack: a map with the fields by name or dotted path, or an array with the fields by position."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streamgmm.codecs import _framing
from streamgmm.codecs._objects import ObjectCodec
from streamgmm.codecs._payload import RefusalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamgmm.codecs import CodecSettings
    from streamgmm.records import Json

# The parser's own, and what it lets through: maps as keys, times outside Python's years, nesting.
_UNREADABLE = (msgspec.MsgspecError, RecursionError, ValueError, TypeError, OverflowError)


def build(settings: CodecSettings) -> ObjectCodec:
    """Return the MessagePack codec."""
    return ObjectCodec(settings, _parser())


def _parser() -> Callable[[memoryview], Json]:
    decode = msgspec.msgpack.Decoder().decode

    def parse(value: memoryview) -> Json:
        try:
            return decode(value)
        except _UNREADABLE as error:
            guess = _framing.hint(bytes(value[: _framing.HEAD_BYTES]), "msgpack")
            raise RefusalError("decode", f"not MessagePack: {error!s:.200}{guess}") from None

    return parse
