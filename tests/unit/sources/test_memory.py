"""The memory source: the order of the stream, markers, rebalances and commits."""

from __future__ import annotations

import threading

import pytest

from streamgmm.records import Position, Rebalance, TopicPartition
from streamgmm.sources import Resume, Start
from streamgmm.sources import memory as m

A, B = TopicPartition("t", 0), TopicPartition("t", 1)
NOWHERE = Resume({}, 0)


def log_of(**partitions: list[m.Item | str]) -> m.MemoryLog:
    tps = {"a": A, "b": B}
    return m.MemoryLog(
        {tps[k]: [m.Record(i.encode()) if isinstance(i, str) else i for i in v] for k, v in partitions.items()}
    )


def started(log: m.MemoryLog, *sizes: int, resume: Resume = NOWHERE) -> m.MemorySource:
    source = m.build(m.MemorySettings(log, sizes or (100,)))
    source.start(resume)
    return source


def drain(source: m.MemorySource) -> list[tuple[int, int, bytes | None]]:
    taken = []
    while not source.at_end():
        batch = source.poll(0)
        taken += [(batch.topic_partition(i).partition, int(batch.offset[i]), batch.value[i]) for i in range(len(batch))]
    return taken


def test_the_order_of_the_stream_does_not_depend_on_block_sizes():
    def order(*sizes: int) -> list[tuple[int, int, bytes | None]]:
        return drain(started(log_of(a=list("uvwx"), b=["y", m.Gap(2), "z"]), *sizes))

    whole = order(100)
    assert [v for _, _, v in whole] == [b"u", b"y", b"v", b"w", b"x", b"z"]
    assert order(1) == order(2, 3) == order(3, 1, 1) == whole


def test_a_batch_says_what_may_be_committed():
    source = started(log_of(a=["u", "v", m.Gap(3)]), 2)
    first = source.poll(0)
    assert first.next_offsets == {A: 2}
    assert first.partitions == (A,)
    behind_the_gap = source.poll(0)
    assert len(behind_the_gap) == 0
    assert behind_the_gap.next_offsets == {A: 5}
    drain(source)
    assert source.lag() == {A: 0}


def test_values_keys_times_and_headers_arrive():
    log = m.MemoryLog({A: [m.Record(None, b"k", 7, (("h", b"1"),)), m.Record(b"", None)]})
    batch = started(log).poll(0)
    assert [batch.value[i] for i in range(2)] == [None, b""]
    assert [batch.key[i] for i in range(2)] == [b"k", None]
    assert batch.timestamp.tolist() == [7, -1]
    assert list(batch.headers) == [(("h", b"1"),), ()]


def test_a_restart_goes_on_at_the_committed_offset_or_replays_what_the_snapshot_lacks():
    log = log_of(a=list("uvwx"))
    source = started(log)
    assert source.commit({A: 3})
    assert log.commits == [{A: 3}]
    assert started(log).starts() == {A: Start(3, 0, 3, 0, "memory")}
    assert started(log, resume=Resume({A: Position(1, 0)}, 10)).starts() == {A: Start(1, 0, 3, 0, "memory")}
    assert started(log, resume=Resume({A: Position(1, 0)}, 1)).starts() == {A: Start(3, 0, 3, 2, "memory")}
    assert [o for _, o, _ in drain(started(log, resume=Resume({A: Position(2, 1)}, 10)))] == [2, 3]


def test_latest_begins_at_the_end():
    log = log_of(a=list("uv"))
    source = m.build(m.MemorySettings(log, auto_offset_reset="latest"))
    source.start(NOWHERE)
    assert source.at_end()
    log.append(A, m.Record(b"w"))
    assert source.poll(0).value[0] == b"w"


def test_pause_marker_ends_a_poll():
    source = started(log_of(a=["u", m.PAUSE, "v"]))
    assert [len(source.poll(0)) for _ in range(3)] == [1, 0, 1]


def test_abort_happens_once_for_all_sources_of_a_log():
    log = log_of(a=["u", m.ABORT, "v"])
    source = started(log)
    source.poll(0)
    with pytest.raises(m.AbortError):
        source.poll(0)
    assert [v for _, _, v in drain(started(log))] == [b"u", b"v"]


def test_revoked_partitions_are_not_read_nor_committed_until_they_come_back():
    log = log_of(a=["u", m.Revoke((B,)), "v", m.Assign((B,)), "w"], b=["x", "y", "z"])
    source = started(log)
    assert source.rebalances() == [Rebalance("assigned", (A, B))]
    assert source.rebalances() == []
    first = source.poll(0)
    assert [first.value[i] for i in range(len(first))] == [b"u", b"x"]
    assert source.commit({A: 1, B: 1})
    source.poll(0)
    assert source.rebalances() == [Rebalance("revoked", (B,))]
    assert not source.commit({A: 1, B: 1})
    assert list(source.lag()) == [A]
    source.poll(0)
    source.poll(0)
    assert source.rebalances() == [Rebalance("assigned", (B,))]
    assert source.starts()[B] == Start(1, 0, 1, 0, "memory")
    assert [o for p, o, _ in drain(source) if p == 1] == [1, 2]


def test_a_partition_that_comes_back_starts_where_the_group_is_not_where_the_snapshot_was():
    log = log_of(a=["u", "v", "w"])
    log.commit({A: 1})
    source = started(log, resume=Resume({A: Position(0, 0)}, 10))
    assert source.starts()[A].offset == 0
    source.rebalance(Rebalance("lost", (A,)))
    log.commit({A: 2})
    source.rebalance(Rebalance("assigned", (A,)))
    assert source.starts()[A] == Start(2, 0, 2, 0, "memory")


def test_lost_takes_everything_and_refuses_commits():
    log = log_of(a=["u", m.LOST, "v"])
    source = started(log)
    source.poll(0)
    source.poll(0)
    assert source.rebalances()[-1] == Rebalance("lost", (A,))
    assert not source.commit({A: 1})
    assert log.committed == {}


@pytest.mark.parametrize(("event", "committed"), [("revoked", {A: 2}), ("lost", {})])
def test_what_was_flushed_is_committed_on_revoke_and_not_on_loss(event, committed):
    log = log_of(a=list("uvw"), b=["x"])
    source = started(log)
    source.flushed({A: 1, B: 1})
    source.flushed({A: 2})
    source.rebalance(Rebalance(event, (A,)))
    assert log.committed == committed
    source.rebalance(Rebalance(event, (A,)))
    assert len(log.commits) <= 1


def test_without_commits_a_snapshot_says_where_to_go_on():
    source = started(log_of(a=list("uvw")), resume=Resume({A: Position(1, 2)}, 10))
    assert source.starts() == {A: Start(1, 2, 1, 0, "memory")}


def test_the_group_can_refuse():
    log = log_of(a=["u"])
    source = started(log)
    log.refuse_commits(1)
    assert not source.commit({A: 1})
    assert source.commit({A: 1})


def test_pause_hands_out_nothing_and_resume_wakes_a_poll():
    source = started(log_of(a=["u"]))
    source.pause()
    assert len(source.poll(0)) == 0
    waker = threading.Timer(0.02, source.resume)
    waker.start()
    assert len(source.poll(60)) == 1
    waker.join()


def test_a_poll_wakes_when_something_is_appended_or_when_it_closes():
    log = log_of(a=[])
    source = started(log)
    waker = threading.Timer(0.02, log.append, (A, m.Record(b"u")))
    waker.start()
    assert len(source.poll(60)) == 1
    waker.join()
    closer = threading.Timer(0.02, source.close, (1,))
    closer.start()
    assert len(source.poll(60)) == 0
    closer.join()
    source.close(1)
