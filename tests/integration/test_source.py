"""The Kafka source on real protocols: what it hands over, where it starts, and what it commits."""

import logging
import threading
import time
from dataclasses import replace

import pytest
from brokers import send_all, wait_until
from source_polls import assigned, commit_by_hand, moves, numbers, places, read, store

from streamgmm.bus import client, watch
from streamgmm.bus.client import Connection, servers
from streamgmm.bus.marks import Mark
from streamgmm.errors import RetryableError, StopError
from streamgmm.records import Position, TopicPartition
from streamgmm.sources import Resume
from streamgmm.sources.kafka import KafkaSourceSettings, build

pytestmark = pytest.mark.integration

NEVER = 600.0
"""Seconds that a broker takes to answer, longer than any test may run: what returns did not wait for it."""


def patient(connection):
    """A connection whose requests do not time out by themselves."""
    return replace(connection, client={**connection.client, "request_timeout_ms": int(1000 * NEVER)})


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_a_batch_holds_what_was_produced(codec, kafka, make_topic, produce, sources, group):
    topic = make_topic()
    values = [b"v%d" % i if i % 3 else None for i in range(100)]
    keys = [b"k%d" % i for i in range(100)]
    headers = [[("h", b"%d" % i)] if i % 2 else [] for i in range(100)]
    times = [1_700_000_000_000 + i for i in range(100)]
    produce(topic, values, keys, times, headers=headers, compression_type=codec, linger_ms=50)
    source = sources(kafka.connection, topic, group)
    batch = wait_until(lambda: (b := source.poll(0.2)) and len(b) and b)
    n = len(batch)
    assert batch.partitions == (TopicPartition(topic, 0),)
    assert batch.offset.tolist() == list(range(n))
    assert [batch.value[i] for i in range(n)] == values[:n]
    assert [batch.key[i] for i in range(n)] == keys[:n]
    assert [list(h) for h in batch.headers] == headers[:n]
    assert batch.timestamp.tolist() == times[:n]
    assert batch.next_offsets == {TopicPartition(topic, 0): n}


def test_a_poll_is_bounded_in_rows_and_in_bytes_and_loses_nothing(kafka, make_topic, produce, sources, group):
    topic = make_topic(2)
    values = [bytes([i % 251]) * (10 + 37 * (i % 40)) for i in range(400)]
    produce(topic, values, partitions=[i % 2 for i in range(400)])
    source = sources(kafka.connection, topic, group, batch_rows=60, batch_bytes=9000)
    seen, told, sizes = {0: [], 1: []}, {}, []
    while sum(map(len, seen.values())) < 400:
        batch = source.poll(1.0)
        assert len(batch) <= 60
        assert sum(len(batch.value[i]) for i in range(len(batch))) <= 9000
        sizes.append(len(batch))
        for i in range(len(batch)):
            seen[batch.topic_partition(i).partition].append((int(batch.offset[i]), batch.value[i]))
        told |= batch.next_offsets
        for tp, offset in told.items():
            assert offset == len(seen[tp.partition])  # never past a record that is still carried
    assert max(sizes) > 1
    for partition, rows in seen.items():
        assert rows == [(i, values[2 * i + partition]) for i in range(200)]


def test_one_record_may_exceed_the_bytes_of_a_poll(kafka, make_topic, produce, sources, group):
    topic = make_topic()
    produce(topic, [bytes(5000)] * 3)
    source = sources(kafka.connection, topic, group, batch_bytes=100)
    sizes = []
    wait_until(lambda: sum(sizes) == 3, meanwhile=lambda: sizes.append(len(source.poll(0.2))))
    assert max(sizes) == 1


def test_committed_offsets_are_where_the_next_one_starts(kafka, make_topic, produce, sources, group, committed):
    topic = make_topic(2)
    produce(topic, numbers(40), partitions=[i % 2 for i in range(40)])
    first = sources(kafka.connection, topic, group)
    read(first, 40)
    a, b = (TopicPartition(topic, p) for p in (0, 1))
    store(first, {a: 7, b: 20})
    assert committed(group, topic) == {0: 7, 1: 20}
    first.close(5.0)
    second = sources(kafka.connection, topic, group)
    rows, _ = read(second, 13)
    assert [(p, o) for p, o, _ in rows] == [(0, o) for o in range(7, 20)]
    assert places(second) == {a: (7, 0, 7, 0), b: (20, 0, 20, 0)}


def test_nothing_but_the_start_is_committed_unless_it_is_said(kafka, make_topic, produce, sources, group, committed):
    topic = make_topic()
    produce(topic, numbers(10))
    source = sources(kafka.connection, topic, group)
    read(source, 10)
    source.close(5.0)
    assert committed(group, topic) == {0: 0}


def test_what_was_flushed_is_committed_at_the_close(kafka, make_topic, produce, sources, group, committed):
    topic = make_topic()
    produce(topic, numbers(10))
    source = sources(kafka.connection, topic, group)
    read(source, 10)
    source.flushed({TopicPartition(topic, 0): 6})
    source.close(5.0)
    source.close(5.0)
    assert committed(group, topic) == {0: 6}


def test_committed_offsets_never_go_back(kafka, make_topic, produce, sources, group, committed):
    topic = make_topic()
    tp = TopicPartition(topic, 0)
    produce(topic, numbers(30))
    source = sources(kafka.connection, topic, group)
    read(source, 30)
    store(source, {tp: 20})
    store(source, {tp: 5})
    assert committed(group, topic) == {0: 20}
    source.close(5.0)
    again = sources(kafka.connection, topic, group, resume=Resume({tp: Position(3, 0)}, 100))
    read(again, 27)
    store(again, {tp: 10})
    assert committed(group, topic) == {0: 20}


@pytest.mark.parametrize(
    ("covered", "max_replay", "start"),
    [
        (Position(12, 2), 100, (12, 2, 20, 0)),
        (Position(20, 1), 100, (20, 1, 20, 0)),
        (Position(25, 0), 100, (20, 0, 20, 0)),
        (Position(5, 0), 10, (20, 0, 20, 15)),
    ],
    ids=["replay", "same", "commit was lost", "too far back"],
)
def test_a_snapshot_says_where_to_start(covered, max_replay, start, kafka, make_topic, produce, sources, group):
    topic = make_topic()
    tp = TopicPartition(topic, 0)
    produce(topic, numbers(30))
    first = sources(kafka.connection, topic, group)
    read(first, 30)
    store(first, {tp: 20})
    first.close(5.0)
    source = sources(kafka.connection, topic, group, resume=Resume({tp: covered}, max_replay))
    rows, _ = read(source, 30 - start[0])
    assert places(source) == {tp: start}
    assert [offset for _, offset, _ in rows] == list(range(start[0], 30))


def test_a_snapshot_outlives_a_forgotten_group(kafka, make_topic, produce, sources, group):
    topic = make_topic()
    tp = TopicPartition(topic, 0)
    produce(topic, numbers(30))
    source = sources(
        kafka.connection, topic, group, auto_offset_reset="latest", resume=Resume({tp: Position(11, 0)}, 100)
    )
    read(source, 19)
    assert places(source) == {tp: (11, 0, 11, 0)}


@pytest.mark.parametrize(
    ("reset", "offset", "start", "move"),
    [
        ("earliest", 2, 10, ("retention", 0, 2, 10, 8)),
        ("latest", 2, 10, ("retention", 0, 2, 10, 8)),
        ("earliest", 1000, 10, ("truncated", 0, 1000, 10, 970)),
        ("latest", 1000, 30, ("truncated", 0, 1000, 30, 970)),
    ],
)
def test_committed_offsets_that_are_gone_are_told(
    reset, offset, start, move, kafka, admin, make_topic, produce, sources, group, committed
):
    topic = make_topic()
    tp = TopicPartition(topic, 0)
    for _ in range(3):
        produce(topic, numbers(10), linger_ms=100)
    admin.delete_records({tp: 10})
    commit_by_hand(kafka, group, tp, offset)
    source = sources(kafka.connection, topic, group, auto_offset_reset=reset)
    assert moves(source) == [move]
    assert places(source) == {tp: (start, 0, start, 0)}
    store(source, {tp: start + 1})
    assert committed(group, topic) == {0: start + 1}


def test_a_covered_position_that_was_deleted_counts_as_not_learnt(kafka, admin, make_topic, produce, sources, group):
    topic = make_topic()
    tp = TopicPartition(topic, 0)
    for _ in range(3):
        produce(topic, numbers(10), linger_ms=100)
    admin.delete_records({tp: 10})
    commit_by_hand(kafka, group, tp, 25, Mark("", 1).text())
    source = sources(kafka.connection, topic, group, resume=Resume({tp: Position(4, 1)}, 100))
    read(source, 20)
    assert places(source) == {tp: (10, 0, 25, 6)}


@pytest.mark.parametrize(("reset", "rows"), [("earliest", 10), ("latest", 0)])
def test_where_a_new_group_starts(reset, rows, kafka, make_topic, produce, sources, group):
    topic = make_topic()
    produce(topic, numbers(10))
    source = sources(kafka.connection, topic, group, auto_offset_reset=reset)
    seen = assigned(source, 1)
    produce(topic, [b"new"])
    more, _ = read(source, rows + 1 - len(seen))
    assert len(seen) + len(more) == rows + 1
    assert more[-1][2] == b"new"


def test_a_new_group_may_be_told_to_stop(kafka, make_topic, sources, group):
    source = sources(kafka.connection, make_topic(), group, auto_offset_reset="none")
    with pytest.raises(StopError, match="auto_offset_reset"):
        wait_until(lambda: source.poll(0.1) and False)


def test_a_topic_that_is_not_there_is_named_and_not_created(kafka, sources, group, admin):
    with pytest.raises(RetryableError, match=f"topic {group} does not exist"):
        sources(kafka.connection, group, group)
    assert group not in admin.list_topics()


def test_two_members_share_and_nothing_flushed_is_read_twice(kafka, make_topic, produce, sources, group, committed):
    topic = make_topic(4)
    produce(topic, numbers(400), partitions=[i % 4 for i in range(400)])
    first = sources(kafka.connection, topic, group)
    _, next_offsets = read(first, 400)
    assert [e.event for e in first.rebalances()] == ["assigned"]
    first.flushed(next_offsets)  # flushed, and not committed by us: that is left to the listener
    assert committed(group, topic) == dict.fromkeys(range(4), 0)
    second = sources(kafka.connection, topic, group)
    re_read = []

    def both():
        first.poll(0.02)
        batch = second.poll(0.02)
        re_read.extend(batch.offset.tolist())

    wait_until(lambda: len(first.lag()) == len(second.lag()) == 2, meanwhile=both)
    for _ in range(10):
        both()
    assert re_read == []
    moved = tuple(second.lag())
    assert committed(group, topic) == dict.fromkeys(range(4), 0) | {tp.partition: 100 for tp in moved}
    events = first.rebalances()
    assert [e.event for e in events] == ["revoked"]
    assert set(events[0].partitions) == set(moved)
    assert {e.event for e in second.rebalances()} == {"assigned"}
    assert not first.commit(next_offsets)  # half of them are somebody else's now
    kept = {tp: offset for tp, offset in next_offsets.items() if tp in first.lag()}
    wait_until(lambda: first.commit(kept), meanwhile=both)
    assert committed(group, topic) == {0: 100, 1: 100, 2: 100, 3: 100}
    produce(topic, numbers(40), partitions=[i % 4 for i in range(40)])
    assert {p for p, _, _ in read(second, 20)[0]} == {tp.partition for tp in moved}
    second.close(5.0)
    assert {p for p, _, _ in read(first, 40)[0]} == {0, 1, 2, 3}


def test_a_static_member_keeps_its_partitions_over_a_restart(kafka, make_topic, sources, group):
    topic = make_topic(4)
    stays = sources(kafka.connection, topic, group, group_instance_id="stays")
    leaves = sources(kafka.connection, topic, group, group_instance_id="leaves", session_timeout_ms=20_000)

    def both():
        stays.poll(0.02)
        leaves.poll(0.02)

    wait_until(lambda: len(stays.lag()) == len(leaves.lag()) == 2, meanwhile=both)
    had = set(leaves.lag())
    stays.rebalances()
    leaves.close(5.0)
    back = sources(kafka.connection, topic, group, group_instance_id="leaves", session_timeout_ms=20_000)
    assigned(back, 2)
    for _ in range(10):
        stays.poll(0.05)
    assert set(back.lag()) == had
    assert stays.rebalances() == []


def test_the_double_of_a_static_member_stops_the_first(kafka, make_topic, sources, group):
    topic = make_topic()
    first = sources(kafka.connection, topic, group, group_instance_id="only")
    assigned(first, 1)
    second = sources(kafka.connection, topic, group, group_instance_id="only")
    assigned(second, 1)
    with pytest.raises(StopError, match="group_instance_id"):
        first.commit({TopicPartition(topic, 0): 1}) and pytest.fail("the double was not seen")


def test_pausing_hands_out_nothing_and_stays_in_the_group(kafka, make_topic, produce, sources, group):
    topic = make_topic()
    produce(topic, numbers(100))
    limits = {"session_timeout_ms": 2000, "max_poll_interval_ms": 2500, "batch_rows": 30}
    source = sources(kafka.connection, topic, group, **limits)
    rows, _ = read(source, 30)
    source.pause()
    until = time.monotonic() + 4.0
    while time.monotonic() < until:
        batch = source.poll(0.2)
        assert len(batch) == 0
        assert batch.next_offsets == {}
    source.resume()
    rows += read(source, 70)[0]
    assert [offset for _, offset, _ in rows] == list(range(100))
    assert [e.event for e in source.rebalances()] == ["assigned"]


def test_a_fetch_that_lasts_for_many_polls_does_not_cost_the_membership(kafka, make_topic, produce, sources, group):
    topic = make_topic()
    produce(topic, numbers(120), linger_ms=200)
    limits = {"session_timeout_ms": 2000, "max_poll_interval_ms": 2000, "batch_rows": 3}
    source = sources(kafka.connection, topic, group, **limits)
    rows, events = [], []

    def turn():
        rows.extend(read_some(source))
        events.extend(source.rebalances())
        time.sleep(0.1)  # a loop that has much to do with each batch

    wait_until(lambda: len(rows) == 120, meanwhile=turn)
    store(source, {TopicPartition(topic, 0): 120})
    assert [offset for offset, _ in rows] == list(range(120))
    assert [e.event for e in (*events, *source.rebalances())] == ["assigned"]


def test_a_fetch_that_lasts_for_many_polls_does_not_hold_up_a_rebalance(kafka, make_topic, produce, sources, group):
    topic = make_topic(2)
    produce(topic, numbers(2000), partitions=[0] * 1000 + [1] * 1000)
    busy = sources(kafka.connection, topic, group, batch_rows=2)
    rows, _ = read(busy, 2)
    other = sources(kafka.connection, topic, group)

    def turn():
        rows.extend(read_some(busy))
        other.poll(0.02)

    wait_until(lambda: len(other.lag()) == 1, meanwhile=turn)
    assert len(rows) < 1500
    wait_until(lambda: len(busy.lag()) == 1, meanwhile=turn)


def test_partitions_that_come_while_paused_wait_as_well(kafka, make_topic, produce, sources, group):
    topic = make_topic(2)
    produce(topic, numbers(20), partitions=[0, 1] * 10)
    source = sources(kafka.connection, topic, group)
    source.pause()
    wait_until(lambda: len(source.lag()) == 2, meanwhile=lambda: source.poll(0.05))
    assert all(len(source.poll(0.1)) == 0 for _ in range(5))
    source.resume()
    assert len(read(source, 20)[0]) == 20


def test_a_lost_membership_is_refused_and_reported(kafka, make_topic, produce, sources, group, committed):
    topic = make_topic()
    tp = TopicPartition(topic, 0)
    produce(topic, numbers(20))
    slow = sources(kafka.connection, topic, group, session_timeout_ms=2000, max_poll_interval_ms=2000)
    read(slow, 20)
    assert [e.event for e in slow.rebalances()] == ["assigned"]
    heir = sources(kafka.connection, topic, group)
    wait_until(lambda: len(heir.lag()) == 1, seconds=20, meanwhile=lambda: heir.poll(0.05))
    read(heir, 20)
    store(heir, {tp: 20})
    assert not slow.commit({tp: 10})
    assert committed(group, topic) == {0: 20}
    wait_until(lambda: slow.rebalances() or None, meanwhile=lambda: slow.poll(0.05) and heir.poll(0.05))
    assert not slow.commit({tp: 10})
    assert committed(group, topic) == {0: 20}


def test_lag_and_end(kafka, make_topic, produce, sources, group):
    topic = make_topic(2)
    produce(topic, numbers(50), partitions=[0] * 50)
    source = sources(kafka.connection, topic, group, batch_rows=20)
    assert not source.at_end()
    read(source, 20)
    assert source.lag() == {TopicPartition(topic, 0): 30, TopicPartition(topic, 1): 0}
    assert not source.at_end()
    produce(topic, numbers(5), partitions=[1] * 5)
    read(source, 30)
    # What came later does not move the end that was seen at the start.
    assert source.at_end()


def test_an_open_transaction_is_waited_for_and_an_aborted_one_skipped(apache_kafka, group, sources):
    """Only real Kafka has transactions: markers and aborted records must not hold up offsets, lag or end."""
    topic = f"transactions-{group}"
    producer = client.producer(apache_kafka.connection, transactional_id=group, max_block_ms=10_000)
    try:
        producer.init_transactions()
        for value, ends in ((b"kept", producer.commit_transaction), (b"dropped", producer.abort_transaction)):
            producer.begin_transaction()
            producer.send(topic, value)
            producer.flush(timeout=10)
            ends()
    finally:
        producer.close(timeout=5)
    tp = TopicPartition(topic, 0)
    source = sources(apache_kafka.connection, topic, group)
    values, told = [], {}

    def turn():
        batch = source.poll(0.1)
        values.extend(batch.value[i] for i in range(len(batch)))
        told.update(batch.next_offsets)

    wait_until(source.at_end, meanwhile=turn)
    assert values == [b"kept"]
    assert told == {tp: 4}  # two records and two markers
    assert source.lag() == {tp: 0}


class TestFaults:
    """On the embedded broker in this process, which does wrong when told to."""

    @pytest.fixture
    def connection(self, broker):
        return Connection(servers(broker.bootstrap_servers))

    @pytest.fixture
    def damaged(self, broker, connection):
        """Five batches of four records; the third is damaged."""
        for i in range(5):
            send_all(connection, "t", [b"%d" % (4 * i + j) for j in range(4)], linger_ms=100)
        broker.damage("t", 0, 9)
        return connection

    def test_damage_holds_its_partition_names_the_place_and_is_tried_again(self, broker, damaged, sources, monkeypatch):
        monkeypatch.setattr(watch, "RETRY_SECONDS", 0.2)
        source = sources(damaged, "t", "g")
        rows, _ = read(source, 8)
        wait_until(lambda: source.waiting() == {TopicPartition("t", 0): "damaged"}, meanwhile=lambda: source.poll(0.05))
        with pytest.raises(StopError, match=r"t/0/8.*on_corrupt"):
            source.at_end()
        broker.damage("t", 0, 9)  # the same bits once more: mended
        rest, next_offsets = read(source, 12)
        assert [offset for _, offset, _ in rows + rest] == [*range(20)]
        assert next_offsets == {TopicPartition("t", 0): 20}
        wait_until(lambda: not source.waiting(), meanwhile=lambda: source.poll(0.05))
        assert source.at_end()
        assert source.events() == []

    def test_damage_is_skipped_batch_by_batch_when_that_is_wanted(self, damaged, sources):
        source = sources(damaged, "t", "g", on_corrupt="skip")
        rows, next_offsets = read(source, 16)
        assert [offset for _, offset, _ in rows] == [*range(8), *range(12, 20)]
        assert moves(source) == [("corrupt", 0, 8, 12, 4)]
        assert next_offsets == {TopicPartition("t", 0): 20}
        assert source.at_end()

    def test_the_last_batch_may_be_the_damaged_one(self, broker, damaged, sources):
        broker.damage("t", 0, 19)
        source = sources(damaged, "t", "g", on_corrupt="skip")
        read(source, 12)
        wait_until(source.at_end, meanwhile=lambda: source.poll(0.05))
        assert moves(source, 2) == [("corrupt", 0, 8, 12, 4), ("corrupt", 0, 16, 20, 4)]
        send_all(damaged, "t", [b"after"])
        assert read(source, 1)[0] == [(0, 20, b"after")]

    @pytest.mark.parametrize(
        "request_name",
        ["FindCoordinator", "JoinGroup", "SyncGroup", "Heartbeat", "OffsetFetch", "ListOffsets", "Fetch", "Metadata",
         "OffsetCommit"],
    )  # fmt: skip
    def test_a_garbled_answer_costs_a_connection_and_nothing_else(self, request_name, broker, connection, sources):
        send_all(connection, "t", numbers(10))
        broker.faults.garble(request_name, 2)
        source = sources(connection, "t", "g")
        rows, next_offsets = read(source, 10)
        assert [offset for _, offset, _ in rows][-10:] == [*range(10)]
        store(source, next_offsets)
        wait_until(lambda: not broker.faults.is_garbled(request_name), meanwhile=lambda: source.poll(0.05))
        send_all(connection, "t", numbers(3))
        assert read(source, 3)[0][-1][1] == 12

    def test_a_refused_commit_is_no_crash(self, broker, connection, sources):
        from streamgmm.demo.broker_protocol import Code

        send_all(connection, "t", numbers(10))
        source = sources(connection, "t", "g")
        _, next_offsets = read(source, 10)
        for code in (Code.REBALANCE_IN_PROGRESS, Code.ILLEGAL_GENERATION):
            broker.faults.refuse("OffsetCommit", code)
            assert not source.commit(next_offsets)
        # An illegal generation throws us out of the group: it is joined again, and what was flushed is not read again.
        again = {TopicPartition("t", 0): (10, 0, 10, 0)}
        wait_until(lambda: places(source) == again, meanwhile=lambda: source.poll(0.05))
        assert source.commit(next_offsets)
        send_all(connection, "t", [b"more"])
        assert [offset for _, offset, _ in read(source, 1)[0]] == [10]

    def test_a_close_waits_for_a_rebalance_to_take_its_offsets(self, broker, connection, sources):
        from streamgmm.demo.broker_protocol import Code

        send_all(connection, "t", numbers(10))
        source = sources(connection, "t", "g")
        _, next_offsets = read(source, 10)
        source.flushed(next_offsets)
        broker.faults.refuse("OffsetCommit", Code.REBALANCE_IN_PROGRESS, times=2)
        source.close(5.0)
        again = sources(connection, "t", "g")
        assigned(again, 1)
        assert places(again) == {TopicPartition("t", 0): (10, 0, 10, 0)}

    def test_a_coordinator_that_is_away_for_a_moment_is_asked_again(self, broker, connection, sources):
        from streamgmm.demo.broker_protocol import Code

        send_all(connection, "t", numbers(10))
        source = sources(connection, "t", "g")
        _, next_offsets = read(source, 10)
        broker.faults.refuse("OffsetCommit", Code.COORDINATOR_NOT_AVAILABLE, times=2)
        assert source.commit(next_offsets)

    def test_a_refused_right_stops_with_a_remedy(self, broker, connection, sources):
        from streamgmm.demo.broker_protocol import Code

        send_all(connection, "t", numbers(10))
        source = sources(connection, "t", "g")
        read(source, 10)
        broker.faults.refuse("Fetch", Code.TOPIC_AUTHORIZATION_FAILED, times=5)
        with pytest.raises(StopError, match="grant"):
            wait_until(lambda: source.poll(0.2) and False)

    def test_a_broker_that_goes_and_comes_back_is_no_crash(self, broker, connection, sources):
        send_all(connection, "t", numbers(10))
        source = sources(connection, "t", "g")
        read(source, 10)
        broker.stop()
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert len(source.poll(0.1)) == 0
        broker.start()
        send_all(connection, "t", [b"back"])
        rows = wait_until(lambda: [r for r in read_some(source) if r[1] == b"back"])
        assert rows[0][0] == 10
        assert wait_until(lambda: source.commit({TopicPartition("t", 0): 11}), meanwhile=lambda: source.poll(0.1))

    def test_a_commit_keeps_its_time_when_the_broker_hangs(self, broker, connection, sources):
        send_all(connection, "t", numbers(10))
        source = sources(patient(connection), "t", "g")
        _, next_offsets = read(source, 10)
        broker.faults.slow("OffsetCommit", NEVER)
        assert not source.commit(next_offsets, 0.5)

    def test_a_close_keeps_its_budget_when_the_broker_is_away(self, broker, connection, sources):
        send_all(connection, "t", numbers(10))
        source = sources(patient(connection), "t", "g")
        _, next_offsets = read(source, 10)
        source.flushed(next_offsets)
        broker.stop()
        source.close(2.0)  # the broker does not come back, so that only the budget can end it

    def test_a_close_keeps_its_budget_when_the_broker_hangs(self, broker, connection, sources):
        send_all(connection, "t", numbers(10))
        source = sources(patient(connection), "t", "g")
        _, next_offsets = read(source, 10)
        source.flushed(next_offsets)
        for request in ("OffsetCommit", "LeaveGroup", "Fetch"):
            broker.faults.slow(request, NEVER)
        source.close(2.0)

    def test_no_thread_outlives_a_source(self, connection, sources):
        send_all(connection, "t", numbers(10))
        before = set(threading.enumerate())
        source = sources(connection, "t", "g")
        read(source, 10)
        source.close(2.0)
        wait_until(lambda: set(threading.enumerate()) <= before)

    def test_no_thread_outlives_a_refused_connection(self, caplog):
        before = set(threading.enumerate())
        nowhere = Connection(("127.0.0.1:1",), client={"bootstrap_timeout_ms": 500})
        source = build(KafkaSourceSettings(nowhere, ("t",)), now=time.monotonic)
        with caplog.at_level(logging.CRITICAL), pytest.raises(RetryableError, match="nothing listens there"):
            source.start(Resume({}, 0))
        source.close(1.0)
        wait_until(lambda: set(threading.enumerate()) <= before)


def read_some(source):
    batch = source.poll(0.1)
    return [(int(batch.offset[i]), batch.value[i]) for i in range(len(batch))]
