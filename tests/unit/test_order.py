"""Rows of several partitions are taken in the order of time, and each keeps its own order, however blocks are cut."""

from dataclasses import replace

import numpy as np
import pytest
from batches import record_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgmm.order import Order, Shares
from streamgmm.order import merged as merge
from streamgmm.records import FeatureBatch, Passed, Reject, TopicPartition

A, B, C = PARTITIONS = tuple(TopicPartition("t", i) for i in range(3))
NOW = 1e9


def block(rows, more=(), times=None):
    """Return a batch of (partition, offset) and its fields; one row a record, at these times (none where absent)."""
    tps = tuple(dict.fromkeys(tp for tp, _ in rows))
    batch = replace(
        record_batch([b"%d" % offset for _, offset in rows], keys=[b"key %d" % tp.partition for tp, _ in rows]),
        partitions=tps,
        partition=np.array([tps.index(tp) for tp, _ in rows], dtype=np.int64),
        offset=np.array([offset for _, offset in rows], dtype=np.int64),
        next_offsets={tp: 1 + max(o for there, o in rows if there == tp) for tp in tps},
        more=more,
    )
    n = len(rows)
    event_time = np.full(n, np.nan) if times is None else np.array(times, dtype=float)
    return batch, FeatureBatch(
        np.arange(n, dtype=float)[:, None], np.arange(n), np.zeros(n, dtype=np.int64), event_time
    )


def taken(order, batch, fields):
    batch, fields, back = order.arrange(batch, fields, NOW)
    assert (np.diff(fields.record) >= 0).all()
    assert [batch.value[i] for i in range(len(batch))] == [b"%d" % o for o in batch.offset]
    return [(batch.topic_partition(i), int(o)) for i, o in enumerate(batch.offset.tolist())], back, batch.next_offsets


def test_nothing_later_than_what_may_still_come_is_taken():
    batch, fields = block([(A, 0), (A, 1), (A, 2), (B, 7), (B, 8), (B, 9)], (A, B), [1, 2, 3, 1.5, 2.5, 9])
    order = Order()
    rows, back, offsets = taken(order, batch, fields)
    assert rows == [(A, 0), (B, 7), (A, 1), (B, 8), (A, 2)]
    assert back == {B: 9}
    assert offsets == {A: 3, B: 9}
    assert order.ahead == frozenset()
    rows, back, _ = taken(order, *block([(A, 3), (B, 9)], (A, B), [4, 9]))
    assert (rows, back, order.ahead) == ([(A, 3)], {B: 9}, {B})


def test_a_partition_that_is_at_its_end_or_silent_stops_nobody():
    batch, fields = block([(A, 0), (B, 7), (B, 8)], (B,), [1, 5, 6])
    assert taken(Order(), batch, fields)[:2] == ([(A, 0), (B, 7), (B, 8)], {})


def test_late_rows_stay_behind_their_predecessors_and_equal_times_go_by_partition():
    batch, fields = block([(B, 0), (B, 1), (A, 0), (A, 1)], (), [5, 2, 5, 6])
    assert taken(Order(), batch, fields)[0] == [(A, 0), (B, 0), (B, 1), (A, 1)]


def test_rows_without_a_time_keep_the_order_of_arrival():
    rows = [(A, 0), (B, 0), (C, 0), (A, 1)]
    assert taken(Order(), *block(rows, PARTITIONS))[0] == rows
    mixed = taken(Order(), *block(rows, (A, B, C), [9, np.nan, 3, 10]))
    assert mixed[0] == [(B, 0), (C, 0)]


@pytest.mark.parametrize("wild", [4.1e9, 1e300])
def test_a_time_far_in_the_future_does_not_make_its_partition_wait(wild):
    order = Order()
    rows, back, _ = taken(order, *block([(A, 0), (A, 1), (B, 0), (B, 1)], (A, B), [1, wild, 2, 3]))
    assert rows == [(A, 0), (A, 1)]
    rows, back, _ = taken(order, *block([(A, 2), (B, 0), (B, 1)], (A, B), [2.5, 2, 3]))
    assert rows == [(B, 0), (A, 2)]
    assert back == {B: 1}


def test_what_was_decoded_moves_with_its_record():
    batch, fields = block([(A, 0), (A, 1), (B, 0), (B, 1), (B, 2)], (A,), [3, 4, 1, 2, 9])
    fields = replace(
        fields,
        X=np.array([[0.0], [0.1], [2.0], [4.0]]),
        record=np.array([0, 0, 2, 4]),
        row=np.array([0, 2, 0, 0]),
        event_time=np.array([3.0, 3.0, 1.0, 9.0]),
        rejects=(Reject(0, 1, "schema", "one row"), Reject(1, -1, "decode", ""), Reject(3, -1, "decode", "")),
        tombstones=np.array([], dtype=np.int64),
        passed=(Passed(0, "truncate"), Passed(2, "heartbeat"), Passed(4, "message")),
    )
    batch, fields, back = Order().arrange(batch, fields, NOW)
    assert [(batch.topic_partition(i), int(o)) for i, o in enumerate(batch.offset)] == [(B, 0), (B, 1), (A, 0), (A, 1)]
    assert fields.X[:, 0].tolist() == [2.0, 0.0, 0.1]
    assert fields.record.tolist() == [0, 2, 2]
    assert fields.row.tolist() == [0, 0, 2]
    assert [(r.record, r.row) for r in fields.rejects] == [(1, -1), (2, 1), (3, -1)]
    assert fields.passed == ((0, "heartbeat"), (2, "truncate"))
    assert [batch.key[i] for i in range(4)] == [b"key 1", b"key 1", b"key 0", b"key 0"]
    assert back == {B: 2}


def test_partitions_that_leave_are_forgotten():
    order = Order()
    taken(order, *block([(A, 0), (B, 0)], (A, B), [1, 50]))
    assert order.ahead == {B}
    order.forget([A, B])
    assert order.ahead == frozenset()
    assert taken(order, *block([(A, 0), (B, 0)], (), [1, 0]))[0] == [(B, 0), (A, 0)]


def merged(times):
    """Merge partitions as slowly and plainly as can be: always the one whose next time is the lowest."""
    heads = dict.fromkeys(times, 0)
    clocks = {tp: np.maximum.accumulate(mine) for tp, mine in times.items() if len(mine)}
    rows = []
    while left := [tp for tp in clocks if heads[tp] < len(clocks[tp])]:
        tp = min(left, key=lambda tp: (clocks[tp][heads[tp]], tp))
        rows.append((tp, heads[tp]))
        heads[tp] += 1
    return rows


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=15), min_size=3, max_size=3), st.data())
def test_any_blocks_give_the_order_of_a_plain_merge(drawn, data):
    times = {tp: np.array(mine, dtype=float) for tp, mine in zip(PARTITIONS, drawn, strict=True)}
    at, order, rows = dict.fromkeys(PARTITIONS, 0), Order(), []
    while any(at[tp] < len(times[tp]) for tp in PARTITIONS):
        handed, more = [], []
        for tp in data.draw(st.permutations(PARTITIONS)):
            left = len(times[tp]) - at[tp]
            n = data.draw(st.integers(1, left)) if left else 0
            handed += [(tp, at[tp] + i) for i in range(n)]
            more += [tp] * (n < left)
        batch, fields = block(handed, more, [times[tp][o] for tp, o in handed])
        some, back, offsets = taken(order, batch, fields)
        assert some, "every block brings the stream on"
        rows += some
        at |= offsets
        assert all(offsets[tp] == offset for tp, offset in back.items())
    assert rows == merged(times)


def test_whole_partitions_are_merged_alike():
    time = np.array([5.0, 2.0, 9.0, np.nan, 1.0, 7.0, 9.0])
    partition = np.array([1, 1, 1, 1, 0, 0, 0])
    assert merge(time, partition).tolist() == [4, 0, 1, 5, 6, 2, 3]
    without = np.full(4, np.nan)
    assert merge(without, np.array([0, 0, 1, 1])).tolist() == [0, 1, 2, 3]


def test_portions_follow_what_was_taken_and_add_up():
    shares = Shares()
    assert dict(shares.portions([A], 500)) == {A: 500}
    shares.note(A, 9000)
    shares.note(B, 1000)
    shares.returned(B, 900)
    first = dict(shares.portions(PARTITIONS, 10_000))
    assert first[A] > 10 * first[B] > 10 * 50
    assert sum(first.values()) <= 10_000
    assert dict(shares.portions(PARTITIONS, 2)) == dict.fromkeys(PARTITIONS, 1)
    shares.forget([A])
    assert dict(shares.portions([A, B], 100)) == {A: 50, B: 50}
