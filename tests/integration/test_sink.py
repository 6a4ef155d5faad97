"""The Kafka sink: what a successful flush promises, and what happens when it cannot be kept."""

import os
import threading
from dataclasses import replace

import msgspec
import pytest
from brokers import Kafka, embedded_process, free_ports, read_all, wait_until

from streamgmm.bus.client import Connection, servers
from streamgmm.demo.broker import Broker
from streamgmm.demo.broker_protocol import Code
from streamgmm.errors import RetryableError, StopError
from streamgmm.records import OutputRecord
from streamgmm.sinks.kafka import KafkaSinkSettings, build

pytestmark = pytest.mark.integration


@pytest.fixture
def sinks():
    opened = []

    def open_one(connection, topic, **settings):
        opened.append(build(KafkaSinkSettings(connection, topic, **settings)))
        return opened[-1]

    yield open_one
    for sink in opened:
        sink.close(1.0)


def outputs(n, start=0, **fields):
    return [OutputRecord(b"%d" % i, key=b"k%d" % i, **fields) for i in range(start, start + n)]


def values(records):
    return sorted(int(record.value) for record in records)


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_records_arrive_as_they_were_written(codec, kafka, make_topic, consume_all, sinks):
    topic = make_topic()
    sink = sinks(kafka.connection, topic, compression=codec)
    sink.write(
        [
            OutputRecord(b"v", b"k", (("a", b"1"), ("b", b""), ("c", None)), timestamp_ms=1_700_000_000_123),
            OutputRecord(b"", None),
        ]
    )
    assert sink.flush(120.0)
    first, second = consume_all(topic)
    assert (first.key, first.value, first.timestamp) == (b"k", b"v", 1_700_000_000_123)
    assert list(first.headers) == [("a", b"1"), ("b", b""), ("c", None)]
    assert (second.key, second.value) == (None, b"")


def test_a_record_may_name_its_own_topic(kafka, make_topic, consume_all, sinks):
    topic, other = make_topic(), make_topic()
    sink = sinks(kafka.connection, topic)
    sink.write([*outputs(3), *outputs(2, start=10, topic=other)])
    assert sink.flush(120.0)
    assert values(consume_all(topic)) == [0, 1, 2]
    assert values(consume_all(other)) == [10, 11]


def test_equal_keys_keep_their_order_on_one_partition(kafka, make_topic, consume_all, sinks):
    topic = make_topic(4)
    sink = sinks(kafka.connection, topic)
    sink.write([OutputRecord(b"%d" % i, b"%d" % (i % 7)) for i in range(700)])
    assert sink.flush(120.0)
    by_key = {}
    for record in consume_all(topic):
        by_key.setdefault(record.key, []).append((record.partition, int(record.value)))
    for key, rows in by_key.items():
        assert len({partition for partition, _ in rows}) == 1
        assert [value for _, value in rows] == list(range(int(key), 700, 7))


def test_more_than_the_buffer_gets_through(kafka, make_topic, consume_all, sinks):
    topic = make_topic()
    sink = sinks(kafka.connection, topic, buffer_records=100)
    sink.write(outputs(5000))
    assert sink.flush(120.0)
    assert values(consume_all(topic)) == list(range(5000))


def test_nothing_to_flush_is_flushed(kafka, make_topic, sinks):
    assert sinks(kafka.connection, make_topic()).flush(0.0)


def test_closing_flushes_and_may_be_done_twice(kafka, make_topic, consume_all, sinks):
    topic = make_topic()
    sink = sinks(kafka.connection, topic, linger_ms=5000)
    sink.write(outputs(10))
    sink.close(5.0)
    sink.close(5.0)
    assert values(consume_all(topic)) == list(range(10))


def test_a_message_that_the_producer_finds_too_large_is_truncated(kafka, make_topic, consume_all, sinks):
    sink = sinks(kafka.connection, topic := make_topic())
    sink.write([OutputRecord(bytes(2 << 20)), *outputs(3)])
    assert sink.flush(120.0)
    assert sink.cut == {"truncated": 1}
    long, *others = sorted(consume_all(topic), key=lambda record: -len(record.value))
    assert dict(long.headers) == {"streamgmm-truncated": b"value=2097152 key=0"}
    assert 0 < len(long.value) < 1 << 20
    assert values(others) == [0, 1, 2]


def test_a_message_that_only_the_topic_finds_too_large_is_truncated_or_passed(apache_kafka, sinks):
    from kafka.admin import NewTopic

    from streamgmm.bus import client

    admin = client.admin(apache_kafka.connection)
    admin.create_topics([NewTopic("small-messages", 1, 1, topic_configs={"max.message.bytes": "2000"})])
    admin.close()
    sink = sinks(apache_kafka.connection, "small-messages")
    sink.write(
        [
            OutputRecord(os.urandom(5000)),
            *outputs(3),
            OutputRecord(b"", None, (("streamgmm-detail", os.urandom(5000)),)),
        ]
    )
    assert sink.flush(60.0)
    assert sink.cut == {"truncated": 1, "passed": 1}


def test_an_illegal_topic_name_stops(kafka, make_topic, sinks):
    sink = sinks(kafka.connection, make_topic())
    sink.write(outputs(1, topic="no spaces"))
    with pytest.raises(StopError, match="no spaces"):
        sink.flush(5.0)


def test_nobody_answers():
    nowhere = Connection(("127.0.0.1:1",), client={"bootstrap_timeout_ms": 500})
    before = set(threading.enumerate())
    with pytest.raises(RetryableError, match="nothing listens there"):
        build(KafkaSinkSettings(nowhere, "t"))
    wait_until(lambda: set(threading.enumerate()) <= before)


class TestFaults:
    @pytest.fixture
    def connection(self, broker):
        return Connection(servers(broker.bootstrap_servers))

    def test_a_broker_that_goes_and_comes_back_loses_nothing(self, broker, connection, sinks):
        sink = sinks(connection, "t")
        sink.write(outputs(10))
        assert sink.flush(120.0)
        broker.stop()
        sink.write(outputs(10, start=10))
        assert not sink.flush(0.5)
        sink.write(outputs(10, start=20))
        assert not sink.flush(0.2)
        broker.start()
        assert sink.flush(120.0)
        assert values(read_all(connection, "t")) == list(range(30))

    def test_a_slow_broker_is_waited_for_in_slices(self, broker, connection, sinks):
        sink = sinks(connection, "t")
        broker.faults.slow("Produce", 1.2)
        sink.write(outputs(5))
        answers = []
        wait_until(lambda: answers and answers[-1], meanwhile=lambda: answers.append(sink.flush(0.3)))
        assert answers[0] is False
        assert values(read_all(connection, "t")) == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize(
        "code", [Code.UNKNOWN_PRODUCER_ID, Code.OUT_OF_ORDER_SEQUENCE_NUMBER, Code.INVALID_PRODUCER_EPOCH]
    )
    def test_a_spoilt_producer_is_replaced(self, code, broker, connection, sinks):
        sink = sinks(connection, "t")
        sink.write(outputs(5))
        assert sink.flush(120.0)
        broker.faults.refuse("Produce", code)
        sink.write(outputs(5, start=5))
        assert sink.flush(120.0)
        assert values(read_all(connection, "t")) == list(range(10))

    def test_a_topic_that_is_not_there_stops_after_a_while(self, sinks):
        with Broker(auto_create=False) as broker:
            sink = sinks(Connection(servers(broker.bootstrap_servers)), "nowhere")
            sink.write(outputs(1))
            assert not sink.flush(0.3)
            with pytest.raises(StopError, match=r"topic nowhere does not exist.*--create"):
                wait_until(lambda: sink.flush(0.5))

    def test_a_refused_right_stops_with_a_remedy(self, broker, connection, sinks):
        sink = sinks(connection, "t")
        broker.faults.refuse("Produce", Code.TOPIC_AUTHORIZATION_FAILED)
        sink.write(outputs(1))
        with pytest.raises(StopError, match=r"topic t: TopicAuthorizationFailed.*grant"):
            sink.flush(5.0)

    def test_a_close_keeps_its_budget_and_leaves_no_thread(self, broker, connection):
        before = set(threading.enumerate())
        patient = {"request_timeout_ms": 600_000, "delivery_timeout_ms": 700_000}
        sink = build(KafkaSinkSettings(replace(connection, client=patient), "t"))
        sink.write(outputs(1))
        assert sink.flush(120.0)
        broker.faults.slow("Produce", 600)  # only the budget can end the close
        sink.write(outputs(5))
        sink.close(1.0)
        wait_until(lambda: {t for t in threading.enumerate() if "broker" not in t.name} <= before)


def test_a_broker_that_is_killed_and_restarted_keeps_what_was_acknowledged(tmp_path, sinks):
    """After kill -9 the broker's directory holds every acknowledged record, and retries make no second copy."""
    port = str(free_ports())
    arguments = ("--port", port, "--dir", str(tmp_path))
    with embedded_process(*arguments) as address:
        kafka = Kafka("embedded", address)
        sink = sinks(kafka.connection, "t")
        sink.write(outputs(500))
        assert sink.flush(120.0)
    sink.write(outputs(500, start=500))
    assert not sink.flush(0.3)
    with embedded_process(*arguments):
        assert sink.flush(120.0)
        assert values(read_all(kafka.connection, "t")) == list(range(1000))
        sink.close(2.0)


def test_records_may_leave_as_messagepack_and_are_transcoded_once(broker):
    sink = build(KafkaSinkSettings(Connection(servers(broker.bootstrap_servers)), "packed", transcode=True))
    try:
        broker.faults.refuse("Produce", Code.UNKNOWN_PRODUCER_ID)  # the record is sent again, by a new producer
        sink.write([OutputRecord(b'{"id":"t/0/1/0","score":50.0,"key":null}', b"k", (("h", b"1"),))])
        assert sink.flush(120.0)
    finally:
        sink.close(1.0)
    (record,) = read_all(Connection(servers(broker.bootstrap_servers)), "packed")
    assert msgspec.msgpack.decode(record.value) == {"id": "t/0/1/0", "score": 50.0, "key": None}
    assert list(record.headers) == [("h", b"1"), ("content-type", b"application/vnd.msgpack")]
