"""Rows inside the envelopes of Debezium, Telegraf and CloudEvents."""

import base64
import json
import math

import msgspec
import pytest
from batches import record_batch

from streamgmm import registry
from streamgmm.codecs import CodecSettings, Field, Timestamp

FIELDS = (Field("a", "a"), Field("b", "b"))
WRITERS = {"json": lambda value: json.dumps(value).encode(), "msgpack": msgspec.msgpack.encode}


def decoded(payloads, unwrap, codec="json", **more):
    made = registry.member("codecs", codec).build(CodecSettings(**({"fields": FIELDS} | more), unwrap=unwrap))
    return made, made.decode(record_batch([WRITERS[codec](p) for p in payloads], timestamp=7000))


ROW = {"id": 4, "a": 1.5, "b": 2}
CHANGE = {"before": None, "after": ROW, "source": {"ts_ms": 3000, "table": "t"}, "op": "c", "ts_ms": 4000}


@pytest.mark.parametrize("codec", sorted(WRITERS))
@pytest.mark.parametrize("envelope", [CHANGE, {"schema": {"type": "struct"}, "payload": CHANGE}])
def test_debezium_changes_are_the_row_after(codec, envelope):
    made, found = decoded([envelope], "debezium", codec, passthrough=("id",))
    assert found.X.tolist() == [[1.5, 2.0]]
    assert found.event_time.tolist() == [3.0]
    assert made.passthrough(WRITERS[codec](envelope)) == {"id": 4}


def test_debezium_times_fall_back_to_the_connectors_and_the_records():
    snapshot = CHANGE | {"source": {"ts_ms": 0}}
    bare = {"after": ROW}
    assert decoded([CHANGE, snapshot, bare], "debezium")[1].event_time.tolist() == [3.0, 4.0, 7.0]


def test_a_deleted_row_is_a_tombstone():
    _, found = decoded([CHANGE, CHANGE | {"after": None, "before": ROW, "op": "d"}], "debezium")
    assert found.tombstones.tolist() == [1]
    assert found.rejects == ()
    assert found.record.tolist() == [0]


METRIC = {"name": "cpu", "fields": {"a": 1, "b": 2.5}, "tags": {"host": "h1"}, "timestamp": 12}


@pytest.mark.parametrize("codec", sorted(WRITERS))
def test_telegraf_metrics_are_rows_by_themselves_or_in_a_batch(codec):
    second = METRIC | {"fields": {"a": 3, "b": 4}, "timestamp": 13, "tags": {"host": "h2"}}
    made, found = decoded([METRIC, {"metrics": [METRIC, second]}], "telegraf", codec, passthrough=("tags.host", "name"))
    assert found.X.tolist() == [[1, 2.5], [1, 2.5], [3, 4]]
    assert found.record.tolist() == [0, 1, 1]
    assert found.row.tolist() == [0, 0, 1]
    assert found.event_time.tolist() == [12, 12, 13]
    batch = WRITERS[codec]({"metrics": [METRIC, second]})
    assert made.passthrough(batch, 1) == {"tags.host": "h2", "name": "cpu"}
    assert made.passthrough(batch, 2) == {}


def test_a_tag_is_a_category_and_other_units_need_a_timestamp():
    fields = (*FIELDS, Field("host", "tags.host", "category"))
    _, found = decoded(
        [METRIC | {"timestamp": 12_000}], "telegraf", fields=fields, timestamp=Timestamp("timestamp", "ms")
    )
    assert found.event_time.tolist() == [12]
    assert found.X[0, 2] > 0
    _, found = decoded([METRIC | {"timestamp": 10**18}], "telegraf", timestamp=Timestamp("timestamp", "s"))
    assert "is its unit s?" in found.rejects[0].detail


def test_one_bad_metric_leaves_its_siblings_alone():
    odd = METRIC | {"fields": {"a": "x", "b": 1}}
    infinite = METRIC | {"fields": {"a": 1e400, "b": 1}}
    payload = json.dumps({"metrics": [METRIC, odd, METRIC]}).encode()
    two = json.dumps({"metrics": [infinite, odd]}).encode()
    made = registry.member("codecs", "json").build(CodecSettings(FIELDS, unwrap="telegraf"))
    found = made.decode(record_batch([payload, two]))
    assert list(zip(found.record.tolist(), found.row.tolist(), strict=True)) == [(0, 0), (0, 2)]
    assert [(r.record, r.row, r.reason) for r in found.rejects] == [
        (0, 1, "schema"),
        (1, 0, "non_finite"),
        (1, 1, "schema"),
    ]
    assert found.rejects[0].detail.startswith("row 1: field 'a' is a string")


EVENT = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "time": "1970-01-01T00:00:05Z"}


@pytest.mark.parametrize("codec", sorted(WRITERS))
@pytest.mark.parametrize("how", ["data", "data_base64"])
def test_cloud_events_carry_data_plain_or_as_bytes(codec, how):
    data = ROW if how == "data" else base64.b64encode(WRITERS[codec](ROW)).decode()
    _, found = decoded([EVENT | {how: data}], "cloudevents", codec)
    assert found.X.tolist() == [[1.5, 2.0]]
    assert found.event_time.tolist() == [5.0]


@pytest.mark.parametrize(
    ("unwrap", "payload", "reason", "said"),
    [
        ("debezium", ROW, "schema", "neither payload.after nor after"),
        ("debezium", [1, 2], "schema", "the payload is an array, expected an envelope of debezium"),
        ("debezium", {"after": 5}, "schema", "the payload is a number (5)"),
        ("telegraf", ROW, "schema", "fields is null"),
        ("telegraf", {"metrics": []}, "schema", "without metrics"),
        ("telegraf", {"metrics": [METRIC, 3]}, "schema", "row 1: not a Telegraf metric"),
        ("cloudevents", ROW, "schema", "leave unwrap out"),
        ("cloudevents", {"data_base64": "***"}, "decode", "not base64"),
        ("cloudevents", {"data_base64": "YQ=="}, "decode", "not JSON"),
        ("cloudevents", EVENT | {"data": "{"}, "decode", "data: not JSON at byte 1"),
        ("debezium", CHANGE | {"after": "{"}, "decode", "after: not JSON at byte 1"),
    ],
)
def test_what_is_no_such_envelope_says_so(unwrap, payload, reason, said):
    made, found = decoded([payload], unwrap)
    assert [r.reason for r in found.rejects] == [reason]
    assert said in found.rejects[0].detail
    assert made.passthrough(json.dumps(payload).encode()) == {}


def test_a_timestamp_of_ones_own_wins():
    _, found = decoded([CHANGE | {"after": ROW | {"at": 9}}], "debezium", timestamp=Timestamp("at", "s"))
    assert found.event_time.tolist() == [9]
    _, found = decoded([CHANGE], "debezium", timestamp=Timestamp("at", "s"))
    assert found.event_time.tolist() == [7], "the record's own, for what was asked for is not there"
    assert not math.isnan(found.event_time[0])


@pytest.mark.parametrize(
    ("unwrap", "envelope"),
    [
        ("debezium", CHANGE | {"source": {"ts_ms": 10**18}}),
        ("debezium", CHANGE | {"source": {"ts_ms": "soon"}}),
        ("telegraf", METRIC | {"timestamp": 10**18}),
        ("telegraf", METRIC | {"timestamp": {}}),
        ("cloudevents", EVENT | {"data": ROW, "time": "noon"}),
        ("cloudevents", EVENT | {"data": ROW, "time": 5}),
    ],
)
def test_an_envelopes_time_that_nobody_asked_for_decides_nothing(unwrap, envelope):
    _, found = decoded([envelope], unwrap)
    assert found.rejects == ()
    assert found.event_time.tolist() == [7.0], "the record's own"


@pytest.mark.parametrize("codec", sorted(WRITERS))
def test_mongodb_writes_the_row_as_a_text_of_extended_json(codec):
    documents = [
        {"_id": {"$oid": "65"}, "a": 1.5, "b": 2, "note": "é"},
        {"a": {"$numberDouble": "1.5"}, "b": {"$numberLong": "2"}},
        {"a": {"$numberDecimal": "1.5"}, "b": {"$numberInt": "2"}, "c": [{"$numberLong": "no number"}]},
    ]
    made, found = decoded([CHANGE | {"after": json.dumps(one)} for one in documents], "debezium", codec)
    assert found.X.tolist() == [[1.5, 2.0]] * 3
    assert found.event_time.tolist() == [3.0] * 3
    nan = {"a": {"$numberDouble": "NaN"}, "b": 2, "at": {"$date": {"$numberLong": "9000"}}}
    _, found = decoded([CHANGE | {"after": json.dumps(nan)}], "debezium", codec, timestamp=Timestamp("at", "ms"))
    assert math.isnan(found.X[0, 0])
    assert found.event_time.tolist() == [9.0]
    bad = {"a": {"$numberLong": "no number"}, "b": 2}
    assert decoded([CHANGE | {"after": json.dumps(bad)}], "debezium", codec)[1].rejects[0].reason == "schema"
    made = registry.member("codecs", codec).build(CodecSettings(FIELDS, passthrough=("_id",), unwrap="debezium"))
    assert made.passthrough(WRITERS[codec](CHANGE | {"after": json.dumps(documents[0])})) == {"_id": "65"}


def test_data_of_a_cloud_event_may_be_a_text():
    assert decoded([EVENT | {"data": json.dumps(ROW)}], "cloudevents")[1].X.tolist() == [[1.5, 2.0]]


def test_a_metric_that_is_none_leaves_its_siblings_alone():
    _, found = decoded([{"metrics": [METRIC, 3, {"name": "x"}]}], "telegraf")
    assert found.X.tolist() == [[1.0, 2.5]]
    assert [(r.row, r.detail) for r in found.rejects] == [
        (1, "row 1: not a Telegraf metric: fields is null"),
        (2, "row 2: not a Telegraf metric: fields is null"),
    ]


@pytest.mark.parametrize("codec", sorted(WRITERS))
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"ts_ms": 5}, "heartbeat"),
        ({"ts_ms": 5, "ts_us": 5000, "ts_ns": 5000000}, "heartbeat"),
        ({"op": "t", "source": {}, "ts_ms": 5}, "truncate"),
        ({"op": "t", "before": None, "after": None, "source": {}}, "truncate"),
        ({"op": "m", "message": {"prefix": "p", "content": "Yg=="}, "source": {}}, "message"),
        ({"status": "BEGIN", "id": "571", "event_count": None, "ts_ms": 5}, "transaction"),
        ({"source": {}, "databaseName": "d", "ddl": "ALTER TABLE t", "tableChanges": [], "ts_ms": 5}, "schema_change"),
        ({"op": "u", "after": None, "updateDescription": {"updatedFields": "{}"}}, "no_document"),
    ],
)
def test_what_debezium_writes_beside_rows_is_no_dead_letter(codec, wrapped, event, kind):
    event = {"schema": {}, "payload": event} if wrapped else event
    made, found = decoded([CHANGE, event], "debezium", codec, passthrough=("id",))
    assert (found.rejects, found.tombstones.tolist(), found.record.tolist()) == ((), [], [0])
    assert found.passed == ((1, kind),)
    assert made.passthrough(WRITERS[codec](event)) == {}


def test_a_metric_of_another_measurement_is_no_dead_letter():
    other = {"name": "mem", "fields": {"free": 1}, "tags": {"host": "h1"}, "timestamp": 12}
    fields = (*FIELDS, Field("host", "tags.host", "category"), Field("what", "name", "category"))
    _, found = decoded([other, {"metrics": [other, METRIC, other]}], "telegraf", fields=fields)
    assert (found.rejects, found.record.tolist(), found.row.tolist()) == ((), [1], [1])
    assert found.passed == ((0, "other_measurement"), (1, "other_measurement"), (1, "other_measurement"))
    _, found = decoded([METRIC | {"fields": {"b": "x"}}], "telegraf", fields=fields)
    assert [r.reason for r in found.rejects] == ["schema"], "it is ours, and wrong"
    tags = (Field("host", "tags.host", "category"),)
    assert len(decoded([other], "telegraf", fields=tags)[1]) == 1, "nothing else is asked for"
