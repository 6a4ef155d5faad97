"""Blocks and records, two ways to read a fetch: the same on every batch that real producers and brokers make."""

import time
from functools import partial
from itertools import pairwise

import pytest
from brokers import wait_until
from kafka import TopicPartition as KafkaTopicPartition
from kafka.record import MemoryRecords

from streamgmm.bus import client, hook
from streamgmm.bus.blocks import BlockCarry, batches_of
from streamgmm.bus.one_by_one import RecordCarry
from streamgmm.bus.record_kernels import ATTRIBUTES, LOG_APPEND_TIME

pytestmark = pytest.mark.integration

CODECS = (None, "gzip", "snappy", "lz4", "zstd")
TIME = 1_700_000_000_000


def read(connection, topic, way, start=0, **settings):
    """Read one partition from an offset to the end; returns rows, the position, and the batches of the log."""
    hook.hasten()
    fetched = []
    consumer = client.consumer(connection, enable_auto_commit=False, auto_offset_reset="earliest", **settings)
    try:
        carry = BlockCarry() if way == "blocks" else RecordCarry()
        if way == "blocks":
            hook.hook(consumer)
        partition = KafkaTopicPartition(topic, 0)
        end = consumer.end_offsets([partition])[partition]
        consumer.assign([partition])
        consumer.seek(partition, start)
        rows, deadline = [], time.monotonic() + 300
        while consumer.position(partition) < end:
            assert time.monotonic() < deadline, f"{len(rows)} records, and no more come"
            carry.put(consumer.poll(timeout_ms=200, max_records=carry.wanted(50, 10**6)))
            while carry:
                batch = carry.take(50, 10**6)
                fetched.append(batch)
                rows += [
                    (*fixed, batch.key[i], batch.value[i], list(batch.headers[i]))
                    for i, fixed in enumerate(zip(batch.offset.tolist(), batch.timestamp.tolist(), strict=True))
                ]
        return rows, consumer.position(partition), fetched
    finally:
        consumer.close(autocommit=False, timeout_ms=1000)


def both(connection, topic, start=0, **settings):
    """Read in both ways; returns what both say."""
    blocks = read(connection, topic, "blocks", start, **settings)[:2]
    assert blocks == read(connection, topic, "records", start, **settings)[:2]
    return blocks


def alike(connection, topic, start):
    """Return what both ways read, once the cleaner did not come between them."""
    blocks, records = (read(connection, topic, way, start)[0] for way in ("blocks", "records"))
    return blocks if blocks == records else None


def values(n, tag=b""):
    return [None if i % 11 == 3 else b"%s%d" % (tag, i) * (i % 40) for i in range(n)]


@pytest.fixture(scope="module")
def written():
    """Topics that were written, by broker: every codec, one after the other."""
    return {}


@pytest.fixture
def mixed(kafka, written, make_topic, produce):
    """A topic with batches of every codec, null keys and values, and headers."""
    if kafka.name not in written:
        topic = make_topic()
        sent = []
        for codec in CODECS:
            n = 300
            keys = [b"k%d" % i if i % 3 else None for i in range(n)]
            keys = [key or (b"" if value is None else None) for key, value in zip(keys, values(n), strict=True)]
            headers = [[("a", b"1"), ("é" * (i % 70), bytes(i))] if i % 5 == 0 else [] for i in range(n)]
            times = [TIME + i * 7919 % 100_003 for i in range(n)]
            rows = list(zip(times, keys, values(n), headers, strict=True))
            produce(
                topic, values(n), keys, times, headers=headers, compression_type=codec, linger_ms=50, batch_size=4000
            )
            sent += rows
        written[kafka.name] = topic, [(i, *row) for i, row in enumerate(sent)]
    return written[kafka.name]


@pytest.mark.parametrize("start", [0, 1, 299, 333, 700, 1111, 1499])
def test_every_codec_from_any_offset(start, kafka, mixed):
    topic, sent = mixed
    rows, position = both(kafka.connection, topic, start)
    assert rows == sent[start:]
    assert position == len(sent)


def test_small_fetches_cut_batches_off(kafka, mixed):
    topic, sent = mixed
    small = {"max_partition_fetch_bytes": 6000, "fetch_max_bytes": 6000}
    assert both(kafka.connection, topic, **small)[0] == sent


def test_stamped_by_the_broker(apache_kafka, group, produce_to):
    topic = produce_to(group, [b"a", b"b", b"c"], config={"message.timestamp.type": "LogAppendTime"})
    rows, _ = both(apache_kafka.connection, topic)
    assert len({time for _, time, *_ in rows}) == 1
    assert rows[0][1] > TIME + 10**9


@pytest.fixture
def produce_to(apache_kafka):
    """Make a topic on real Kafka and send values with old timestamps."""
    from brokers import send_all
    from kafka.admin import NewTopic

    admin = client.admin(apache_kafka.connection)

    def produce(topic, sent, keys=None, config=None, times=TIME):
        if topic not in admin.list_topics():
            admin.create_topics([NewTopic(topic, 1, 1, topic_configs=config)])
            admin.wait_for_topics([topic])
        stamps = [times + i for i in range(len(sent))] if times else None
        send_all(apache_kafka.connection, topic, sent, keys, stamps, linger_ms=50)
        return topic

    yield produce
    admin.close()


@pytest.mark.parametrize("level", ["read_committed", "read_uncommitted"])
@pytest.mark.parametrize("codec", [None, "lz4"])
def test_transactions(level, codec, apache_kafka, group):
    topic = f"transactions-{group}"
    producer = client.producer(
        apache_kafka.connection, transactional_id=group, max_block_ms=10_000, compression_type=codec, linger_ms=20
    )
    kept, dropped = [], []
    try:
        producer.init_transactions()
        for i in range(12):
            producer.begin_transaction()
            sent = [b"%d-%d" % (i, j) for j in range(5)]
            for value in sent:
                producer.send(topic, value)
            producer.flush(timeout=10)
            if i % 3 == 1:
                producer.abort_transaction()
                dropped += sent
            else:
                producer.commit_transaction()
                kept += sent
    finally:
        producer.close(timeout=5)
    wanted = set(kept) if level == "read_committed" else {*kept, *dropped}
    for start in (0, 7, 8, 33):
        rows, position = both(apache_kafka.connection, topic, start, isolation_level=level)
        assert position == 12 * 6
        if not start:
            assert [row[3] for row in rows] == sorted(wanted, key=lambda v: [int(part) for part in v.split(b"-")])


def test_gaps_that_compaction_left(apache_kafka, group, produce_to):
    config = {"cleanup.policy": "compact", "segment.ms": "200", "min.cleanable.dirty.ratio": "0.001",
              "min.compaction.lag.ms": "0", "max.compaction.lag.ms": "200"}  # fmt: skip
    for i in range(4):
        values = [b"%d-%d" % (i, j) for j in range(100)]
        produce_to(group, values, [b"%d" % (j % 40) for j in range(100)], config, times=None)

    def compacted():
        time.sleep(0.3)
        # A segment is rolled by what is written after it, by its timestamp.
        produce_to(group, [b"end"], [b"end"], times=None)
        rows, _, _ = read(apache_kafka.connection, group, "records")
        return len(rows) < 150 and rows

    rows = wait_until(compacted)
    gaps = sum(after[0] > before[0] + 1 for before, after in pairwise(rows))
    assert gaps or rows[0][0] > 0
    for start in (0, rows[0][0], rows[len(rows) // 2][0] + 1, rows[-1][0]):
        found = wait_until(partial(alike, apache_kafka.connection, group, start))
        assert min(row[0] for row in found) >= start


def test_a_fetch_larger_than_one_read_arrives_whole(kafka, make_topic, produce):
    topic = make_topic()
    sent = [bytes([i]) * 400_000 for i in range(30)]
    produce(topic, sent, batch_size=1_000_000, max_request_size=2_000_000)
    rows, _ = both(kafka.connection, topic, max_partition_fetch_bytes=4 << 20)
    assert [row[3] for row in rows] == sent


def test_the_log_is_what_it_is_thought_to_be(apache_kafka, group, produce_to):
    """LogAppendTime is a bit of a batch: without it here, its test would test nothing."""
    topic = produce_to(group, [b"a"], config={"message.timestamp.type": "LogAppendTime"})
    seen = []

    class Watched(hook.BlockRecords):
        def __init__(self, fetch_offset, tp, records, **how):
            seen.append(batches_of(bytes(records._buffer))[0])
            assert isinstance(records, MemoryRecords)
            super().__init__(fetch_offset, tp, records, **how)

    consumer = client.consumer(apache_kafka.connection, enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        consumer._fetcher.PartitionRecords = Watched
        consumer.assign([KafkaTopicPartition(topic, 0)])
        wait_until(lambda: consumer.poll(timeout_ms=200))
    finally:
        consumer.close(autocommit=False, timeout_ms=1000)
    assert seen[0][0, ATTRIBUTES] & LOG_APPEND_TIME
