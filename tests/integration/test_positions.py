"""Where a Kafka source begins and goes on: new groups, added partitions, other topics, lost records."""

import pytest
from brokers import wait_until
from kafka import errors
from kafka.admin import NewTopic
from source_polls import assigned, commit_by_hand, moves, numbers, read, store

from streamgmm.records import Position, TopicPartition
from streamgmm.sources import Resume

pytestmark = pytest.mark.integration


def test_the_latest_start_is_durable_before_anything_comes(kafka, make_topic, produce, sources, group, committed):
    topic = make_topic(2)
    produce(topic, numbers(10))
    first = sources(kafka.connection, topic, group, auto_offset_reset="latest")
    assigned(first, 2)
    ends = committed(group, topic)
    assert sum(ends.values()) == 10
    first._consumer.close(autocommit=False)  # as when the process is killed: nothing of ours runs any more
    produce(topic, numbers(20))
    second = sources(kafka.connection, topic, group, auto_offset_reset="latest")
    rows, _ = read(second, 20)
    assert len(rows) == 20


def test_a_partition_that_is_added_is_read_from_its_beginning(
    kafka, admin, make_topic, produce, sources, group, committed
):
    topic = make_topic(2)
    produce(topic, numbers(10), partitions=[i % 2 for i in range(10)])
    first = sources(kafka.connection, topic, group, auto_offset_reset="latest")
    assigned(first, 2)
    first.close(5.0)
    admin.create_partitions({topic: 3})
    wait_until(lambda: len(committed(group, topic)) == 2)
    produce(topic, numbers(7), partitions=[2] * 7)
    second = sources(kafka.connection, topic, group, auto_offset_reset="latest")
    rows, _ = read(second, 7)
    assert [(p, o) for p, o, _ in rows] == [(2, o) for o in range(7)]


def test_a_topic_that_is_made_anew_is_read_from_its_beginning(kafka, admin, make_topic, produce, sources, group):
    topic = make_topic()
    tp = TopicPartition(topic, 0)
    produce(topic, numbers(30))
    first = sources(kafka.connection, topic, group)
    read(first, 30)
    store(first, {tp: 30})
    covered = Position(30, 0, first.starts()[tp].identity)
    first.close(5.0)
    admin.delete_topics([topic])
    wait_until(lambda: topic not in admin.list_topics())
    wait_until(lambda: created(admin, topic))
    produce(topic, numbers(40))
    second = sources(kafka.connection, topic, group, auto_offset_reset="latest", resume=Resume({tp: covered}, 100))
    rows, _ = read(second, 40)
    assert [offset for _, offset, _ in rows] == [*range(40)]
    assert moves(second) == [("recreated", 0, -1, 0, 0)]


def created(admin, topic):
    """A topic that is being deleted may not be made anew at once."""
    try:
        admin.create_topics([NewTopic(topic, 1, 1)])
    except errors.TopicAlreadyExistsError:
        return False
    admin.wait_for_topics([topic])
    return True


def test_a_topic_that_is_deleted_stays_deleted_and_is_named(kafka, admin, make_topic, produce, sources, group):
    topic = make_topic()
    produce(topic, numbers(5))
    source = sources(kafka.connection, topic, group)
    read(source, 5)
    admin.delete_topics([topic])
    wait_until(lambda: source.waiting() == {TopicPartition(topic, 0): "deleted"}, meanwhile=lambda: source.poll(0.05))
    for _ in range(20):
        source.poll(0.05)
    assert topic not in admin.list_topics()


@pytest.mark.parametrize("reset", ["earliest", "latest"])
def test_records_that_are_deleted_before_they_are_read_are_counted(
    reset, kafka, admin, make_topic, produce, sources, group
):
    topic = make_topic()
    tp = TopicPartition(topic, 0)
    source = sources(kafka.connection, topic, group, auto_offset_reset=reset)
    assigned(source, 1)
    produce(topic, numbers(5))
    read(source, 5)
    source.pause()
    produce(topic, numbers(20), linger_ms=100)
    admin.delete_records({tp: 15})
    source.resume()
    rows, events = [], []

    def turn():
        batch = source.poll(0.05)
        rows.extend(batch.offset.tolist())
        events.extend(source.events())

    wait_until(lambda: rows and rows[-1] == 24, meanwhile=turn)
    # What was fetched before the deletion is read all the same.
    assert len(rows) + sum(e.fields["records"] for e in events) == 20
    assert {e.labels["reason"] for e in events} <= {"retention"}


def test_offsets_carry_our_mark_and_those_of_others_are_told(kafka, make_topic, produce, sources, group):
    topic = make_topic()
    tp = TopicPartition(topic, 0)
    produce(topic, numbers(30))
    first = sources(kafka.connection, topic, group)
    read(first, 30)
    store(first, {tp: 10})
    first.close(5.0)
    commit_by_hand(kafka, group, tp, 25)
    second = sources(kafka.connection, topic, group, resume=Resume({tp: Position(10, 0)}, 100))
    rows, _ = read(second, 5)
    assert [offset for _, offset, _ in rows] == [*range(25, 30)]
    assert moves(second) == [("group", 0, 10, 25, 15)]
