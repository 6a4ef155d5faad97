"""The four codecs of record batches, by the libraries that kafka-python uses, with a bound.

kafka-python decompresses whatever comes: a batch of a megabyte may hold ten gigabytes of zeros. Producers fill batches
before they compress them, so none that is meant well comes near the bound.
"""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING

from kafka import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MOST_BYTES = 256 << 20
CHUNK = 256 << 10


class TooLargeError(Exception):
    """A batch holds more than MOST_BYTES."""


def _gathered(read: Callable[[int], bytes]) -> bytes:
    """Read to the end."""
    parts, size = [], 0
    while part := read(CHUNK):
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise TooLargeError(f"more than {MOST_BYTES >> 20} MiB are compressed in one batch")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _gzip(data: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
        return _gathered(stream.read)


def _snappy(data: bytes) -> bytes:
    # Its blocks say how large they are, and cannot hold much more than twenty times their own size.
    return bytes(codec.snappy_decode(data))


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
