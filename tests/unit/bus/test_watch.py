"""Which partitions are said to wait, by a consumer that answers as it is told."""

from types import SimpleNamespace

import pytest

from streamgmm.bus import watch
from streamgmm.bus.damage import DamagedBatchError
from streamgmm.bus.watch import Watch
from streamgmm.records import TopicPartition

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


class Consumer:
    """A consumer of topic t, with two partitions."""

    def __init__(self):
        self.leaders = {A: 1, B: 1}
        self.topics = {"t"}
        self.ends = {A: 10, B: 10}
        self.positions = {A: 10, B: 10}
        self.refreshed = 0
        self._client = SimpleNamespace(cluster=self)

    def leader_for_partition(self, tp):
        return self.leaders[TopicPartition(*tp)]

    def partitions_for_topic(self, topic):
        return {0, 1} if topic in self.topics else None

    def request_update(self):
        self.refreshed += 1

    def beginning_offsets(self, partitions, timeout_ms):
        assert timeout_ms > 0
        return dict.fromkeys(partitions, 0)

    def end_offsets(self, partitions, timeout_ms):
        assert timeout_ms > 0
        return {tp: self.ends[TopicPartition(*tp)] for tp in partitions}

    def position(self, tp, timeout_ms):
        assert timeout_ms == 0
        return self.positions[TopicPartition(*tp)]

    def highwater(self, tp):
        return self.positions[TopicPartition(*tp)] + 5


@pytest.fixture
def clock():
    return SimpleNamespace(now=0.0)


@pytest.fixture
def watching(clock):
    return Watch(lambda: clock.now)


def look(watching, consumer, pending=(), **lag):
    watching.look(consumer, ["t"], pending, {A: 0, B: 0} | lag, {A: 10, B: 10})
    return dict(watching.waiting())


def test_nothing_waits_where_all_is_well(watching):
    assert look(watching, Consumer()) == {}


def test_a_partition_without_a_leader_is_named_once_and_asked_for(watching, caplog):
    consumer = Consumer()
    consumer.leaders[B] = -1
    for _ in range(3):
        assert look(watching, consumer, [B]) == {B: "leader"}
    assert consumer.refreshed == 3
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["t/1 waits"]
    consumer.leaders[B] = 2
    assert look(watching, consumer) == {}


def test_the_partitions_of_a_broker_that_does_not_answer_are_named_and_its_successor_is_asked_for(clock, caplog):
    consumer, silent = Consumer(), {1}
    consumer.leaders = {A: 1, B: 2}
    watching = Watch(lambda: clock.now, lambda: silent)
    for _ in range(3):
        assert look(watching, consumer) == {A: "silent"}
    assert consumer.refreshed == 3
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["t/0 waits"]
    consumer.leaders[A] = 2
    assert look(watching, consumer) == {}


def test_a_topic_that_is_gone_is_named(watching):
    consumer = Consumer()
    consumer.topics.clear()
    assert look(watching, consumer) == {A: "deleted"}


def test_a_partition_that_stands_before_an_open_transaction_is_named(watching, clock):
    consumer = Consumer()
    behind = {"lag": {A: 5, B: 0}}

    def at(seconds):
        clock.now = seconds
        watching.look(consumer, ["t"], (), behind["lag"], {A: 10, B: 10})
        return dict(watching.waiting())

    assert at(0.0) == {}
    assert at(watch.STANDING_SECONDS - 1) == {}
    assert at(watch.STANDING_SECONDS) == {A: "transaction"}
    assert at(watch.STANDING_SECONDS + 1) == {A: "transaction"}  # without asking again
    consumer.ends[A] = 15
    assert at(2 * watch.STANDING_SECONDS) == {}


def test_damage_holds_a_partition_until_it_was_read(watching, clock):
    error = DamagedBatchError(A, 12, 20, ValueError("crc"))
    assert watching.is_first(error)
    assert not watching.is_first(error)
    watching.hold(error)
    assert watching.holds(A)
    # Records before the damage are still to be handed over.
    assert look(watching, Consumer()) == {A: "damaged"}
    assert watching.retried([A, B]) == []
    clock.now = watch.RETRY_SECONDS
    assert watching.retried([A, B]) == [A]
    assert watching.retried([A, B]) == []
    watching.look(Consumer(), ["t"], (), {A: 0, B: 0}, {A: 20, B: 10})
    assert not watching.holds(A)
    assert dict(watching.waiting()) == {}
