"""Blocks of record batches, and how polls take their part of them."""

import gzip

import lz4.frame
import numpy as np
import pytest
import snappy
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import errors
from record_batches import Row, batch, random_rows

from streamgmm.bus import blocks
from streamgmm.bus import record_kernels as columns
from streamgmm.bus.blocks import Block, BlockCarry, batches_of
from streamgmm.bus.damage import DamagedBatchError
from streamgmm.bus.decompression import Bound
from streamgmm.bus.rehearsal import TIME
from streamgmm.records import TopicPartition

A, B = TopicPartition("t", 0), TopicPartition("t", 1)
COMPRESS = (
    lambda data: data, gzip.compress, snappy.compress, lz4.frame.compress,
    # As Java writes it: a stream that does not say how long it is.
    lambda data: zstandard.ZstdCompressor(write_content_size=False).compress(data),
)  # fmt: skip


def block(partition, data):
    return Block(partition, data, batches_of(data)[0])


def rows_of(batch):
    fields = (batch.offset.tolist(), batch.timestamp.tolist(), batch.key, batch.value, map(tuple, batch.headers))
    return [(batch.topic_partition(i), Row(*row)) for i, row in enumerate(zip(*fields, strict=True))]


def size_of(row):
    return len(row.key or b"") + len(row.value or b"") + sum(len(n.encode()) + len(v) for n, v in row.headers)


@pytest.fixture
def carry():
    return BlockCarry()


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12)), max_size=5), max_size=5),
    st.integers(1, 40),
    st.sampled_from([1, 80, 3000, 10**9]),
    st.integers(0, 2**32 - 1),
)
def test_takes_are_bounded_in_order_and_complete(fetches, most_rows, most_bytes, seed):
    rng, carry, expected, base = np.random.default_rng(seed), BlockCarry(), [], {A: 3, B: 100}
    for i, made in enumerate(fetches):
        tp, data = (A, B)[i % 2], b""
        for codec, n in made:
            rows = random_rows(rng, base[tp], n)
            last = (rows[-1].offset if rows else base[tp]) + int(rng.integers(0, 3))
            data += batch(rows, base[tp], last, attributes=codec, compress=COMPRESS[codec])
            expected += [(tp, row) for row in rows]
            base[tp] = last + 1
        carry.put({tp: [block(tp, data)]})
    taken = []
    while carry:
        before = carry.first_offsets()
        part = carry.take(most_rows, most_bytes)
        some = rows_of(part)
        assert len(some) <= most_rows
        assert sum(size_of(row) for _, row in some) <= most_bytes or len(some) == 1
        assert all(before[tp] <= row.offset for tp, row in some)
        assert set(part.partitions) == {tp for tp, _ in some}
        for tp, offset in carry.first_offsets().items():
            assert all(row.offset < offset for there, row in some if there == tp)
        taken += some
    for tp in (A, B):
        assert [row for there, row in taken if there == tp] == [row for there, row in expected if there == tp]
    assert len(taken) == len(expected)


def test_an_uncompressed_fetch_is_handed_over_without_a_copy(carry):
    data = batch([Row(i, TIME, None, b"%d" % i, ()) for i in range(9)], 0, 8)
    carry.put({A: [block(A, data)]})
    for _ in range(2):
        taken = carry.take(5, 1000)
        assert taken.value.buffer.tobytes() == data
        assert np.shares_memory(taken.value.buffer, np.frombuffer(data, dtype=np.uint8))
        assert taken.value.start.dtype == taken.offset.dtype == np.int64
        assert taken.value.start.flags.c_contiguous


def test_a_batch_is_decompressed_once_and_not_before_it_is_due(carry, monkeypatch):
    seen = []

    def decode(data):
        seen.append(len(data))
        return gzip.decompress(data)

    monkeypatch.setattr(blocks, "CODECS", {1: ("gzip", lambda: True, decode)})
    rows = [Row(i, TIME, None, b"x" * 50, ()) for i in range(50)]
    data = b"".join(
        batch(rows[base : base + 10], base, base + 9, attributes=1, compress=gzip.compress) for base in range(0, 50, 10)
    )
    carry.put({A: [block(A, data)]})
    for decoded in (1, 1, 1, 2):
        assert len(carry.take(3, 10**6)) == 3
        assert len(seen) == decoded
    assert len(carry.take(100, 10**6)) == 38
    assert len(seen) == 5
    assert not carry


def test_a_position_runs_over_gaps_and_never_over_what_is_carried(carry):
    data = batch([Row(7, TIME, None, b"", ()), Row(9, TIME, None, b"", ())], 5, 12) + batch([], 13, 15)
    data += batch([Row(20, TIME, None, b"", ())], 18, 20)
    carried = block(A, data)
    carry.put({A: [carried]})
    assert carry.first_offsets() == {A: 5}
    carry.take(1, 1000)
    assert carry.first_offsets() == {A: 8}
    carry.take(1, 1000)
    carry.take(1, 1000)
    assert carry.first_offsets() == {}


def test_lost_partitions_are_dropped(carry):
    one = batch([Row(1, TIME, None, b"1", ())], 1, 1)
    carry.put({A: [block(A, one)], B: [block(B, one)]})
    carry.put({A: [block(A, one)]})
    carry.drop([A])
    assert carry.first_offsets() == {B: 1}
    taken = carry.take(9, 9)
    assert (taken.partitions, taken.offset.tolist(), taken.partition.tolist()) == ((B,), [1], [0])


GOOD = batch([Row(4, TIME, None, b"good", ())], 4, 4)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(batch([], 5, 9, compress=lambda _: b"\x0c\0\0\0\x01\x03\0", count=1), id="a record is malformed"),
        pytest.param(batch([], 5, 9, compress=lambda _: b"\0" * 6, count=10**9), id="too short for what it claims"),
        pytest.param(
            batch([], 5, 9, compress=lambda _: b"no gzip", count=1, attributes=1), id="not compressed like that"
        ),
        pytest.param(batch([], 5, 9, count=1, attributes=7), id="a codec that nobody knows"),
    ],
)
def test_a_damaged_batch_is_named_after_all_before_it_was_handed_over(bad, carry):
    carry.put({A: [block(A, GOOD + bad + GOOD)]})
    assert carry.take(100, 10**6).offset.tolist() == [4]
    for _ in range(2):  # again and again, until somebody decides
        with pytest.raises(DamagedBatchError, match="t/0/5") as caught:
            carry.take(100, 10**6)
    assert (caught.value.partition, caught.value.offset, caught.value.next_offset) == (A, 5, 10)
    carry.drop([A])
    assert len(carry.take(100, 10**6)) == 0


def test_nothing_overtakes_a_damaged_batch(carry):
    bad = batch([], 5, 9, compress=lambda _: b"no gzip", count=1, attributes=1)
    carry.put({A: [block(A, GOOD + bad)]})
    carry.put({A: [block(A, batch([Row(10, TIME, None, b"later", ())], 10, 10))]})
    assert carry.take(100, 10**6).offset.tolist() == [4]
    with pytest.raises(DamagedBatchError):
        carry.take(100, 10**6)


def test_records_before_the_malformed_one_are_handed_over(carry):
    rows = [Row(i, TIME, None, b"x", ()) for i in range(3)]
    data = batch(rows, 0, 5, compress=lambda body: body + b"\x0c\0\0\0\x01\x03\0", count=4)
    carry.put({A: [block(A, data)]})
    assert carry.take(100, 10**6).offset.tolist() == [0, 1, 2]
    assert carry.first_offsets() == {A: 3}
    with pytest.raises(DamagedBatchError, match="t/0/3"):
        carry.take(100, 10**6)


def test_a_missing_library_is_no_damage(carry, monkeypatch):
    monkeypatch.setattr(blocks, "CODECS", {4: ("zstd", lambda: False, gzip.decompress)})
    carry.put({A: [block(A, batch([], 5, 9, count=1, attributes=4))]})
    for _ in range(2):
        with pytest.raises(errors.UnsupportedCodecError, match="zstd"):
            carry.take(100, 10**6)


def test_a_header_may_claim_any_number_of_records(carry):
    """Room is made for as many as fit into the bytes, whatever the header says."""
    rows = [Row(i, TIME, None, b"", ()) for i in range(3)]
    carry.put({A: [block(A, batch(rows, 0, 2, count=2**31 - 1))]})
    assert len(carry.take(2**40, 2**40)) == 3
    assert columns.SMALLEST_RECORD == 7


@settings(deadline=None)
@given(st.integers(0, 4), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_what_is_given_back_is_handed_over_again(codec, most_rows, seed):
    rng, carry, expected, base = np.random.default_rng(seed), BlockCarry(), {A: [], B: []}, {A: 3, B: 100}
    for i in range(4):
        tp = (A, B)[i % 2]
        data = b""
        for n in rng.integers(0, 12, 3).tolist():
            rows = random_rows(rng, base[tp], n)
            last = (rows[-1].offset if rows else base[tp]) + int(rng.integers(0, 3))
            data += batch(rows, base[tp], last, attributes=codec, compress=COMPRESS[codec])
            expected[tp] += rows
            base[tp] = last + 1
        carry.put({tp: [block(tp, data)]})
    taken = {A: [], B: []}
    while carry:
        some = rows_of(carry.take(most_rows, int(rng.choice([80, 10**6]))))
        back = {}
        for tp in {there for there, _ in some}:
            mine = [row for there, row in some if there == tp]
            kept = int(rng.integers(0, len(mine) + 1))
            taken[tp] += mine[:kept]
            if kept < len(mine):
                back[tp] = mine[kept].offset
        carry.give_back(back)
        first = carry.first_offsets()
        assert all(first[tp] == offset for tp, offset in back.items())
    assert taken == expected


def test_a_portion_of_each_partition_is_taken(carry):
    for tp in (A, B):
        data = b"".join(batch([Row(i, TIME, None, b"x" * 50, ())], i, i) for i in range(100))
        carry.put({tp: [block(tp, data)]})
    taken = carry.take(20, 10**6)
    assert taken.partitions == (A, B)
    assert np.bincount(taken.partition).tolist() == [10, 10]
    assert taken.value.buffer.nbytes < 3000, "no more is copied than was taken"
    carry.give_back({A: 3})
    assert np.bincount(carry.take(20, 10**6).partition).tolist()[0] < 10, "A gives less now"


def test_decompressed_bytes_are_bounded(carry):
    """What is decompressed ahead of time is forgotten where it is too much, and decompressed again when it is due."""
    data = batch([Row(i, TIME, None, b"x" * 1000, ()) for i in range(100)], 0, 99, attributes=1, compress=gzip.compress)
    for tp in (A, B):
        carry.put({tp: [block(tp, data)]})
    seen = {A: [], B: []}
    while carry:
        for tp, row in rows_of(carry.take(8, 10_000)):
            seen[tp].append(row.offset)
        held = sum(len(body) for blocks in carry._blocks.values() for b in blocks for body in b._bodies.values())
        assert held <= 2 * 110_000
    assert seen == {A: list(range(100)), B: list(range(100))}


def test_a_batch_that_holds_too_much_is_damage_and_what_came_before_it_is_handed_over(carry, monkeypatch):
    monkeypatch.setattr(Bound, "most", 1 << 20)
    small = batch([Row(0, TIME, None, b"x", ())], 0, 0, attributes=1, compress=gzip.compress)
    bomb = batch([Row(1, TIME, None, bytes(2 << 20), ())], 1, 1, attributes=1, compress=gzip.compress)
    carry.put({A: [block(A, small + bomb)]})
    assert carry.take(100, 10**9).offset.tolist() == [0]
    with pytest.raises(DamagedBatchError, match="TooLargeError: more than 1 MiB"):
        carry.take(100, 10**9)


def test_batches_that_hold_much_are_not_all_decompressed_at_once(carry, monkeypatch):
    monkeypatch.setattr(Bound, "most", 1000)
    partitions = [TopicPartition("t", n) for n in range(6)]
    for tp in partitions:
        rows = [Row(i, TIME, None, bytes(40), ()) for i in range(10)]
        carry.put({tp: [block(tp, batch(rows, 0, 9, attributes=1, compress=gzip.compress))]})
    seen = set()
    while carry:
        found = carry.take(6, 10**6)
        assert 0 < len(found.partitions) <= 3
        seen |= set(found.partitions)
    assert seen == set(partitions)
