"""Every codec as kafka-python has it, and what is too much."""

import gzip
import struct

import lz4.frame
import pytest
import zstandard
from kafka import codec
from kafka.record import default_records, legacy_records
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from streamgmm.bus import decompression
from streamgmm.bus.decompression import CHUNK, CODECS, Bound, TooLargeError

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


@pytest.mark.parametrize("kind", CODECS)
def test_too_much_is_refused_before_it_is_held(kind, monkeypatch):
    monkeypatch.setattr(Bound, "most", 3 * CHUNK)
    name, _, decode = CODECS[kind]
    assert len(decode(ENCODE[name](bytes(3 * CHUNK)))) == 3 * CHUNK
    with pytest.raises(TooLargeError):
        decode(ENCODE[name](bytes(3 * CHUNK + 1)))


def test_the_bound_follows_what_a_turn_takes_and_holds_for_kafka_pythons_own_reading(monkeypatch):
    for module in (default_records, legacy_records):
        for name in ENCODE:
            monkeypatch.setattr(module, f"{name}_decode", getattr(module, f"{name}_decode", None), raising=False)
    monkeypatch.setattr(Bound, "most", Bound.most)
    decompression.limit(64 << 20)
    assert Bound.most == 256 << 20
    decompression.limit(1024)
    assert Bound.most == decompression.LEAST_BOUND
    builder = DefaultRecordBatchBuilder(2, 4, False, -1, -1, -1, 1 << 30)
    builder.append(0, 0, None, bytes(decompression.LEAST_BOUND), [])
    with pytest.raises(TooLargeError, match=r"more than 16 MiB .* raise limits\.batch_bytes"):
        list(DefaultRecordBatch(bytes(builder.build())))


def test_what_snappy_says_it_holds_is_looked_at_before_room_is_made(monkeypatch):
    monkeypatch.setattr(codec, "snappy_decode", None)
    huge = b"\xff\xff\xff\xff\x0f"  # 4 GiB
    blocks = b"".join(struct.pack(">i", 5) + b"\x80\x80\x80\x08" + b"x" for _ in range(9))  # 16 MiB each
    for data in (huge, b"\x82SNAPPY\0" + bytes(8) + blocks):
        with pytest.raises(TooLargeError):
            CODECS[2][2](data)
