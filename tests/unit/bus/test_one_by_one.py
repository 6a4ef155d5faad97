from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from streamgmm.bus.one_by_one import RecordCarry, batch_of, size_of
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
    batch = batch_of(blocks)
    assert batch.partitions == (A, B)
    assert batch.partition.tolist() == [0, 0, 1, 0]
    assert batch.offset.tolist() == [5, 7, 0, 8]
    assert batch.timestamp.tolist() == [99, -1, -1, -1]
    assert [batch.value[i] for i in range(4)] == [b"x", None, b"", b"y"]
    assert [batch.key[i] for i in range(4)] == [b"k", None, None, None]
    assert [list(h) for h in batch.headers] == [[("h", None)], [], [], []]


def test_no_records_are_an_empty_batch():
    assert len(batch_of([])) == 0


def test_a_size_counts_all_that_must_be_held():
    assert size_of(record(0, b"abc", b"k", [("hh", b"v")])) == 7
    assert size_of(record(0, None)) == 0


@given(
    st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=12), max_size=6),
    st.integers(1, 10),
    st.integers(1, 80),
)
def test_takes_are_bounded_in_order_and_complete(blocks, rows, size):
    carry, expected = RecordCarry(), []
    for i, sizes in enumerate(blocks):
        tp = (A, B)[i % 2]
        records = [record(1000 * i + j, bytes(n)) for j, n in enumerate(sizes)]
        expected += [(tp, r.offset) for r in records]
        carry.put({tp: records})
    taken = []
    while carry:
        before = carry.first_offsets()
        part = carry.take(rows, size)
        flat = [(part.topic_partition(i), int(part.offset[i])) for i in range(len(part))]
        assert 1 <= len(flat) <= rows
        assert int(part.value.length.sum()) <= size or len(flat) == 1
        assert all(before[tp] <= offset for tp, offset in flat)
        taken += flat
    assert sorted(taken) == sorted(expected)
    for tp in (A, B):
        assert [o for there, o in taken if there == tp] == [o for there, o in expected if there == tp]


def test_lost_partitions_are_dropped():
    carry = RecordCarry()
    carry.put({A: [record(1)], B: [record(2)]})
    carry.put({A: [record(3)]})
    carry.drop([A])
    assert carry.first_offsets() == {B: 2}
    batch = carry.take(9, 9)
    assert (batch.partitions, batch.offset.tolist()) == ((B,), [2])


def test_what_is_given_back_is_handed_over_again():
    carry = RecordCarry()
    carry.put({A: [record(i) for i in range(6)], B: [record(i) for i in range(3)]})
    first = carry.take(9, 10**6)
    assert {tp: int((first.partition == i).sum()) for i, tp in enumerate(first.partitions)} == {A: 4, B: 3}
    carry.give_back({A: 2})
    assert carry.first_offsets() == {A: 2}
    assert carry.take(9, 10**6).offset.tolist() == [2, 3, 4, 5]
    assert not carry
