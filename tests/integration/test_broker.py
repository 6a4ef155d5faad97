"""What a broker must do, whoever wrote it: the embedded one and Apache Kafka must not differ in any of this."""

import socket
import struct
import threading

import pytest
from brokers import wait_until
from kafka import TopicPartition, errors
from kafka.admin import NewTopic
from kafka.protocol.producer import ProduceResponse
from kafka.record.util import calc_crc32c
from kafka.structs import OffsetAndMetadata

from streamgmm.bus import client
from streamgmm.bus.rejoin import finish_join

pytestmark = pytest.mark.integration

T0 = 1_700_000_000_000
# Metadata that was fetched while a topic came to be may lack its partitions: it is asked for again soon.
QUICK = {"session_timeout_ms": 1500, "heartbeat_interval_ms": 300, "metadata_max_age_ms": 1000}


@pytest.fixture
def consumer(kafka):
    opened = []

    def open_one(**settings):
        settings = {"enable_auto_commit": False, "auto_offset_reset": "earliest"} | settings
        opened.append(client.consumer(kafka.connection, **settings))
        return opened[-1]

    yield open_one
    for one in opened:
        client.call_with_budget(one.close, autocommit=False, timeout_ms=500)


def poll_until(consumer, condition, seconds=60.0):
    def poll():
        finish_join(consumer)  # without it, a rebalance that outlives its poll is forgotten now and then
        consumer.poll(timeout_ms=100)

    return wait_until(condition, seconds, meanwhile=poll)


def test_a_topic_has_the_partitions_it_was_made_with(admin, make_topic, asking):
    topic = make_topic(5)
    assert asking.partitions_for_topic(topic) == {0, 1, 2, 3, 4}
    with pytest.raises(errors.TopicAlreadyExistsError):
        admin.create_topics([NewTopic(topic, 1, 1)])
    admin.delete_topics([topic])
    wait_until(lambda: topic not in admin.list_topics())


def test_an_illegal_topic_name_is_refused(admin):
    with pytest.raises(errors.InvalidTopicError):
        admin.create_topics([NewTopic("no spaces", 1, 1)])


def test_producing_creates_a_topic_and_looking_does_not(produce, asking, group):
    assert not asking.partitions_for_topic(group)
    assert produce(group, [b"x"], max_block_ms=10_000) == [(0, 0)]


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_records_come_back_as_they_went(codec, make_topic, produce, consume_all):
    topic, n = make_topic(3), 600
    values = [b"value %d " % i * 5 for i in range(n)]
    keys = [b"key %d" % i for i in range(n)]
    headers = [[("a", b"%d" % i), ("empty", b"")] if i % 2 else [] for i in range(n)]
    times = [T0 + i for i in range(n)]
    produce(topic, values, keys, times, [i % 3 for i in range(n)], headers, compression_type=codec, linger_ms=20)
    records = sorted(consume_all(topic), key=lambda record: record.timestamp)
    assert [r.value for r in records] == values
    assert [r.key for r in records] == keys
    assert [list(r.headers) for r in records] == headers
    assert [r.timestamp for r in records] == times
    assert [r.partition for r in records] == [i % 3 for i in range(n)]
    assert [r.offset for r in records] == [i // 3 for i in range(n)]


def test_null_and_empty_are_not_the_same(make_topic, produce, consume_all):
    topic = make_topic()
    produce(topic, [None, b"", b"z"], [b"gone", None, b""])
    assert [(r.key, r.value) for r in consume_all(topic)] == [(b"gone", None), (None, b""), (b"", b"z")]


@pytest.mark.parametrize("linger", [0, 200], ids=["many batches", "one batch"])
def test_offsets_are_found_by_time(linger, make_topic, produce, asking):
    tp = TopicPartition(make_topic(), 0)
    produce(tp.topic, [b"%d" % i for i in range(10)], timestamps=[T0 + 1000 * i for i in range(10)], linger_ms=linger)
    wanted = {T0 - 5000: 0, T0: 0, T0 + 1: 1, T0 + 3500: 4, T0 + 9000: 9, T0 + 9001: None}
    found = {time_: asking.offsets_for_times({tp: time_})[tp] for time_ in wanted}
    assert {time_: offset and offset.offset for time_, offset in found.items()} == wanted
    assert (asking.beginning_offsets([tp])[tp], asking.end_offsets([tp])[tp]) == (0, 10)


def test_deleted_records_are_gone(admin, make_topic, produce, asking, consume_all, consumer):
    tp = TopicPartition(make_topic(), 0)
    for i in range(10):
        produce(tp.topic, [b"%d" % i])
    admin.delete_records({tp: 4})
    assert asking.beginning_offsets([tp])[tp] == 4
    assert [r.offset for r in consume_all(tp.topic)] == [4, 5, 6, 7, 8, 9]
    late = consumer(auto_offset_reset="none")
    late.assign([tp])
    late.seek(tp, 1)
    with pytest.raises(errors.OffsetOutOfRangeError):
        poll_until(late, lambda: False, 120)


def test_a_waiting_fetch_is_answered_when_records_arrive(make_topic, produce, consumer):
    tp = TopicPartition(make_topic(), 0)
    # The broker would wait for longer than the test may take: only the record can end it.
    waiting = consumer(fetch_max_wait_ms=500_000, request_timeout_ms=520_000)
    waiting.assign([tp])
    waiting.seek(tp, 0)
    assert not waiting.poll(timeout_ms=500)
    sender = threading.Timer(0.3, produce, [tp.topic, [b"now"]])
    sender.start()
    assert waiting.poll(timeout_ms=500_000)[tp][0].value == b"now"
    sender.join()


def test_a_fetch_keeps_its_limits_but_always_gets_on(make_topic, produce, consumer):
    tp = TopicPartition(make_topic(), 0)
    produce(tp.topic, [bytes(300_000)] * 3, max_request_size=400_000, batch_size=1)
    small = consumer(max_partition_fetch_bytes=1000, fetch_max_bytes=1000)
    small.assign([tp])
    small.seek(tp, 0)
    blocks = [small.poll(timeout_ms=3000)[tp] for _ in range(3)]
    assert [len(block) for block in blocks] == [1, 1, 1]


def test_groups_share_partitions_and_take_over(make_topic, consumer, group):
    topic = make_topic(4)
    first = consumer(group_id=group, **QUICK)
    first.subscribe([topic])
    poll_until(first, lambda: len(first.assignment()) == 4)
    second = consumer(group_id=group, **QUICK)
    second.subscribe([topic])

    def both():
        first.poll(timeout_ms=50)
        second.poll(timeout_ms=50)

    wait_until(lambda: len(first.assignment()) == len(second.assignment()) == 2, meanwhile=both)
    assert not first.assignment() & second.assignment()
    second.close(autocommit=False)
    poll_until(first, lambda: len(first.assignment()) == 4)


def test_a_silent_member_is_dropped_after_its_session(make_topic, consumer, group):
    topic = make_topic(2)
    silent = consumer(group_id=group, **QUICK)
    silent.subscribe([topic])
    poll_until(silent, lambda: len(silent.assignment()) == 2)
    silent._client.close()  # gone without a word
    heir = consumer(group_id=group, **QUICK)
    heir.subscribe([topic])
    poll_until(heir, lambda: len(heir.assignment()) == 2)


def test_too_short_a_session_is_refused(make_topic, consumer, group):
    hasty = consumer(group_id=group, session_timeout_ms=400, heartbeat_interval_ms=100)
    hasty.subscribe([make_topic()])
    with pytest.raises(errors.InvalidSessionTimeoutError):
        poll_until(hasty, lambda: False, 120)


def test_members_must_agree_on_an_assignor(make_topic, consumer, group):
    from kafka.coordinator.assignors.range import RangePartitionAssignor
    from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

    topic = make_topic(2)
    one = consumer(group_id=group, partition_assignment_strategy=[RangePartitionAssignor])
    one.subscribe([topic])
    poll_until(one, one.assignment)
    other = consumer(group_id=group, partition_assignment_strategy=[RoundRobinPartitionAssignor])
    other.subscribe([topic])
    with pytest.raises(errors.InconsistentGroupProtocolError):
        poll_until(other, lambda: False, 120)


def test_a_static_member_comes_back_to_its_partitions(make_topic, consumer, group):
    topic = make_topic(4)
    stays = consumer(group_id=group, group_instance_id="stays", session_timeout_ms=20_000, heartbeat_interval_ms=300)
    stays.subscribe([topic])
    poll_until(stays, stays.assignment)
    leaves = consumer(group_id=group, group_instance_id="leaves", session_timeout_ms=20_000)
    leaves.subscribe([topic])

    def both():
        stays.poll(timeout_ms=50)
        leaves.poll(timeout_ms=50)

    wait_until(lambda: len(stays.assignment()) == len(leaves.assignment()) == 2, meanwhile=both)
    generation, had = stays.group_metadata().generation_id, leaves.assignment()
    leaves.close(autocommit=False)
    back = consumer(group_id=group, group_instance_id="leaves", session_timeout_ms=20_000)
    back.subscribe([topic])
    poll_until(back, back.assignment)
    for _ in range(10):
        stays.poll(timeout_ms=50)
    assert back.assignment() == had
    assert stays.group_metadata().generation_id == generation


def test_a_static_members_double_is_fenced(make_topic, consumer, group):
    topic = make_topic(2)
    original = consumer(group_id=group, group_instance_id="only", **QUICK)
    original.subscribe([topic])
    poll_until(original, original.assignment)
    double = consumer(group_id=group, group_instance_id="only", **QUICK)
    double.subscribe([topic])
    poll_until(double, double.assignment)
    with pytest.raises(errors.FencedInstanceIdError):
        original.commit({TopicPartition(topic, 0): OffsetAndMetadata(1, "", -1)})


def test_offsets_are_kept_with_their_metadata(make_topic, consumer, group, committed):
    tp = TopicPartition(make_topic(2), 0)
    stranger = consumer(group_id=group)
    stranger.assign([tp])
    assert stranger.committed(tp) is None
    stranger.commit({tp: OffsetAndMetadata(7, "why", -1)})
    assert stranger.committed(tp, metadata=True)[:2] == (7, "why")
    assert committed(group, tp.topic) == {0: 7}


def test_a_stranger_cannot_commit_for_a_living_group(make_topic, consumer, group):
    tp = TopicPartition(make_topic(), 0)
    member = consumer(group_id=group, **QUICK)
    member.subscribe([tp.topic])
    poll_until(member, member.assignment)
    stranger = consumer(group_id=group)
    stranger.assign([tp])
    with pytest.raises(errors.CommitFailedError, match="UnknownMemberId"):
        stranger.commit({tp: OffsetAndMetadata(1, "", -1)})


def test_a_batch_sent_twice_is_stored_once(kafka, make_topic, consume_all):
    topic = make_topic()
    producer = client.producer(kafka.connection, acks="all", linger_ms=50)
    requests = []
    create = producer._sender._create_produce_requests

    def seen(batches):
        made = create(batches)
        requests.extend(made.values())
        return made

    producer._sender._create_produce_requests = seen
    try:
        assert producer.send(topic, b"first").get(5).offset == 0
        assert producer.send(topic, b"second").get(5).offset == 1
    finally:
        producer.close(timeout=2)
    # The same bytes once more, as a retry after a lost answer would send them.
    repeated = ask(kafka, requests[-1], 7).responses[0].partition_responses[0]
    assert (repeated.error_code, repeated.base_offset) in {(0, 1), (errors.DuplicateSequenceNumberError.errno, -1)}
    # And one whose predecessors never came.
    skipped = requests[-1].topic_data[0].partition_data[0]
    skipped.records = with_sequence(bytes(skipped.records), 7)
    refused = ask(kafka, requests[-1], 7).responses[0].partition_responses[0]
    assert refused.error_code == errors.OutOfOrderSequenceNumberError.errno
    assert [r.value for r in consume_all(topic)] == [b"first", b"second"]


def ask(kafka, request, version):
    """Send one request over a connection of its own."""
    request.API_VERSION = version
    request.with_header(correlation_id=1)
    host, port = kafka.bootstrap_servers.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection, connection.makefile("rb") as answers:
        connection.sendall(request.encode(header=True, framed=True))
        size = struct.unpack(">i", answers.read(4))[0]
        return ProduceResponse.decode(answers.read(size), version=version, header=True)


def with_sequence(batch, sequence):
    """Renumber an idempotent batch, with the right checksum."""
    changed = bytearray(batch)
    struct.pack_into(">i", changed, 53, sequence)
    struct.pack_into(">I", changed, 17, calc_crc32c(memoryview(changed)[21:]))
    return bytes(changed)
