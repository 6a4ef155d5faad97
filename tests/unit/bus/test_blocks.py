from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from streamgmm.bus.blocks import Carry, batch_of, size_of
from streamgmm.records import TopicPartition

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


def record(offset, value=b"", key=None, headers=(), timestamp=None):
    return SimpleNamespace(
        offset=offset,
        value=value,
        key=key,
        headers=list(headers),
        timestamp=timestamp,
        serialized_value_size=-1 if value is None else len(value),
        serialized_key_size=-1 if key is None else len(key),
        serialized_header_size=sum(len(n) + len(v or b"") for n, v in headers) if headers else -1,
    )


def test_blocks_become_one_batch():
    blocks = [
        (A, [record(5, b"x", b"k", [("h", None)], 99), record(7, None)]),
        (B, [record(0, b"")]),
        (A, [record(8, b"y")]),
    ]
    batch = batch_of(blocks, {A: 9, B: 1})
    assert batch.partitions == (A, B)
    assert batch.partition.tolist() == [0, 0, 1, 0]
    assert batch.offset.tolist() == [5, 7, 0, 8]
    assert batch.timestamp.tolist() == [99, -1, -1, -1]
    assert [batch.value[i] for i in range(4)] == [b"x", None, b"", b"y"]
    assert [batch.key[i] for i in range(4)] == [b"k", None, None, None]
    assert [list(h) for h in batch.headers] == [[("h", b"")], [], [], []]
    assert batch.next_offsets == {A: 9, B: 1}


def test_offsets_can_move_without_records():
    batch = batch_of([], {A: 3})
    assert len(batch) == 0
    assert batch.next_offsets == {A: 3}
    assert batch_of([], {}).next_offsets == {}


def test_a_size_counts_all_that_must_be_held():
    assert size_of(record(0, b"abc", b"k", [("hh", b"v")])) == 7
    assert size_of(record(0, None)) == 0


@given(
    st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=12), max_size=6),
    st.integers(1, 10),
    st.integers(1, 80),
)
def test_takes_are_bounded_in_order_and_complete(blocks, rows, size):
    carry, expected = Carry(), []
    for i, sizes in enumerate(blocks):
        tp = (A, B)[i % 2]
        records = [record(1000 * i + j, bytes(n)) for j, n in enumerate(sizes)]
        expected += [(tp, r.offset) for r in records]
        carry.put({tp: records})
    taken = []
    while carry:
        before = carry.first_offsets()
        part = carry.take(rows, size)
        flat = [(tp, r) for tp, block in part for r in block]
        assert 1 <= len(flat) <= rows
        assert sum(size_of(r) for _, r in flat) <= size or len(flat) == 1
        assert all(before[tp] <= r.offset for tp, r in flat)
        taken += [(tp, r.offset) for tp, r in flat]
    assert taken == expected


def test_lost_partitions_are_dropped():
    carry = Carry()
    carry.put({A: [record(1)], B: [record(2)]})
    carry.put({A: [record(3)]})
    carry.drop([A])
    assert carry.first_offsets() == {B: 2}
    assert [(tp, [r.offset for r in block]) for tp, block in carry.take(9, 9)] == [(B, [2])]
