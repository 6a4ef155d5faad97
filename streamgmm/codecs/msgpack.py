"""MessagePack: a map with the fields by name or dotted path, or an array with the fields by position."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streamgmm.codecs import _framing
from streamgmm.codecs._compiled import DocumentCodec
from streamgmm.codecs._objects import ObjectCodec
from streamgmm.codecs._payload import RefusalError
from streamgmm.codecs.msgpack_kernels import decode_msgpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamgmm.codecs import CodecSettings
    from streamgmm.records import Json

# The parser's own, and what it lets through: maps as keys, times outside Python's years, nesting.
_UNREADABLE = (msgspec.MsgspecError, RecursionError, ValueError, TypeError, OverflowError)


def build(settings: CodecSettings) -> DocumentCodec | ObjectCodec:
    """Return the MessagePack codec."""
    parse = _parser()
    return DocumentCodec(settings, decode_msgpack, parse) if settings.unwrap is None else ObjectCodec(settings, parse)


def _parser() -> Callable[[memoryview], Json]:
    decode = msgspec.msgpack.Decoder().decode

    def parse(value: memoryview) -> Json:
        try:
            return decode(value)
        except _UNREADABLE as error:
            guess = _framing.hint(bytes(value[: _framing.HEAD_BYTES]), "msgpack")
            raise RefusalError("decode", f"not MessagePack: {error!s:.200}{guess}") from None

    return parse
