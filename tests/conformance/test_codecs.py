"""Every codec: any bytes become rows, rejects or tombstones, in order, whatever the block sizes."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from avro_messages import avro_bytes
from batches import record_batch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamgmm import registry
from streamgmm.codecs import CodecSettings, Field
from streamgmm.errors import ConfigError
from streamgmm.records import REJECT_REASONS, ByteColumn, FeatureBatch, RecordBatch

if TYPE_CHECKING:
    from streamgmm.codecs import Codec

FIELDS = tuple(Field(name, name) for name in "abc")
SETTINGS = CodecSettings(FIELDS)
NAN, INF = np.nan, np.inf

# How one vector becomes a payload, and what a codec must be told to read it.
VECTOR = {"type": "array", "items": "double"}
TOLD = {"avro": {"schema": json.dumps(VECTOR), "framed": False}}
RIGS = {
    "json": lambda row: json.dumps(row).encode(),
    "float32": lambda row: np.array(row, dtype="<f4").tobytes(),
    "float64": lambda row: np.array(row, dtype="<f8").tobytes(),
    "msgpack": msgspec.msgpack.encode,
    "avro": lambda row: avro_bytes(VECTOR, row),
    "csv": lambda row: ",".join(map(str, row)).encode(),
}


@pytest.fixture(params=registry.names("codecs"))
def name(request) -> str:
    return request.param


@pytest.fixture
def encode(name, rig_of):
    return rig_of("codecs", name, RIGS)


def build(name: str, codec_settings: CodecSettings = SETTINGS) -> Codec:
    return registry.member("codecs", name).build(replace(codec_settings, **TOLD.get(name, {})))


def part(batch: RecordBatch, start: int, stop: int) -> RecordBatch:
    def cut(column: ByteColumn) -> ByteColumn:
        return ByteColumn(column.buffer, column.start[start:stop], column.length[start:stop])

    return replace(
        batch,
        partition=batch.partition[start:stop],
        offset=batch.offset[start:stop],
        timestamp=batch.timestamp[start:stop],
        value=cut(batch.value),
        key=cut(batch.key),
        headers=batch.headers[start:stop],
    )


def test_vectors_come_back(name, encode, rng):
    rows = rng.integers(-1000, 1000, size=(20, 3)) / 8
    batch = record_batch([encode(row) for row in rows.tolist()], keys=[b"key"] * 20, timestamp=1500)
    decoded = build(name).decode(batch)
    np.testing.assert_array_equal(decoded.X, rows)
    assert decoded.X.dtype == np.float64
    assert decoded.X.flags.c_contiguous
    assert decoded.record.tolist() == list(range(20))
    assert decoded.row.tolist() == [0] * 20
    assert decoded.event_time.tolist() == [1.5] * 20
    assert decoded.rejects == ()
    assert build(name).fields == FIELDS


def test_missing_and_infinite_values_are_what_the_contract_says(name, encode):
    rows = [[1, NAN, 2], [NAN, NAN, 2], [NAN, NAN, NAN], [INF, 1, 2], [1, -INF, NAN]]
    decoded = build(name).decode(record_batch([encode(row) for row in rows]))
    np.testing.assert_array_equal(decoded.X, [[1, NAN, 2]])
    assert [(r.record, r.row, r.reason) for r in decoded.rejects] == [
        (1, -1, "schema"),
        (2, -1, "schema"),
        (3, -1, "non_finite"),
        (4, -1, "non_finite"),
    ]
    lenient = build(name, replace(SETTINGS, max_missing=1.0)).decode(record_batch([encode(row) for row in rows[:3]]))
    assert lenient.record.tolist() == [0, 1]
    assert [r.reason for r in lenient.rejects] == ["schema"]


def test_wrong_lengths_tombstones_and_large_records(name, encode):
    good = encode([1, 2, 3])
    batch = record_batch([encode([1, 2]), None, good, b"", good * 50])
    decoded = build(name, replace(SETTINGS, max_bytes=len(good) * 20)).decode(batch)
    assert decoded.tombstones.tolist() == [1]
    assert decoded.record.tolist() == [2]
    reasons = {r.record: r.reason for r in decoded.rejects}
    assert list(reasons) == [0, 3, 4]
    assert (reasons[0], reasons[4]) == ("dimension", "oversize")


def test_no_records_no_rows(name, encode):
    del encode
    for batch in (RecordBatch.empty(), record_batch([None])):
        decoded = build(name).decode(batch)
        assert decoded.X.shape == (0, 3)
        assert len(decoded.event_time) == len(decoded.record) == len(decoded.row) == 0
        assert decoded.rejects == ()


def test_a_codec_needs_fields(name, encode):
    del encode
    with pytest.raises(ConfigError):
        build(name, CodecSettings(()))


def triple(decoded: FeatureBatch, shift: int = 0) -> tuple[list[object], list[object], list[int]]:
    rows = zip(
        (decoded.record + shift).tolist(),
        decoded.row.tolist(),
        decoded.X.tolist(),
        decoded.event_time.tolist(),
        strict=True,
    )
    rejects = [(r.record + shift, r.row, r.reason, r.detail) for r in decoded.rejects]
    return [repr(row) for row in rows], rejects, (decoded.tombstones + shift).tolist()


cell = st.one_of(st.just(NAN), st.just(INF), st.floats(-1e6, 1e6, width=32))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_in_any_blocks(name, encode, data):
    payload = st.one_of(
        st.none(),
        st.binary(max_size=60),
        st.lists(cell, min_size=2, max_size=4).map(encode),
        st.just(encode([1, 2, 3])),
    )
    values = data.draw(st.lists(payload, max_size=12))
    codec = build(name)
    batch = record_batch(values)
    whole = codec.decode(batch)

    seen = {*whole.record.tolist(), *(r.record for r in whole.rejects), *whole.tombstones.tolist()}
    assert seen == set(range(len(values)))
    assert not np.isinf(whole.X).any()
    assert {r.reason for r in whole.rejects} <= set(REJECT_REASONS)
    assert all(r.detail for r in whole.rejects)
    assert (np.diff(whole.record) >= 0).all()
    assert [(r.record, r.row) for r in whole.rejects] == sorted((r.record, r.row) for r in whole.rejects)
    assert all(codec.passthrough(value) == {} for value in values if value is not None)

    cuts = sorted({0, len(values), *data.draw(st.lists(st.integers(0, len(values)), max_size=4))})
    pieces = [triple(codec.decode(part(batch, a, b)), a) for a, b in pairwise(cuts)]
    joined = tuple([item for piece in pieces for item in piece[i]] for i in range(3))
    assert joined == triple(whole)
