"""What `check --online` asks, on both brokers."""

import pytest

from streamgmm.bus.check import Finding, diagnose, sample
from streamgmm.bus.client import Connection

pytestmark = pytest.mark.integration


def test_what_is_there_is_found(kafka, make_topic, group):
    topic = make_topic(3)
    findings = diagnose(kafka.connection, [topic], [topic], group_id=group)
    assert [finding.ok for finding in findings] == [True] * 4
    assert findings[1:3] == [
        Finding(True, f"topic {topic}", "3 partition(s), may read"),
        Finding(True, f"topic {topic}", "3 partition(s), may write"),
    ]


def test_a_missing_topic_is_no_input_but_may_become_an_output(kafka, group, admin):
    reads, writes = diagnose(kafka.connection, [group], [group])[1:]
    assert (reads.ok, writes.ok) == (False, True)
    assert f"--create --topic {group}" in reads.detail
    assert "brokers create it" in writes.detail
    assert group not in admin.list_topics()


def test_nobody_there_is_a_finding():
    nowhere = Connection(("127.0.0.1:1",), client={"bootstrap_timeout_ms": 500})
    (finding,) = diagnose(nowhere, ["t"], [])
    assert not finding.ok
    assert "nothing listens there" in finding.detail


def test_a_sample_holds_the_newest_values(kafka, make_topic, produce, committed, group):
    topic = make_topic(2)
    values = [b"%d" % i for i in range(50)]
    produce(topic, values, timestamps=[1_700_000_000_000 + i for i in range(50)], partitions=[i % 2 for i in range(50)])
    assert sample(kafka.connection, topic, 3) == values[-3:]
    assert sample(kafka.connection, topic, 100) == values
    assert sample(kafka.connection, group, 3) == []
    assert committed(group, topic) == {}
