"""The four codecs of record batches, by the libraries that kafka-python uses, with a bound.

kafka-python decompresses whatever comes: a batch of a megabyte may hold ten gigabytes of zeros. `limit` sets the bound,
and puts it on kafka-python's own reading as well.
"""

from __future__ import annotations

import gzip
import io
import struct
from typing import TYPE_CHECKING

from kafka import codec
from kafka.record import default_records, legacy_records

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# A batch may hold more than one turn of the loop takes; it is then taken in several turns. Text is often compressed to
# a twentieth of its size, and brokers take batches of a megabyte by default.
TURNS = 4
LEAST_BOUND = 16 << 20
CHUNK = 256 << 10
_XERIAL, _XERIAL_HEADER = b"\x82SNAPPY\0", 16


class Bound:
    """The most bytes that a batch may hold: of the whole process, as kafka-python's functions are."""

    most = TURNS * LEAST_BOUND


class TooLargeError(Exception):
    """A batch holds more than the bound."""


def _too_large() -> TooLargeError:
    size = f"{Bound.most / 2**20:.4g} MiB"
    return TooLargeError(f"more than {size} are compressed in one batch; raise limits.batch_bytes to read it")


def limit(turn: int) -> None:
    """Set the bound by the bytes that one turn of the loop takes."""
    Bound.most = max(TURNS * turn, LEAST_BOUND)
    for module in (default_records, legacy_records):
        for name, _, decode in CODECS.values():
            if hasattr(module, f"{name}_decode"):
                setattr(module, f"{name}_decode", decode)


def _gathered(read: Callable[[int], bytes]) -> bytes:
    """Read to the end."""
    parts, size = [], 0
    while part := read(CHUNK):
        parts.append(part)
        size += len(part)
        if size > Bound.most:
            raise _too_large()
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _gzip(data: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
        return _gathered(stream.read)


def _snappy(data: bytes) -> bytes:
    # The library makes room for what a block says it holds, before it looks.
    if _claimed(data) > Bound.most:
        raise _too_large()
    return bytes(codec.snappy_decode(data))


def _claimed(data: bytes) -> int:
    """Return how many bytes snappy's blocks say they hold: one block, or several behind their lengths."""
    if not data.startswith(_XERIAL):
        return _length(data, 0)
    at, size = _XERIAL_HEADER, 0
    while at + 4 < len(data):
        size += _length(data, at + 4)
        at += 4 + max(struct.unpack_from(">i", data, at)[0], 0)
    return size


def _length(data: bytes, at: int) -> int:
    """Return the length at the head of a block, a number of up to five bytes with seven bits each."""
    return sum((byte & 0x7F) << 7 * i for i, byte in enumerate(_varint(data[at : at + 5])))


def _varint(data: bytes) -> bytes:
    end = next((i for i, byte in enumerate(data) if byte < 0x80), len(data) - 1)
    return data[: end + 1]


def _lz4(data: bytes) -> bytes:
    stream, rest = codec.lz4.LZ4FrameDecompressor(), [data]

    def read(size: int) -> bytes:
        return b"" if stream.eof else bytes(stream.decompress(rest.pop() if rest else b"", size))

    return _gathered(read)


def _zstd(data: bytes) -> bytes:
    with codec.zstd.ZstdDecompressor().stream_reader(data, read_across_frames=True) as stream:
        return _gathered(stream.read)


# Bits of a batch's attributes → name, is it installed, decompress.
CODECS: Mapping[int, tuple[str, Callable[[], bool], Callable[[bytes], bytes]]] = {
    1: ("gzip", lambda: True, _gzip),
    2: ("snappy", codec.has_snappy, _snappy),
    3: ("lz4", lambda: codec.lz4 is not None, _lz4),
    4: ("zstd", codec.has_zstd, _zstd),
}
