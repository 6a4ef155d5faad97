"""MessagePack payloads mean what the same JSON means."""

import datetime as dt
import json
import math

import msgspec
import numpy as np
import pytest
from batches import record_batch
from hypothesis import given
from hypothesis import strategies as st

from streamgmm.codecs import CodecSettings, Field, Timestamp
from streamgmm.codecs import json as json_codec
from streamgmm.codecs._compiled import read_nothing
from streamgmm.codecs._objects import read_row
from streamgmm.codecs.msgpack import build

FIELDS = (Field("a", "a"), Field("load", "host.load.1m"), Field("s", "s", "category"))
SETTINGS = CodecSettings(FIELDS, Timestamp("ts", "ms"), ("unit", "tags"))


def one(value, settings=SETTINGS):
    return build(settings).decode(record_batch([value], timestamp=1000))


cells = st.one_of(st.none(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), st.text(), st.booleans())
payloads = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "a": cells, "s": cells, "ts": cells, "unit": cells, "host.load.1m": cells,
            "host": st.one_of(cells, st.fixed_dictionaries({}, optional={"load.1m": cells, "load": cells})),
        },
    ),
    st.lists(cells, max_size=4),
    cells,
)  # fmt: skip


PLAIN = CodecSettings((Field("a", "a"), Field("s", "s")), Timestamp("ts", "ms"), ("unit",), max_missing=1.0)


@pytest.mark.parametrize("declared", [SETTINGS, PLAIN], ids=["paths", "plain"])
@given(payload=payloads)
def test_it_agrees_with_json(declared, payload):
    packed = one(msgspec.msgpack.encode(payload), declared)
    text = json_codec.build(declared).decode(record_batch([json.dumps(payload).encode()], timestamp=1000))
    assert repr(packed.X.tolist()) == repr(text.X.tolist())
    assert packed.event_time.tolist() == text.event_time.tolist()
    assert [(r.reason, r.detail) for r in packed.rejects] == [(r.reason, r.detail) for r in text.rejects]
    encoded = msgspec.msgpack.encode(payload)
    assert build(declared).passthrough(encoded) == json_codec.build(declared).passthrough(json.dumps(payload).encode())


def test_its_own_times_need_no_unit():
    moment = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    found = one(msgspec.msgpack.encode({"a": 1, "s": "x", "ts": moment}))
    assert found.event_time.tolist() == [moment.timestamp()]


def test_single_floats_nan_and_infinity():
    settings = CodecSettings((Field("a", "a"), Field("b", "b")))
    nan, single = b"\xcb\x7f\xf8" + b"\0" * 6, b"\xca\x3f\xc0\0\0"
    assert one(b"\x92" + single + nan, settings).X[0, 0] == 1.5
    assert math.isnan(one(b"\x92" + single + nan, settings).X[0, 1])
    assert one(b"\x92" + single + b"\xca\x7f\x80\0\0", settings).rejects[0].reason == "non_finite"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b'{"a": 1}', "is this JSON? Use codec json"),
        (b"\0\0\0\0\x01abc", "Confluent framing? Use codec avro"),
        (b"", "not MessagePack"),
        (b"\x91" * 100_000, "not MessagePack"),
        (b"\xdf\xff\xff\xff\xff", "not MessagePack"),
        (b"\x81\x81\x01\x02\x03", "not MessagePack"),
    ],
)
def test_other_bytes_say_what_they_look_like(value, said):
    found = one(value)
    assert [r.reason for r in found.rejects] == ["decode"]
    assert said in found.rejects[0].detail


FAR = b"\xc7\x0c\xff" + b"\xff" * 12  # a time outside Python's years
UNREAD = {
    "text": b"\xa1\xff",
    "time": FAR,
    "extension": b"\xd6\x01abcd",
    "key": b"\x81\x81\x01\x02\x03",
    "keys": b"\x81\xa1\xff\x01",
    "deep": b"\x91\x81\xa1k\x92\xa1\xff\x01",
}


@pytest.mark.parametrize("what", UNREAD)
def test_what_nobody_reads_decides_nothing(what):
    settings = CodecSettings((Field("a", "a"), Field("b", "m.1.b")), Timestamp("ts", "ms"), ("u", "v"))
    inner = b"\x92" + UNREAD[what] + b"\x82\xa1b\x02\xa1z" + UNREAD[what]
    value = b"\x85\xa1a\x01\xa1u" + UNREAD[what] + b"\xa1v\x07\xa1m" + inner + b"\xa2ts\xcd\x0b\xb8"
    found = one(value, settings)
    assert (found.rejects, found.X.tolist(), found.event_time.tolist()) == ((), [[1.0, 2.0]], [3.0])
    assert build(settings).passthrough(value)["v"] == 7


@pytest.mark.parametrize(
    ("place", "said"), [("a", "'a' is unreadable"), ("s", "'s' is unreadable"), ("ts", "timestamp")]
)
@pytest.mark.parametrize("what", ["text", "time"])
def test_what_is_asked_for_and_unreadable_is_refused(place, said, what):
    good = {"a": b"\x01", "s": b"\xa1x", "ts": b"\x01"} | {place: UNREAD[what]}
    value = b"\x83" + b"".join(msgspec.msgpack.encode(key) + item for key, item in good.items())
    settings = CodecSettings((Field("a", "a"), Field("s", "s", "category")), Timestamp("ts", "ms"))
    (reject,) = one(value, settings).rejects
    assert reject.reason == "schema"
    assert said in reject.detail


def test_a_message_of_unreadable_values_alone_is_given_up():
    many = b"\xdd" + (10_000).to_bytes(4, "big") + b"\xa1\xff" * 10_000
    value = b"\x82\xa1u" + many + b"\xa1a\x01"
    assert [(r.reason, "not MessagePack" in r.detail) for r in one(value).rejects] == [("decode", True)]


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes_are_a_row_or_a_reject(values):
    found = build(SETTINGS).decode(record_batch(values))
    assert sorted([*found.record.tolist(), *(r.record for r in found.rejects)]) == list(range(len(values)))
    for value in values:
        msgspec.json.encode(build(SETTINGS).passthrough(value))


@given(st.fixed_dictionaries({"a": st.one_of(st.none(), st.floats()), "s": st.floats(), "ts": st.integers(0, 10**13)}))
def test_the_quick_reading_agrees_with_the_careful_one(payload):
    found = one(msgspec.msgpack.encode(payload), PLAIN)
    values, time = read_row(payload, PLAIN, {})
    if any(value in {math.inf, -math.inf} for value in values) or all(map(math.isnan, values)):
        assert len(found.rejects) == 1
    else:
        assert repr(found.X[0].tolist()) == repr(list(values))
        assert found.event_time.tolist() == [time]


@pytest.mark.parametrize("declared", [SETTINGS, PLAIN], ids=["paths", "plain"])
@given(payload=payloads)
def test_the_compiled_reading_agrees_with_the_careful_one(declared, payload):
    made, careful = build(declared), build(declared)
    careful._quick = read_nothing(len(declared.fields))
    batch = record_batch([msgspec.msgpack.encode(payload)] * 2)
    left, right = made.decode(batch), careful.decode(batch)
    assert repr(left.X.tolist()) == repr(right.X.tolist())
    assert repr(left.event_time.tolist()) == repr(right.event_time.tolist())
    assert left.rejects == right.rejects


@pytest.mark.parametrize(
    "payload",
    [
        {"a": 1.5, "host": {"load": {"1m": -7}}, "s": "up", "ts": 1_700_000_000_000, "tags": {"x": [1, None, b"y"]}},
        {"a": 2**64 - 1, "host": None, "s": "k" * 40, "ts": 1.7e12, "unit": "é" * 300},
        {"a": -(2**63), "ts": None, "s": "", "a longer key than a short head can say": [[[{}]]]},
        [1, None, "up"],
    ],
)
def test_the_ordinary_record_needs_no_careful_reading(monkeypatch, payload):
    made = build(SETTINGS)
    monkeypatch.setattr(made, "_careful", None)
    decoded = made.decode(record_batch([msgspec.msgpack.encode(payload)] * 2))
    assert len(decoded) == 2


@given(st.integers(0, 2**32 - 1))
def test_single_floats_are_what_the_library_makes_of_them(bits):
    value = b"\x93\xca" + bits.to_bytes(4, "big") + b"\x00\xa1s"
    expected = msgspec.msgpack.decode(value)[0]
    decoded = one(value)
    if math.isinf(expected):
        assert [reject.reason for reject in decoded.rejects] == ["non_finite"]
    else:
        assert repr(decoded.X[0, 0]) == repr(np.float64(expected))
