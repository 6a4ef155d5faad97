"""JSON payloads: what is a vector, what is missing, and what is rejected for which reason."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest
from batches import record_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgmm.codecs import CodecSettings, Field, Timestamp, _compiled
from streamgmm.codecs._compiled import DocumentCodec, read_nothing
from streamgmm.codecs._keys import tables
from streamgmm.codecs.json import build
from streamgmm.errors import ConfigError
from streamgmm.records import REJECT_REASONS

NAN = math.nan


def fields(*names: str, kind: str = "number") -> tuple[Field, ...]:
    return tuple(Field(name, name, kind) for name in names)


def codec(*names: str, **more: object) -> DocumentCodec:
    return build(CodecSettings(fields(*names), **more))


def decode_one(made: DocumentCodec, value: str | bytes):
    """Return the row, or the reject's reason."""
    decoded = made.decode(record_batch([value if isinstance(value, bytes) else value.encode()]))
    return decoded.rejects[0].reason if decoded.rejects else decoded.X[0].tolist()


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ('{"a": 1, "b": 2.5}', [1, 2.5]),
        ('{"b": 2.5, "other": {"x": [1]}, "a": 1}', [1, 2.5]),
        ("[1, 2.5]", [1, 2.5]),
        ("  \n [1, -0.0]  ", [1, -0.0]),
        ('{"a": null, "b": 2}', [NAN, 2]),
        ('{"b": 2}', [NAN, 2]),
        ("[null, 2]", [NAN, 2]),
        ('{"a": NaN, "b": 2}', [NAN, 2]),
        ("[NaN, 2]", [NAN, 2]),
        ('{"a": 9007199254740993, "b": 18446744073709551617}', [9007199254740992, 18446744073709551616]),
        ('{"a": 1e-400, "b": 1e308}', [0, 1e308]),
        ('{"a": "x", "a": 1, "b": 2}', [1, 2]),
        ('{"a": 1, "a": 3, "b": 2}', [3, 2]),
        ('{"a": 1, "b": 2, "junk": 1e999}', [1, 2]),
        ('{"a": 1, "b": 2, "junk": NaN}', [1, 2]),
        ('{"a": 1, "b": 2, "junk": "\\ud800"}', [1, 2]),
        ('{"a": Infinity, "b": 2}', "non_finite"),
        ('{"a": -Infinity, "b": 2}', "non_finite"),
        ('{"a": 1e999, "b": 2}', "non_finite"),
        ('{"a": ' + "9" * 350 + ', "b": 2}', "non_finite"),
        ('{"a": ' + "9" * 5000 + ', "b": 2}', "non_finite"),
        ('{"a": -' + "9" * 100_000 + ', "b": 2}', "non_finite"),
        ('{"a": true, "b": 2}', "schema"),
        ('{"a": "1", "b": 2}', "schema"),
        ('{"a": [1], "b": 2}', "schema"),
        ('{"a": {}, "b": 2}', "schema"),
        ("[1, true]", "schema"),
        ("{}", "schema"),
        ('{"a": null, "b": null}', "schema"),
        ("[null, null]", "schema"),
        ("[NaN, NaN]", "schema"),
        ("null", "schema"),
        ("3", "schema"),
        ('"text"', "schema"),
        ("true", "schema"),
        ("[]", "dimension"),
        ("[1]", "dimension"),
        ("[1, 2, 3]", "dimension"),
        ("[[1, 2], [3, 4]]", "schema"),
        ("", "decode"),
        ("{", "decode"),
        ('{"a": 1, "b": 2', "decode"),
        ('{"a": 1, "b": 2} x', "decode"),
        ('{"a": 01, "b": 2}', "decode"),
        ('{"a": 1, "b": 2, "junk": "\x01"}', "decode"),
        (b'{"a": 1, "b": 2, "junk": "\xff"}', [1, 2]),
        (b'{"a": 1, "b": 2, "\xff": [1e999, "\xc3"]}', [1, 2]),
        (b'{"a": 1, "b": 2, "junk": "\xff}', "decode"),
        (b"\xff\xfe", "decode"),
        (b"\xef\xbb\xbf[1, 2]", [1, 2]),
        ('{"a": 1, "b": 2}'.encode("utf-16"), "decode"),
        (b"\x00\x00\x00\x00\x07{}", "schema"),
        (b'\x00\x00\x00\x00\x07{"a": 1, "b": 2}', [1, 2]),
        (b'\x00\x7b\x5b\x7b\x5b {"a": 1, "b": 2, "c": "1"}', [1, 2]),
        (b"\x00\x00\x00\x00\x07[1, NaN]", [1, NAN]),
        (b"\x00\x00\x00\x00\x07\x02abc", "decode"),
        (b"\x00\x00\x00\x00\x07", "decode"),
        ('{"a": "NaN", "b": 2}', [NAN, 2]),
        ('["nan", 2]', [NAN, 2]),
        ('{"a": "Infinity", "b": 2}', "non_finite"),
        ('{"a": "-Infinity", "b": 2}', "non_finite"),
        ('["+Inf", 2]', "non_finite"),
        ("[" * 100_000, "decode"),
        ('{"a": 1, "b": 2, "junk": ' + "[" * 100_000 + "]" * 100_000 + "}", "decode"),
    ],
)
def test_a_payload(payload, expected):
    got = decode_one(codec("a", "b"), payload)
    assert got == expected if isinstance(expected, str) else np.testing.assert_array_equal(got, expected) is None


def test_details_say_where_and_what():
    decoded = codec("a", "load").decode(
        record_batch([b'{"a": 1, "load": "high"}', b"[1]", b'{"a": 1, "load": -Infinity}', b"\xff", b"\0\0"])
    )
    details = [r.detail for r in decoded.rejects]
    assert "'load' is a string ('high'), expected a number" in details[0]
    assert "1 values, expected 2" in details[1]
    assert details[2] == "infinite: load"
    assert "not UTF-8 at byte 0" in details[3]
    assert "Confluent framing" in details[4]
    assert {r.row for r in decoded.rejects} == {-1}


def test_malformed_documents_say_at_which_byte_and_what_was_expected():
    payloads = ['{"é": 1 "load": 2}', '{"a": 1,}', '{"a": [1, 2}', ""]
    rejects = codec("a").decode(record_batch([payload.encode() for payload in payloads])).rejects
    assert [reject.detail.partition(";")[0] for reject in rejects] == [
        "not JSON at byte 9: Expecting ',' delimiter",
        "not JSON at byte 8: Illegal trailing comma before end of object"
        if sys.version_info >= (3, 13)
        else "not JSON at byte 8: Expecting property name enclosed in double quotes",
        "not JSON at byte 11: Expecting ',' delimiter",
        "not JSON at byte 0: Expecting value",
    ]


def test_more_missing_than_allowed_is_a_reject_and_none_at_all_always():
    payloads = ['{"a": 1}', '{"a": 1, "b": 1}', '{"a": 1, "b": 1, "c": 1}', "{}"]

    def kept(share: float) -> list[bool]:
        made = codec("a", "b", "c", "d", max_missing=share)
        return [isinstance(decode_one(made, p), list) for p in payloads]

    assert kept(0.5) == [False, True, True, False]
    assert kept(0.0) == [False, False, False, False]
    assert kept(1.0) == [True, True, True, False]


def test_tombstones_oversize_and_siblings_keep_their_places():
    made = codec("a", max_bytes=20)
    decoded = made.decode(
        record_batch([None, b'{"a": 1}', b'{"a": 1, "pad": "' + b"x" * 50 + b'"}', b"", b"[2]", None])
    )
    assert decoded.tombstones.tolist() == [0, 5]
    assert decoded.record.tolist() == [1, 4]
    assert decoded.X.tolist() == [[1.0], [2.0]]
    assert [(r.record, r.reason) for r in decoded.rejects] == [(2, "oversize"), (3, "decode")]
    assert decoded.X.flags.c_contiguous


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ('{"host": {"load": {"1m": 3}}}', 3),
        ('{"host": {"load.1m": 3}}', 3),
        ('{"host.load.1m": 3, "host": {"load": {"1m": 4}}}', 3),
        ('{"host.load": {"1m": 3}}', None),  # a literal key is the whole rest of the path
        ('{"host": [{"load": 1}]}', None),
        ('{"host": 3}', None),
    ],
)
def test_a_literal_key_wins_over_a_path(payload, expected):
    made = build(CodecSettings((Field("load", "host.load.1m"), Field("x", "x")), max_missing=0.5))
    got = decode_one(made, payload[:-1] + ', "x": 1}')
    np.testing.assert_array_equal(got, [NAN if expected is None else expected, 1])


def test_a_path_may_enter_an_array():
    made = build(CodecSettings((Field("second", "values.1"),)))
    assert decode_one(made, '{"values": [4, 5]}') == [5]
    assert decode_one(made, '{"values": [4]}') == "schema"
    assert decode_one(made, '{"values": {"1": 6}}') == [6]


def test_a_category_is_a_stable_exact_number():
    made = build(CodecSettings((*fields("state", kind="category"), *fields("x"))))
    values = [b'{"state": "up", "x": 1}', b'{"x": 1, "state": "up"}', b'["up", 1]', b'{"state": "down", "x": 1}']
    codes = made.decode(record_batch(values)).X[:, 0]
    assert codes[0] == codes[1] == codes[2] != codes[3]
    assert codes[0] == int(codes[0])
    assert 0 <= codes[0] < 2**52
    # The number is in snapshots: another version of this package must find the same.
    assert codes[0] == 2806468457934692.0
    by_text = [
        b'{"state": "1", "x": 1}',
        b'{"state": 1, "x": 1}',
        b'{"state": true, "x": 1}',
        b'{"state": "true", "x": 1}',
    ]
    same = made.decode(record_batch(by_text)).X[:, 0]
    assert same[0] == same[1] != same[2] == same[3]


@pytest.mark.parametrize("bad", ["[1]", "{}"])
def test_a_category_is_not_a_container(bad):
    made = build(CodecSettings((*fields("state", kind="category"), *fields("x"))))
    assert decode_one(made, f'{{"state": {bad}, "x": 1}}') == "schema"
    np.testing.assert_array_equal(decode_one(made, '{"state": null, "x": 1}'), [NAN, 1])
    assert isinstance(decode_one(made, '{"state": "\\ud800", "x": 1}'), list)
    assert isinstance(decode_one(made, '{"state": ' + "9" * 5000 + ', "x": 1}'), list)


@pytest.mark.parametrize(
    ("unit", "value", "seconds"),
    [
        ("s", "1700000000.5", 1700000000.5),
        ("ms", "1700000000500", 1700000000.5),
        ("us", "1700000000500000", 1700000000.5),
        ("ns", "1700000000500000000", 1700000000.5),
        ("iso", '"2023-11-14T22:13:20.500Z"', 1700000000.5),
        ("iso", '"2023-11-15T00:13:20.5+02:00"', 1700000000.5),
        ("iso", '"2023-11-14T22:13:20.5"', 1700000000.5),
        ("s", "-1", -1.0),
        ("s", "null", 7.0),
        ("iso", "null", 7.0),
        ("s", "NaN", 7.0),
    ],
)
def test_a_timestamp(unit, value, seconds):
    for path in ("ts", "meta.ts"):
        made = codec("a", timestamp=Timestamp(path, unit))
        nested = f'"ts": {value}' if path == "ts" else f'"meta": {{"ts": {value}}}'
        decoded = made.decode(record_batch([f'{{"a": 1, {nested}}}'.encode()], timestamp=7000))
        assert decoded.event_time.tolist() == [seconds]


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("s", '"soon"'),
        ("s", "true"),
        ("s", "1e300"),
        ("s", "Infinity"),
        ("s", "9" * 500),
        ("s", "1700000000000"),
        ("ms", "[]"),
        ("iso", "1700000000"),
        ("iso", '"yesterday"'),
        ("iso", '""'),
        ("iso", '"0001-01-01T00:00:00+14:00"'),
    ],
)
def test_a_bad_timestamp_is_a_schema_reject(unit, value):
    made = codec("a", timestamp=Timestamp("ts", unit))
    decoded = made.decode(record_batch([f'{{"a": 1, "ts": {value}}}'.encode()]))
    assert [r.reason for r in decoded.rejects] == ["schema"]
    assert "timestamp" in decoded.rejects[0].detail


def test_without_a_time_in_the_payload_the_records_own_holds():
    made = codec("a", timestamp=Timestamp("ts", "s"))
    batch = record_batch([b'{"a": 1}', b"[1]", b'{"a": 1, "ts": 9}'], timestamp=5500)
    assert made.decode(batch).event_time.tolist() == [5.5, 5.5, 9.0]
    np.testing.assert_array_equal(codec("a").decode(record_batch([b"[1]"])).event_time, [NAN])


def test_passthrough_takes_what_is_there_and_never_raises():
    made = codec("a", passthrough=("host", "unit.name", "gone", "n"))
    assert made.passthrough(b'{"a": 1, "host": "h1", "unit": {"name": [1, null]}, "n": null}') == {
        "host": "h1",
        "unit.name": [1, None],
    }
    deep = b'{"host": ' + b"[" * 500 + b"]" * 500 + b', "unit": {"name": ' + b"9" * 300 + b'}, "gone": "\\ud800"}'
    found = made.passthrough(deep)
    json.dumps(found, allow_nan=False)
    "".join(json.dumps(found, ensure_ascii=False)).encode()
    for hostile in (b"", b"[1]", b"\xff", b"{" * 100_000, b'{"host": NaN, "n": Infinity}'):
        made.passthrough(hostile)


def test_settings_that_describe_no_vector_are_refused():
    with pytest.raises(ConfigError, match="at least one"):
        build(CodecSettings(()))
    with pytest.raises(ConfigError, match="twice"):
        build(CodecSettings(fields("a", "a")))


numbers = st.one_of(
    st.none(),
    st.floats(width=64),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.sampled_from(["", "a", "1", "1.0", "true"]),
    st.just([1]),
)
levels = st.dictionaries(st.sampled_from(["a", "b", "ts", "c", "c.d"]), numbers)
payloads = st.one_of(
    st.dictionaries(
        st.sampled_from(["a", "b", "ts", "s", "n", "n.a", "n.c.d", "other"]),
        numbers | levels | st.dictionaries(st.sampled_from("cs"), numbers | levels),
    ).map(json.dumps),
    st.lists(numbers, max_size=3).map(json.dumps),
)
SETTINGS = [
    CodecSettings(fields("a", "b"), Timestamp("ts", "ms"), max_missing=1.0),
    CodecSettings((Field("x", "n.a"), Field("y", "b"), Field("z", "n.c.d")), Timestamp("n.ts", "s"), max_missing=1.0),
    CodecSettings((Field("s", "s", "category"), Field("y", "n.b")), Timestamp("ts", "iso"), max_missing=1.0),
    CodecSettings((Field("a", "n.a"), Field("s", "n.c.s", "category"), Field("t", "a", "category")), max_missing=1.0),
]


@pytest.mark.parametrize("declared", SETTINGS)
@settings(max_examples=300)
@given(payload=payloads)
def test_the_compiled_reading_agrees_with_the_careful_one(declared, payload):
    made, careful = build(declared), build(declared)
    assert tables(declared) is not None
    careful._quick = read_nothing(len(declared.fields))
    batch = record_batch([payload.encode()])
    left, right = made.decode(batch), careful.decode(batch)
    np.testing.assert_array_equal(left.X, right.X)
    np.testing.assert_array_equal(left.event_time, right.event_time)
    assert left.rejects == right.rejects


@pytest.mark.parametrize(
    ("declared", "payload"),
    [
        (SETTINGS[0], '{"a": 1, "b": null, "ts": 1, "junk": {"x": "y"}}'),
        (SETTINGS[0], "[1, null]"),
        (SETTINGS[0], '{"a": NaN, "b": 2, "c": [NaN]}'),
        (SETTINGS[1], '{"n": {"a": 1, "c": {"d": 2}, "ts": 1}, "b": 3}'),
        (SETTINGS[1], '{"n": null, "b": 3}'),
        (SETTINGS[2], '{"s": "up", "n": {"b": 2}, "ts": "2024-01-01T00:00:00Z"}'),
        (SETTINGS[3], '{"n": {"a": 1, "c": {"s": true}}, "a": 7}'),
    ],
)
def test_the_ordinary_record_needs_no_careful_reading(monkeypatch, declared, payload):
    made = build(declared)
    monkeypatch.setattr(_compiled, "read_row", None)
    assert isinstance(decode_one(made, payload), list)


def test_overlapping_paths_are_read_with_care():
    for paths in (("a", "a.b"), ("a.b", "a"), ("a", "a")):
        made = build(CodecSettings(tuple(Field(f"f{i}", path) for i, path in enumerate(paths))))
        assert tables(made._settings) is None
    assert decode_one(made, '{"a": 1}') == [1, 1]


@given(st.lists(st.one_of(st.binary(max_size=40), payloads.map(str.encode), st.none()), max_size=8))
def test_any_bytes_are_a_row_a_reject_or_a_tombstone(values):
    decoded = codec("a", "b").decode(record_batch(values))
    seen = sorted([*decoded.record, *(r.record for r in decoded.rejects), *decoded.tombstones])
    assert seen == list(range(len(values)))
    assert not np.isinf(decoded.X).any()
    assert {r.reason for r in decoded.rejects} <= set(REJECT_REASONS)


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ('"42"', "without quotes"),
        ('"-1.5e3"', "without quotes"),
        ('"1,5"', "without quotes"),
        ('"80 %"', "without quotes"),
        ('""', "write null"),
        ('"N/A"', "write null"),
        ('"idle"', "type: category"),
        ("true", "type: category"),
        ("[1]", "expected a number"),
    ],
)
def test_advice_fits_what_stands_there(value, advice):
    (reject,) = codec("a", "b").decode(record_batch([f'{{"a": {value}, "b": 2}}'.encode()])).rejects
    assert reject.reason == "schema"
    assert advice in reject.detail
    assert ("category" in reject.detail) == ("category" in advice)


def test_a_category_that_is_not_utf8_is_refused_and_told():
    made = build(CodecSettings((*fields("state", kind="category"), *fields("x"))))
    (reject,) = made.decode(record_batch([b'{"state": "k\xfcche", "x": 1}'])).rejects
    assert (reject.reason, reject.detail) == ("schema", "field 'state' is not UTF-8 ('k\\udcfcche')")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01t00:00:07z", 7.0),
        ("1970-01-01 00:00:07z", 7.0),
        ("1970-01-01T02:00:07+02:00", 7.0),
        ("2016-12-31T23:59:60Z", 1483228800.0),
        ("2016-12-31T23:59:60.25z", 1483228800.25),
        ("2017-01-01T05:29:60+05:30", 1483228800.0),
    ],
)
def test_times_of_rfc_3339_may_be_in_lower_case_and_have_leap_seconds(text, seconds):
    made = build(CodecSettings(fields("a"), Timestamp("t", "iso")))
    found = made.decode(record_batch([json.dumps({"a": 1, "t": text}).encode()] * 2))
    assert (found.rejects, found.event_time.tolist()) == ((), [seconds] * 2)


@pytest.mark.parametrize("text", ["2016-12-31T23:60:00Z", "2016-12-31T23:59:61Z", "2016-12-31T60:00:00Z"])
def test_other_sixties_are_no_times(text):
    made = build(CodecSettings(fields("a"), Timestamp("t", "iso")))
    assert decode_one(made, json.dumps({"a": 1, "t": text})) == "schema"


def test_framing_before_json_needs_no_careful_reading(monkeypatch):
    made = codec("a", "b")
    monkeypatch.setattr(made, "_careful", None)
    assert made.decode(record_batch([b'\0\0\0\0\x07{"a": 1, "b": 2}'] * 3)).X.tolist() == [[1, 2]] * 3
