"""A broker that hangs refuses nothing: only answers to questions about the log count."""

import math
from types import SimpleNamespace

import pytest
from kafka import errors
from kafka.future import Future
from kafka.protocol.consumer import FetchRequest, HeartbeatRequest

from streamgmm.bus import answers
from streamgmm.bus.answers import LONGEST_WAIT, RECENT_SECONDS, SILENT_SECONDS, Answers
from streamgmm.records import TopicPartition

TP = TopicPartition("t", 0)


class Manager:
    """What sends for a kafka-python client; the test answers."""

    def __init__(self):
        self.sent = []

    def send(self, request, node_id=None):
        self.sent.append((request, node_id, Future()))
        return self.sent[-1][2]


class Consumer:
    """A consumer that knows the end of its one partition, or cannot be told it."""

    def __init__(self):
        self._manager, self.end, self.asked = Manager(), 7, 0

    def end_offsets(self, partitions, timeout_ms):
        self.asked += 1
        if self.end is None:
            raise errors.KafkaTimeoutError(f"not within {timeout_ms} ms")
        return dict.fromkeys(partitions, self.end)


class Line:
    """A consumer whose answers are heard, and a clock."""

    def __init__(self):
        self.now, self.consumer = 100.0, Consumer()
        self.answers = Answers(lambda: self.now, lambda: 1e9 + self.now)
        self.answers.listen(self.consumer)

    def ask(self, request=FetchRequest, node=3):
        return self.consumer._manager.send(request(), node_id=node)

    def wait(self, seconds, step=1.0):
        for _ in range(round(seconds / step)):
            self.now += step
            self.answers.waited()
        return self.answers.contact()


@pytest.fixture
def line():
    return Line()


def test_a_topic_without_records_is_answered_all_the_same(line):
    for _ in range(100):
        line.ask().success("no records")
        assert not line.wait(0.5, 0.5).lost
    assert line.answers.contact().answered == 1e9 + line.now - 0.5


def test_no_answer_is_told_after_its_time_with_the_moment_of_the_last_one_and_forgotten_with_the_next(line):
    line.ask().success("records")
    line.answers.waited()
    line.ask()
    assert not line.wait(SILENT_SECONDS - 1.0).lost
    contact = line.wait(1.0)
    assert (contact.lost, contact.answered) == (True, 1e9 + 100.0)
    line.ask().success("records")
    contact = line.answers.contact()
    assert (contact.lost, contact.answered) == (False, 1e9 + line.now), "the silence ends with the answer itself"
    assert not line.wait(1.0).lost


def test_one_broker_that_is_silent_is_named_while_another_answers(line):
    line.ask(node=2).success("records")
    line.ask(node=1)
    for _ in range(round(SILENT_SECONDS)):
        assert line.answers.silent() == set()
        line.ask(node=2).success("records")
        assert not line.wait(1.0).lost
    assert line.answers.silent() == {1}
    line.ask(node=1).failure(errors.RequestTimedOutError())
    assert line.answers.silent() == {1}
    line.ask(node=1).success("records")
    line.wait(1.0)
    assert line.answers.silent() == set()


def test_where_all_brokers_are_silent_none_is_named(line):
    line.answers.waited()
    for node in (1, 2):
        line.ask(node=node)
    assert line.wait(SILENT_SECONDS + 5.0).lost
    assert line.answers.silent() == set()


@pytest.mark.parametrize("refused", [errors.KafkaConnectionError(), errors.RequestTimedOutError()])
def test_a_request_that_fails_is_no_answer(line, refused):
    line.answers.waited()
    line.ask().failure(refused)
    assert line.wait(SILENT_SECONDS).lost


def test_the_group_s_coordinator_does_not_answer_for_the_log(line):
    line.answers.waited()
    line.ask(HeartbeatRequest).success("fine")
    assert line.wait(SILENT_SECONDS).lost


def test_a_turn_that_took_long_is_no_silence(line):
    line.answers.waited()
    line.now += 1000.0
    line.answers.waited()
    assert not line.answers.contact().lost
    assert LONGEST_WAIT < SILENT_SECONDS


def test_silent_brokers_are_waited_for_beside_kafka_python(line):
    fetched, slept = [], []
    line.answers._sleep = slept.append
    line.answers.waited()
    line.answers.wait(fetched.append, 0.1)
    assert (fetched, slept) == ([0.1], [])
    line.wait(RECENT_SECONDS)
    line.answers.wait(fetched.append, 0.1)
    assert (fetched, slept) == ([0.1, 0.0], [0.1])


def test_what_was_sent_reaches_its_node(line):
    line.ask()
    assert [node for _, node, _ in line.consumer._manager.sent] == [3]


def test_while_nothing_is_fetched_the_ends_are_asked_for_now_and_then(line):
    for _ in range(100):
        line.now += 0.5
        line.answers.ask(line.consumer, [TP])
    assert line.consumer.asked == 50 / answers.ASK_SECONDS
    assert line.answers.ends == {TP: 7}
    line.consumer.end = None
    line.now += 10.0
    line.answers.ask(line.consumer, [TP])
    assert line.answers.ends == {TP: 7}, "the last that is known"


def test_a_member_without_a_partition_asks_as_well(line):
    """A standby fetches nothing: without a question of its own, its brokers would count as silent."""
    updates = []
    line.consumer._client = SimpleNamespace(cluster=SimpleNamespace(request_update=lambda: updates.append(line.now)))
    for _ in range(100):
        line.now += 0.5
        line.answers.ask(line.consumer, ())
    assert len(updates) == 50 / answers.ASK_SECONDS
    assert line.consumer.asked == 0


def test_where_answers_cannot_be_heard_silence_is_never_told(line, caplog):
    deaf = Answers(lambda: line.now)
    deaf.listen(object())
    line.answers = deaf
    contact = line.wait(10 * SILENT_SECONDS)
    assert (contact.lost, math.isnan(contact.answered)) == (False, True)
    assert "another way" in caplog.text
