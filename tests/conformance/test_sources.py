"""Every source: all records in order, commits that a restart honours, replays, pauses and an orderly end."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from streamgmm import registry
from streamgmm.records import Position, TopicPartition
from streamgmm.sources import Resume, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamgmm.records import RecordBatch

PATIENCE = 120.0
NOWHERE = Resume({}, 0)
VALUES = [b"[%d]" % i for i in range(25)]


@dataclass
class Rig:
    """One partition that holds VALUES at offsets 0, 1, 2 …, and a way to open it (again).

    `renew` puts another log in its place, which has the same name and holds other values.
    """

    partition: TopicPartition
    open: Callable[[], Source]
    renew: Callable[[Sequence[bytes]], None]


def memory(tmp_path, request, values: Sequence[bytes]) -> Rig:
    del tmp_path, request
    from streamgmm.sources import memory as m

    partition = TopicPartition("t", 0)
    logs = [m.MemoryLog({partition: [m.Record(v) for v in values]})]

    def renew(others: Sequence[bytes]) -> None:
        logs.append(m.MemoryLog({partition: [m.Record(v) for v in others]}, "another"))

    return Rig(partition, lambda: m.build(m.MemorySettings(logs[-1], (4, 7))), renew)


def file(tmp_path, request, values: Sequence[bytes]) -> Rig:
    del request
    from streamgmm.sources import file as f

    path = tmp_path / "in.jsonl"
    path.write_bytes(b"".join(v + b"\n" for v in values))

    def renew(others: Sequence[bytes]) -> None:
        other = tmp_path / "other"
        other.write_bytes(b"".join(v + b"\n" for v in others))
        other.replace(path)

    return Rig(TopicPartition("in.jsonl", 0), lambda: f.build(f.FileSettings(path, max_rows=6)), renew)


def kafka(tmp_path, request, values: Sequence[bytes]) -> Rig:
    del tmp_path
    from brokers import send_all
    from kafka.admin import NewTopic

    from streamgmm.bus import client
    from streamgmm.bus.client import Connection, servers
    from streamgmm.sources import kafka as k

    connection = Connection(servers(request.getfixturevalue("broker").bootstrap_servers))
    topic = f"in-{uuid.uuid4().hex[:8]}"
    send_all(connection, topic, values)
    way = request.param.partition("-")[2]
    chosen = k.KafkaSourceSettings(connection, (topic,), group_id=topic, fetch=way, batch_rows=6)

    def renew(others: Sequence[bytes]) -> None:
        admin = client.admin(connection)
        admin.delete_topics([topic])
        admin.create_topics([NewTopic(topic, 1, 1)])
        admin.close()
        send_all(connection, topic, others)

    return Rig(TopicPartition(topic, 0), lambda: k.build(chosen, now=time.monotonic), renew)


RIGS = {"memory": memory, "file": file, "kafka": kafka}
MARKS = {"kafka": [pytest.mark.integration]}
# What a member does in more than one way, it must do right in each.
WAYS = {"kafka": ("kafka-blocks", "kafka-records")}


@pytest.fixture(
    params=[
        pytest.param(way, marks=MARKS.get(name, []))
        for name in registry.names("sources")
        for way in WAYS.get(name, (name,))
    ]
)
def rig(request, rig_of, tmp_path):
    made = rig_of("sources", request.param.partition("-")[0], RIGS)(tmp_path, request, VALUES)
    opened: list[Source] = []
    inner = made.open

    def open_source() -> Source:
        opened.append(inner())
        return opened[-1]

    made.open = open_source
    yield made
    for source in opened:
        source.close(5.0)


def started(rig: Rig, resume: Resume = NOWHERE) -> Source:
    source = rig.open()
    source.start(resume)
    return source


def poll_until(source: Source, done: Callable[[], bool]) -> list[RecordBatch]:
    """Poll until something holds; a source may need polls to find its partitions."""
    batches, deadline = [], time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, "the source did not get there"
        batches.append(source.poll(0.1))
    return batches


def places(source: Source) -> dict[TopicPartition, tuple[int, int, int, int]]:
    """Return where partitions start, without what tells them from others of their name."""
    return {tp: (s.offset, s.row, s.muted_until, s.not_learnt) for tp, s in source.starts().items()}


def records(batches: Sequence[RecordBatch]) -> list[tuple[int, bytes | None]]:
    return [(int(b.offset[i]), b.value[i]) for b in batches for i in range(len(b))]


def close(source: Source) -> None:
    source.close(5.0)
    source.close(5.0)


def test_all_records_come_in_order_and_say_what_may_be_committed(rig):
    source = started(rig)
    batches = poll_until(source, source.at_end)
    assert records(batches) == list(enumerate(VALUES))
    last = -1
    for batch in batches:
        for tp, next_offset in batch.next_offsets.items():
            assert tp == rig.partition
            assert next_offset > last
            assert not len(batch) or next_offset > batch.offset.max()
            last = next_offset
        assert {batch.topic_partition(i) for i in range(len(batch))} <= {rig.partition}
        assert len(batch.key) == len(batch.headers) == len(batch.timestamp) == len(batch)
    assert last == len(VALUES)
    assert source.lag() == {rig.partition: 0}
    close(source)


def test_it_says_once_what_was_assigned_and_where_that_starts(rig):
    source = started(rig)
    poll_until(source, lambda: rig.partition in source.starts())
    events = source.rebalances()
    assert [(e.event, e.partitions) for e in events if e.partitions] == [("assigned", (rig.partition,))]
    assert source.rebalances() == []
    assert places(source) == {rig.partition: (0, 0, 0, 0)}
    close(source)


def read_and_commit(rig: Rig, offset: int) -> None:
    source = started(rig)
    poll_until(source, source.at_end)
    assert source.commit({rig.partition: offset})
    close(source)


def test_a_restart_goes_on_at_the_commit_and_not_where_it_had_read(rig):
    read_and_commit(rig, 10)
    source = started(rig)
    assert records(poll_until(source, source.at_end)) == list(enumerate(VALUES))[10:]
    assert places(source) == {rig.partition: (10, 0, 10, 0)}
    close(source)


def test_nothing_is_committed_unless_told(rig):
    source = started(rig)
    poll_until(source, source.at_end)
    close(source)
    again = started(rig)
    assert records(poll_until(again, again.at_end)) == list(enumerate(VALUES))
    close(again)


@pytest.mark.parametrize(
    ("covered", "max_replay", "start"),
    [
        (Position(7, 0), 100, (7, 0, 10, 0)),
        (Position(7, 2), 100, (7, 2, 10, 0)),
        (Position(10, 1), 100, (10, 1, 10, 0)),
        (Position(12, 1), 100, (10, 0, 10, 0)),
        (Position(3, 0), 5, (10, 0, 10, 7)),
    ],
)
def test_what_the_snapshot_lacks_is_read_again(rig, covered, max_replay, start):
    read_and_commit(rig, 10)
    source = started(rig, Resume({rig.partition: covered}, max_replay))
    assert records(poll_until(source, source.at_end)) == list(enumerate(VALUES))[start[0] :]
    assert places(source) == {rig.partition: start}
    close(source)


def test_pause_hands_out_nothing_and_resume_loses_nothing(rig):
    source = started(rig)
    taken = poll_until(source, lambda: source.lag().get(rig.partition, len(VALUES)) < len(VALUES))
    source.pause()
    assert records([source.poll(0.01) for _ in range(3)]) == []
    assert not source.at_end()
    source.resume()
    assert records([*taken, *poll_until(source, source.at_end)]) == list(enumerate(VALUES))
    close(source)


def test_what_is_given_back_is_handed_over_again(rig):
    source = started(rig)
    taken = []
    while not source.at_end():
        (batch,) = poll_until(source, iter([False, True]).__next__)
        here = records([batch])
        taken += here[:2]
        if len(here) > 2:
            source.give_back({rig.partition: here[2][0]})
            assert not source.at_end()
            assert source.lag()[rig.partition] == len(VALUES) - here[2][0]
    assert taken == list(enumerate(VALUES))
    close(source)


def test_at_the_end_a_poll_returns_empty(rig):
    source = started(rig)
    poll_until(source, source.at_end)
    assert len(source.poll(0.05)) == 0
    close(source)


def test_what_was_flushed_may_be_noted_and_committed_later(rig):
    source = started(rig)
    poll_until(source, source.at_end)
    source.flushed({rig.partition: 4})
    assert source.commit({rig.partition: 4})
    close(source)
    again = started(rig)
    poll_until(again, lambda: rig.partition in again.starts())
    assert again.starts()[rig.partition].offset == 4
    close(again)


@pytest.mark.parametrize("is_committed", [True, False], ids=["committed", "covered alone"])
def test_another_log_of_that_name_is_read_from_its_beginning(rig, is_committed):
    first = started(rig)
    poll_until(first, first.at_end)
    assert not is_committed or first.commit({rig.partition: 10})
    covered = Position(10, 1, first.starts()[rig.partition].identity)
    close(first)
    others = [b"[-%d]" % i for i in range(30)]
    rig.renew(others)
    second = started(rig, Resume({rig.partition: covered}, 100))
    assert records(poll_until(second, second.at_end)) == list(enumerate(others))
    assert places(second) == {rig.partition: (0, 0, 0, 0)}
    assert second.starts()[rig.partition].identity not in {"", covered.identity}
    close(second)


def test_the_same_log_is_known_again(rig):
    first = started(rig)
    poll_until(first, first.at_end)
    covered = Position(10, 1, first.starts()[rig.partition].identity)
    assert first.commit({rig.partition: 10})
    close(first)
    second = started(rig, Resume({rig.partition: covered}, 100))
    poll_until(second, second.at_end)
    assert places(second) == {rig.partition: (10, 1, 10, 0)}
    assert second.events() == []
    assert second.waiting() == {}
    close(second)
