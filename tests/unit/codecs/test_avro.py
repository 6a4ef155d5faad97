"""Avro payloads: framed and bare, by registry and by file; and what hostile bytes can do."""

import dataclasses
import datetime as dt
import decimal
import json
import random
import uuid
from contextlib import suppress

import msgspec
import numpy as np
import pytest
from avro_messages import avro_bytes, framed, running_registry
from batches import record_batch

from streamgmm.codecs import CodecSettings, Field, SchemaRegistry, Timestamp, _schema_registry
from streamgmm.codecs._payload import RefusalError
from streamgmm.codecs.avro import _made, build
from streamgmm.errors import ConfigError, RetryableError, StopError

LOAD = {"type": "record", "name": "Load", "fields": [{"name": "one", "type": "float"}]}
SCHEMA = {
    "type": "record",
    "name": "Vector",
    "namespace": "test",
    "fields": [
        {"name": "a", "type": "double"},
        {"name": "b", "type": ["null", "long"], "default": None},
        {"name": "load", "type": ["null", LOAD]},
        {"name": "mode", "type": {"type": "enum", "name": "Mode", "symbols": ["idle", "busy"]}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}},
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
    ],
}
MOMENT = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
DATUM = {
    "a": 1.5, "b": None, "load": {"one": 0.25}, "mode": "busy", "at": MOMENT, "price": decimal.Decimal("12.50"),
    "id": uuid.UUID(int=7),
}  # fmt: skip
FIELDS = (Field("a", "a"), Field("b", "b"), Field("load", "load.one"), Field("price", "price"))
SETTINGS = CodecSettings(FIELDS, Timestamp("at", "s"), ("mode", "id", "at"))


@pytest.fixture
def registry():
    with running_registry() as running:
        yield running


def of(registry, **more):
    return CodecSettings(
        FIELDS, Timestamp("at", "s"), ("mode", "id", "at"), schema_registry=SchemaRegistry(registry.url, **more)
    )


def row(made, value):
    found = made.decode(record_batch([value]))
    return found.rejects[0] if found.rejects else found.X[0].tolist()


def test_framed_records_are_read_by_the_schema_they_name(registry):
    registry.put(7, SCHEMA)
    made = build(of(registry))
    assert registry.asked == []
    found = made.decode(record_batch([framed(7, SCHEMA, DATUM)] * 3))
    np.testing.assert_array_equal(found.X, [[1.5, np.nan, 0.25, 12.5]] * 3)
    assert found.event_time.tolist() == [MOMENT.timestamp()] * 3
    assert registry.asked == [("/schemas/ids/7", None)], "asked once"
    assert made.passthrough(framed(7, SCHEMA, DATUM)) == {
        "mode": "busy", "id": str(uuid.UUID(int=7)), "at": "2024-05-01T12:00:00Z",
    }  # fmt: skip


def test_an_evolved_schema_is_another_id(registry):
    wider = SCHEMA | {"fields": [{"name": "new", "type": "string"}, *SCHEMA["fields"]]}
    registry.put(1, SCHEMA)
    registry.put(2, wider)
    found = build(of(registry)).decode(
        record_batch([framed(1, SCHEMA, DATUM), framed(2, wider, DATUM | {"new": "x"}), framed(1, SCHEMA, DATUM)])
    )
    assert found.X[:, 0].tolist() == [1.5] * 3


def test_schemas_that_refer_to_others(registry):
    outer = {"type": "record", "name": "Outer", "fields": [{"name": "load", "type": "Load"}]}
    whole = {"type": "record", "name": "Outer", "fields": [{"name": "load", "type": LOAD}]}
    registry.put(3, outer, references=[{"name": "Load", "subject": "load/value", "version": 2}])
    registry.answers["/subjects/load%2Fvalue/versions/2"] = {"schema": json.dumps(LOAD), "id": 1, "version": 2}
    settings = CodecSettings((Field("x", "load.one"),), schema_registry=SchemaRegistry(registry.url))
    assert row(build(settings), framed(3, whole, {"load": {"one": 0.5}})) == [0.5]


@pytest.mark.parametrize("framing", [True, False])
def test_a_schema_from_a_file_needs_no_registry(framing):
    made = build(CodecSettings(FIELDS, schema=json.dumps(SCHEMA), framed=framing))
    value = framed(99, SCHEMA, DATUM) if framing else avro_bytes(SCHEMA, DATUM)
    assert row(made, value)[0] == 1.5


def test_what_is_wrong_with_the_bytes_is_said(registry):
    registry.put(7, SCHEMA)
    registry.put(8, {"type": "string"}, schemaType="PROTOBUF")
    made = build(of(registry))
    said = {
        b'{"a": 1}': "is this JSON? Use codec json",
        avro_bytes(SCHEMA, DATUM | {"a": 0.1}): "expected Confluent framing",
        b"\0\0": "2 bytes, expected Confluent framing",
        framed(7, SCHEMA, DATUM)[:-3]: "schema id 7: not as in the Avro schema: it ends too soon",
        framed(7, SCHEMA, DATUM) + b"12": "schema id 7: 2 bytes are left after the datum",
        framed(8, SCHEMA, DATUM): "schema id 8 is of type PROTOBUF, not Avro",
        framed(9, SCHEMA, DATUM): "schema id 9 is not in the schema registry",
    }
    for value, text in said.items():
        reject = row(made, value)
        assert (reject.reason, text in reject.detail) == ("decode", True), reject
    bare = build(CodecSettings(FIELDS, schema=json.dumps(SCHEMA), framed=False))
    assert "Set framing: confluent" in row(bare, framed(7, SCHEMA, DATUM)).detail


def test_an_unknown_id_is_not_asked_for_again_at_once(registry):
    made = build(of(registry))
    for _ in range(5):
        assert row(made, framed(9, SCHEMA, DATUM)).reason == "decode"
    assert len(registry.asked) == 1


def client(registry, **more):
    pauses = []
    clock = [0.0]

    def sleep(seconds):
        pauses.append(seconds)
        clock[0] += seconds

    return _schema_registry.RegistryClient(SchemaRegistry(registry.url, **more), _made, lambda: clock[0], sleep), pauses


def test_a_registry_that_stumbles_is_asked_again(registry):
    registry.put(7, SCHEMA)
    registry.failures = 3
    asked, pauses = client(registry)
    with asked.block():
        assert asked.schema(7)["name"] == "test.Vector"
    assert pauses == [0.1, 0.2, 0.4]


def test_a_registry_that_is_away_is_no_reject(registry):
    registry.failures = 10**6
    asked, pauses = client(registry, patience=5.0)
    with asked.block(), pytest.raises(RetryableError, match="is unreachable: it answers 503"):
        asked.schema(7)
    assert sum(pauses) == pytest.approx(5)
    with pytest.raises(RetryableError, match="ConnectionRefused"):
        build(CodecSettings(FIELDS, schema_registry=SchemaRegistry("http://127.0.0.1:1", patience=0.0))).decode(
            record_batch([framed(7, SCHEMA, DATUM)])
        )


def test_credentials_are_sent_and_never_shown(registry):
    registry.put(7, SCHEMA)
    registry.proof = "Basic bWU6aHVudGVyMg=="  # me:hunter2
    settings = of(registry, username="me", password="hunter2")
    assert row(build(settings), framed(7, SCHEMA, DATUM))[0] == 1.5
    assert "hunter2" not in repr(settings)
    with pytest.raises(ConfigError, match="denies access") as caught:
        build(of(registry, username="me", password="hunter3")).decode(record_batch([framed(7, SCHEMA, DATUM)]))
    assert "hunter3" not in str(caught.value)


def test_what_answers_must_be_a_registry(registry):
    registry.answers["/schemas/ids/7"] = b"<html>"
    asked, _ = client(registry)
    with asked.block(), pytest.raises(StopError, match="not the address of a schema registry"):
        asked.schema(7)


NODE = {"type": "record", "name": "N", "fields": [{"name": "next", "type": ["null", "N"]}]}
DANGEROUS = [
    (NODE, "recursive"),
    ({"type": "array", "items": "null"}, "without bytes"),
    ({"type": "array", "items": {"type": "record", "name": "E", "fields": []}}, "without bytes"),
    ({"type": "map", "values": {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}}, "without bytes"),
    ({"type": "record", "name": "R", "fields": [{"name": "x", "type": "Nobody"}]}, "cannot be used"),
    ([1, 2], "cannot be used"),
    (5, "cannot be used"),
]


@pytest.mark.parametrize(("schema", "said"), DANGEROUS)
def test_schemas_that_hostile_bytes_could_abuse_are_refused(registry, schema, said):
    with pytest.raises(ConfigError, match=said):
        build(CodecSettings(FIELDS, schema=json.dumps(schema)))
    registry.put(5, schema)
    assert said in row(build(of(registry)), b"\0\0\0\0\x05" + b"\x02" * 1000).detail


def test_a_name_used_twice_is_not_recursion():
    schema = {"type": "record", "name": "P", "fields": [{"name": "x", "type": LOAD}, {"name": "y", "type": "Load"}]}
    settings = CodecSettings((Field("x", "x.one"), Field("y", "y.one")), schema=json.dumps(schema), framed=False)
    assert row(build(settings), avro_bytes(schema, {"x": {"one": 1}, "y": {"one": 2}})) == [1, 2]


def test_mutated_bytes_are_rows_or_rejects():
    rng = random.Random(5)
    made = build(CodecSettings(FIELDS, Timestamp("at", "s"), ("mode", "id"), schema=json.dumps(SCHEMA), framed=False))
    good = avro_bytes(SCHEMA, DATUM)
    for _ in range(3000):
        value = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            value[rng.randrange(len(value))] = rng.randrange(256)
        found = made.decode(record_batch([bytes(value[: rng.randrange(1, len(value) + 1)])]))
        assert len(found) + len(found.rejects) == 1
        msgspec.json.encode(made.passthrough(bytes(value)))


LOGICAL = [
    ({"type": "long", "logicalType": "timestamp-micros"}, 9223372036825200000),
    ({"type": "long", "logicalType": "timestamp-micros"}, -62135596800000001),
    ({"type": "long", "logicalType": "timestamp-millis"}, 253402300800000),
    ({"type": "long", "logicalType": "local-timestamp-micros"}, -(2**63)),
    ({"type": "int", "logicalType": "date"}, 3000000),
    ({"type": "int", "logicalType": "time-millis"}, -5),
    ({"type": "string", "logicalType": "uuid"}, ""),
    ({"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}, b""),
    ({"type": "fixed", "name": "F", "size": 40, "logicalType": "decimal", "precision": 90, "scale": 2}, b"9" * 40),
    ("string", b"\xff"),
    ({"type": "map", "values": "string"}, {b"\xff": b"\xfe"}),
]


def raw(schema, value):
    """Return what writes these bytes although they mean nothing: the same schema without its meaning."""
    if schema == "string":
        return "bytes", value
    if schema["type"] == "map":
        pair = {"type": "record", "name": "Pair", "fields": [{"name": n, "type": "bytes"} for n in "kv"]}
        return {"type": "array", "items": pair}, [{"k": k, "v": v} for k, v in value.items()]
    return {key: item for key, item in schema.items() if key != "logicalType"}, value


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("kind", "value"), LOGICAL, ids=range(len(LOGICAL)))
def test_a_field_that_nobody_reads_decides_nothing(kind, value, nested):
    def whole(kind):
        kind = {"type": "array", "items": ["null", kind]} if nested else kind
        ends = [{"name": name, "type": "double"} for name in "ab"]
        return {"type": "record", "name": "V", "fields": [ends[0], {"name": "odd", "type": kind}, ends[1]]}

    plain, item = raw(kind, value)
    datum = avro_bytes(whole(plain), {"a": 1.0, "odd": [item] if nested else item, "b": 2.0})
    settings = CodecSettings((Field("a", "a"), Field("b", "b")), None, ("odd",), schema=json.dumps(whole(kind)))
    made = build(dataclasses.replace(settings, framed=False))
    found = made.decode(record_batch([datum]))
    assert (found.X.tolist(), found.rejects) == ([[1.0, 2.0]], ())
    msgspec.json.encode(made.passthrough(datum))


@pytest.mark.parametrize(("kind", "value"), LOGICAL[:7], ids=range(7))
def test_a_field_that_is_read_and_cannot_be_converted_is_refused(kind, value):
    plain, item = raw(kind, value)
    schema, written = ({"type": "record", "name": "V", "fields": [{"name": "a", "type": k}]} for k in (kind, plain))
    for more in (
        ((Field("a", "a"),), None),
        ((Field("a", "a", "category"),), None),
        ((Field("b", "b"),), Timestamp("a", "us")),
    ):
        made = build(CodecSettings(*more, schema=json.dumps(schema), framed=False))
        assert row(made, avro_bytes(written, {"a": item})).reason == "schema"


def test_a_flood_of_unknown_ids_costs_a_block_little_and_known_ids_are_read(registry, caplog):
    registry.put(7, SCHEMA)
    good = framed(7, SCHEMA, DATUM)
    made = build(of(registry))
    ids = random.Random(3).sample(range(10**6, 2**31), 20_000)
    with caplog.at_level("WARNING"):
        found = made.decode(record_batch([good, *(framed(i, SCHEMA, DATUM) for i in ids), good]))
    assert found.record.tolist() == [0, 20_001]
    assert [r.reason for r in found.rejects] == ["decode"] * 20_000
    asked = ["not in the schema registry" in r.detail for r in found.rejects[:100]]
    assert "was not asked for: 100 schema ids" in found.rejects[-1].detail
    assert all(asked)
    assert len(registry.asked) == 1 + 100
    assert registry.connections == 1
    assert [record.getMessage()[:14] for record in caplog.records] == ["100 schema ids"]
    registry.put(8, SCHEMA)
    assert row(made, framed(8, SCHEMA, DATUM))[0] == 1.5, "the next block may ask again"


def test_slow_refusals_are_bounded_by_time_and_stumbling_by_patience(registry):
    times = iter(np.arange(0.0, 1000.0, 2.0).tolist())
    asked = _schema_registry.RegistryClient(SchemaRegistry(registry.url, patience=5.0), _made, lambda: next(times))

    def refused(asked):
        for schema_id in range(20):
            with suppress(RefusalError):
                asked.schema(schema_id)
            registry.failures = stumbles

    stumbles = 0
    with asked.block():
        refused(asked)
    assert 0 < len(registry.asked) < 5
    asked, pauses = client(registry, patience=1.0)
    stumbles = 1
    with asked.block(), pytest.raises(RetryableError):
        refused(asked)
    assert sum(pauses) == pytest.approx(1.0)
