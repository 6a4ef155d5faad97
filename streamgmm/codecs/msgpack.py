"""MessagePack: a map with the fields by name or dotted path, or an array with the fields by position."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from streamgmm.codecs import _framing
from streamgmm.codecs._compiled import DocumentCodec
from streamgmm.codecs._objects import ObjectCodec
from streamgmm.codecs._payload import RefusalError, Unreadable
from streamgmm.codecs.msgpack_kernels import decode_msgpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamgmm.codecs import CodecSettings
    from streamgmm.records import Json

# The parser's own, and what it lets through: maps as keys, times outside Python's years, nesting.
_UNREADABLE = (msgspec.MsgspecError, RecursionError, ValueError, TypeError, OverflowError)
# How often the bytes of a message may be read to find what is readable. Each reading counts as some bytes more, and
# short messages have some to spare.
_MOST_READINGS, _READING_BYTES, _SPARE_BYTES = 8, 64, 4096
_MOST_DEPTH = 60
_UNREAD = Unreadable("unreadable (a text that is not UTF-8, or a time outside the years 1 to 9999)")


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
            found = _opened(value)
            if not isinstance(found, Unreadable):
                return found
            guess = _framing.hint(bytes(value[: _framing.HEAD_BYTES]), "msgpack")
            raise RefusalError("decode", f"not MessagePack: {error!s:.200}{guess}") from None

    return parse


def _opened(value: memoryview) -> Json:
    try:
        return _Opened(value).item(msgspec.Raw(value), 0)
    except _TooManyError:
        return _UNREAD


class _TooManyError(Exception):
    """More of a message is unreadable than is worth the time."""


class _Opened:
    """A message with values that cannot be converted, opened level by level so that the others are read.

    Such values are times outside Python's years, texts that are not UTF-8, and maps whose keys are no keys.
    """

    def __init__(self, value: memoryview) -> None:
        # What is nested is read once for each level: hostile bytes must not make that many times.
        self._left = _MOST_READINGS * len(value) + _SPARE_BYTES

    def item(self, raw: msgspec.Raw, depth: int) -> Json:
        """Return an item, or that it is unreadable. Raises _TooManyError."""
        try:
            return self._read(raw, Any)
        except _UNREADABLE:
            pass
        if depth == _MOST_DEPTH:
            return _UNREAD
        try:
            return {key: self.item(below, depth + 1) for key, below in self._read(raw, dict[Any, msgspec.Raw]).items()}
        except _UNREADABLE:
            pass
        try:
            return [self.item(below, depth + 1) for below in self._read(raw, list[msgspec.Raw])]
        except _UNREADABLE:
            return _UNREAD

    def _read(self, raw: msgspec.Raw, kind: Any) -> Json:  # noqa: ANN401 - a type
        data = memoryview(raw)
        self._left -= len(data) + _READING_BYTES
        if self._left < 0:
            raise _TooManyError
        return msgspec.msgpack.decode(data, type=kind)
