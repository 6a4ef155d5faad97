"""What bytes look like that another codec could not read: a guess from how they start, for the detail of a reject."""

from __future__ import annotations

from typing import NamedTuple


class _Look(NamedTuple):
    """How something starts, what a person calls that start, the guess, and the codec that reads it, if there is one."""

    prefix: bytes
    start: str
    guess: str
    codec: str | None = None


# Confluent framing is a zero byte and a schema id of four bytes before the value.
FRAME_BYTES = 5
_BOM = b"\xef\xbb\xbf"
_LOOKS = (
    _Look(b"{", "'{'", "is this JSON?", "json"),
    _Look(b"[", "'['", "is this JSON?", "json"),
    _Look(b"\0", "byte 0", "Confluent framing?", "avro"),
    _Look(b"Obj\x01", "'Obj'", "is this an Avro container file? A record is one datum"),
    _Look(b"\xc3\x01", "bytes c3 01", "is this Avro's single-object encoding?"),
    _Look(b"\x1f\x8b", "bytes 1f 8b", "is this gzip? Let the producer compress record batches instead"),
    _Look(b"\x28\xb5\x2f\xfd", "bytes 28 b5 2f fd", "is this zstd? Let the producer compress record batches instead"),
    _Look(b"\x04\x22\x4d\x18", "bytes 04 22 4d 18", "is this lz4? Let the producer compress record batches instead"),
    _Look(_BOM, "bytes ef bb bf", "a byte order mark? Write UTF-8 without it"),
    _Look(b"\xff\xfe", "bytes ff fe", "is this UTF-16? Write UTF-8"),
    _Look(b"\xfe\xff", "bytes fe ff", "is this UTF-16? Write UTF-8"),
)
# Maps and arrays of MessagePack, by their first byte.
_MSGPACK = (*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF)
# How many bytes of a value are enough.
HEAD_BYTES = FRAME_BYTES + 1


def json_begins(value: memoryview) -> int:
    """Return where JSON begins: no JSON text starts with a zero byte or a byte order mark."""
    head = bytes(value[:HEAD_BYTES])
    if len(head) == HEAD_BYTES and head[0] == 0:
        return FRAME_BYTES
    return len(_BOM) if head.startswith(_BOM) else 0


def hint(head: bytes, codec: str) -> str:
    """Return what a value looks like by its first bytes, to be added to a detail: `; starts with '{': is this JSON?`.

    Parameters
    ----------
    head
        The first `HEAD_BYTES` bytes of the value, or all of it.
    codec
        The codec that could not read it: it is never what is guessed.

    Returns
    -------
    str
        Empty where nothing is known to start so.
    """
    look = next((look for look in _LOOKS if head.startswith(look.prefix)), None)
    if look is None and head and head[0] in _MSGPACK:
        look = _Look(head[:1], f"byte {head[0]:02x}", "is this MessagePack?", "msgpack")
    if head[:1] == b"\0" and head[FRAME_BYTES:HEAD_BYTES] in {b"{", b"["}:
        look = _Look(head[:1], "byte 0", "is this JSON behind Confluent framing?", "json")
    if look is None or look.codec == codec:
        return ""
    use = f" Use codec {look.codec}" if look.codec else ""
    return f"; starts with {look.start}: {look.guess}{use}"
