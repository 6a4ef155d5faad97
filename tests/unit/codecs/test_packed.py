"""Packed floats: one or several vectors a record, bad ones rejected without their siblings."""

from __future__ import annotations

import numpy as np
import pytest
from batches import record_batch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamgmm import registry
from streamgmm.codecs import CodecSettings, Field, Timestamp
from streamgmm.errors import ConfigError
from streamgmm.records import ByteColumn

WIDTHS = {"float32": "<f4", "float64": "<f8"}
AB = (Field("a", "a"), Field("b", "b"))


@pytest.fixture(params=sorted(WIDTHS))
def name(request) -> str:
    return request.param


def build(name: str, **settings: object):
    return registry.member("codecs", name).build(CodecSettings(AB, **settings))


def pack(name: str, rows: list[list[float]]) -> bytes:
    return np.array(rows, dtype=WIDTHS[name]).tobytes()


def test_vectors_of_one_and_of_several_rows(name):
    records = [pack(name, [[1, 2]]), pack(name, [[3, 4], [5, 6], [7, 8]]), None, pack(name, [[9, 10]])]
    decoded = build(name).decode(record_batch(records, timestamp=2500))
    assert decoded.X.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    assert decoded.record.tolist() == [0, 1, 1, 1, 3]
    assert decoded.row.tolist() == [0, 0, 1, 2, 0]
    assert decoded.event_time.tolist() == [2.5] * 5
    assert decoded.tombstones.tolist() == [2]
    assert decoded.rejects == ()
    assert decoded.X.dtype == np.float64
    assert decoded.X.flags.c_contiguous


def test_one_bad_vector_does_not_cost_its_siblings(name):
    records = [pack(name, [[1, 2], [np.inf, 0], [3, 4], [np.nan, np.nan]]), pack(name, [[-np.inf, 1]])]
    decoded = build(name).decode(record_batch(records))
    assert decoded.X.tolist() == [[1, 2], [3, 4]]
    assert decoded.row.tolist() == [0, 2]
    assert [(r.record, r.row, r.reason) for r in decoded.rejects] == [
        (0, 1, "non_finite"),
        (0, 3, "schema"),
        (1, -1, "non_finite"),
    ]
    assert decoded.rejects[0].detail == "row 1: infinite: a"


def test_nan_is_missing(name):
    decoded = build(name).decode(record_batch([pack(name, [[np.nan, 2]])]))
    np.testing.assert_array_equal(decoded.X, [[np.nan, 2]])
    assert [
        r.reason for r in build(name, max_missing=0.4).decode(record_batch([pack(name, [[np.nan, 2]])])).rejects
    ] == ["schema"]


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 200])
def test_rows_without_a_missing_value_are_known_as_complete(name, rows, rng):
    X = rng.normal(size=(rows, 2))
    assert build(name).decode(record_batch([pack(name, [row]) for row in X.tolist()])).complete
    X[rows // 2, 1] = np.nan
    decoded = build(name, max_missing=0.5).decode(record_batch([pack(name, [row]) for row in X.tolist()]))
    assert (len(decoded), decoded.complete) == (rows, False)


def test_wrong_lengths_say_so_and_guess_the_framing(name):
    records = [b"", b"1", b'{"a": 1}1', b"\0\0\0\0\1xx", pack(name, [[1, 2]])[:-1]]
    decoded = build(name).decode(record_batch(records))
    assert [r.reason for r in decoded.rejects] == ["dimension"] * 5
    assert "starts with '{': is this JSON?" in decoded.rejects[2].detail
    assert "Confluent framing" in decoded.rejects[3].detail
    width = 2 * np.dtype(WIDTHS[name]).itemsize
    assert f"{width - 1} bytes, expected a multiple of {width}" in decoded.rejects[4].detail


def test_a_record_above_the_limit_is_not_read(name):
    small, large = pack(name, [[1, 2]]), pack(name, [[1, 2]] * 2)
    decoded = build(name, max_bytes=len(small)).decode(record_batch([large, small]))
    assert [(r.record, r.reason) for r in decoded.rejects] == [(0, "oversize")]
    assert decoded.record.tolist() == [1]


def test_signalling_nans_are_missing_without_a_warning():
    raw = np.array([0x7FA00000, 0x3F800000], dtype="<u4").tobytes()
    np.testing.assert_array_equal(build("float32").decode(record_batch([raw])).X, [[np.nan, 1]])


def test_slices_may_lie_anywhere_in_the_buffer(name):
    a, b = pack(name, [[1, 2]]), pack(name, [[3, 4]])
    batch = record_batch([None, None])
    buffer = np.frombuffer(b"xxx" + b + b"y" + a, dtype=np.uint8)
    column = ByteColumn(buffer, np.array([4 + len(b), 3]), np.array([len(a), len(b)]))
    object.__setattr__(batch, "value", column)
    assert build(name).decode(batch).X.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "settings",
    [
        CodecSettings(AB, timestamp=Timestamp("ts", "ms")),
        CodecSettings(AB, passthrough=("host",)),
        CodecSettings((Field("a", "x.a"),)),
        CodecSettings(()),
    ],
)
def test_what_a_packed_vector_cannot_carry_is_refused(name, settings):
    with pytest.raises(ConfigError):
        registry.member("codecs", name).build(settings)


@given(st.lists(st.one_of(st.none(), st.binary(max_size=40), arrays("<f4", st.tuples(st.integers(1, 4), st.just(2))))))
def test_any_bytes_agree_with_reading_one_by_one(values):
    raw = [v.tobytes() if isinstance(v, np.ndarray) else v for v in values]
    decoded = build("float32").decode(record_batch(raw))
    expected = []
    for i, value in enumerate(raw):
        if value and len(value) % 8 == 0:
            with np.errstate(invalid="ignore"):
                rows = np.frombuffer(value, dtype="<f4").reshape(-1, 2).astype(np.float64)
            fine = ~np.isinf(rows).any(axis=1) & ~np.isnan(rows).all(axis=1)
            expected += [(i, int(j), rows[j].tolist()) for j in np.flatnonzero(fine)]
    got = zip(decoded.record.tolist(), decoded.row.tolist(), decoded.X.tolist(), strict=True)
    assert repr(list(got)) == repr(expected)
