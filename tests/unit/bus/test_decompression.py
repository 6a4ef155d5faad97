"""Every codec as kafka-python has it, and what is too much."""

import gzip

import lz4.frame
import pytest
import zstandard
from kafka import codec

from streamgmm.bus import decompression
from streamgmm.bus.decompression import CHUNK, CODECS, TooLargeError

ENCODE = {"gzip": codec.gzip_encode, "snappy": codec.snappy_encode, "lz4": codec.lz4_encode, "zstd": codec.zstd_encode}


@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize("size", [1, 1000, CHUNK, CHUNK + 1, 5 * CHUNK])
def test_what_was_compressed_comes_back(kind, size, rng):
    name, installed, decode = CODECS[kind]
    data = rng.integers(0, 4, size).astype("u1").tobytes()
    assert installed()
    assert decode(ENCODE[name](data)) == data


def test_streams_that_do_not_say_their_size():
    data = bytes(range(256)) * 5000
    assert CODECS[4][2](zstandard.ZstdCompressor(write_content_size=False).compress(data)) == data
    assert CODECS[3][2](lz4.frame.compress(data, store_size=False, block_linked=False)) == data
    assert CODECS[1][2](gzip.compress(data[:7]) + gzip.compress(data[7:])) == data


@pytest.mark.parametrize("kind", [1, 3, 4])
def test_too_much_is_refused_before_it_is_held(kind, monkeypatch):
    monkeypatch.setattr(decompression, "MOST_BYTES", 3 * CHUNK)
    name, _, decode = CODECS[kind]
    assert len(decode(ENCODE[name](bytes(3 * CHUNK)))) == 3 * CHUNK
    with pytest.raises(TooLargeError):
        decode(ENCODE[name](bytes(3 * CHUNK + 1)))
