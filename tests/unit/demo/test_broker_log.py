import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from streamgmm.demo.broker_log import PartitionLog, header, intact
from streamgmm.demo.broker_offsets import Committed, Offsets
from streamgmm.demo.broker_protocol import Code
from streamgmm.demo.broker_topics import Topics


def batch(n, *, producer=-1, epoch=-1, sequence=-1, time=1000, value=b"value"):
    builder = DefaultRecordBatchBuilder(2, 0, 0, producer, epoch, sequence, 1 << 20)
    for i in range(n):
        builder.append(i, time + i, None, value, [])
    return bytes(builder.build())


def offsets(data):
    found = []
    while data:
        size = struct.unpack_from(">i", data, 8)[0] + 12
        found += [record.offset for record in DefaultRecordBatch(data[:size])]
        data = data[size:]
    return found


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(0, 80), st.integers(1, 2000))
def test_a_read_starts_at_its_offset_keeps_its_limit_and_cuts_no_batch(sizes, offset, limit):
    log = PartitionLog()
    bases = [log.append(batch(n))[1] for n in sizes]
    assert bases == [sum(sizes[:i]) for i in range(len(sizes))]
    assert log.end == sum(sizes)
    read = log.read(offset, limit, at_least_one=True)
    found = offsets(read)
    if offset >= log.end:
        assert found == []
        return
    assert found[0] == max(base for base in bases if base <= offset)
    assert found == list(range(found[0], found[-1] + 1))
    first = next(n for base, n in zip(bases, sizes, strict=True) if base == found[0])
    assert len(read) <= limit or len(found) == first
    assert offsets(log.read(offset, limit, at_least_one=False)) == (found if len(read) <= limit else [])


def test_what_comes_damaged_is_refused():
    log = PartitionLog()
    good = batch(3)
    torn = bytearray(good)
    torn[-1] ^= 1
    for bad in (bytes(torn), good[:-1], good + b"x", b"", b"\0" * 70):
        assert not intact(bad)
        assert log.append(bad) == (Code.CORRUPT_MESSAGE, -1)
    assert log.end == 0


def test_sequences_are_checked():
    log = PartitionLog()
    first, second = batch(3, producer=7, epoch=0, sequence=0), batch(2, producer=7, epoch=0, sequence=3)
    assert log.append(first) == (Code.NONE, 0)
    assert log.append(second) == (Code.NONE, 3)
    assert log.append(first) == (Code.NONE, 0)  # again: the offset it got before
    assert log.end == 5
    assert log.append(batch(1, producer=7, epoch=0, sequence=9)) == (Code.OUT_OF_ORDER_SEQUENCE_NUMBER, -1)
    assert log.append(batch(1, producer=7, epoch=1, sequence=2)) == (Code.OUT_OF_ORDER_SEQUENCE_NUMBER, -1)
    assert log.append(batch(1, producer=7, epoch=1, sequence=0)) == (Code.NONE, 5)
    assert log.append(batch(1, producer=7, epoch=0, sequence=5)) == (Code.INVALID_PRODUCER_EPOCH, -1)
    assert log.append(batch(1, producer=8, epoch=0, sequence=40)) == (
        Code.NONE,
        6,
    )  # as Kafka since 2.5: unknown is new


def test_a_sequence_wraps():
    log = PartitionLog()
    assert log.append(batch(2, producer=7, epoch=0, sequence=(1 << 31) - 2))[0] == Code.NONE
    assert log.append(batch(1, producer=7, epoch=0, sequence=0)) == (Code.NONE, 2)


def test_times_are_found_and_deleted_records_are_not():
    log = PartitionLog()
    for i in range(3):
        log.append(batch(2, time=1000 + 10 * i))
    assert log.at_time(0) == (0, 1000)
    assert log.at_time(1002) == (2, 1010)
    assert log.at_time(1022) == (-1, -1)
    log.trim(3)
    assert log.start == 3
    assert log.at_time(0) == (3, 1011)
    assert offsets(log.read(3, 1 << 20, at_least_one=True)) == [2, 3, 4, 5]
    log.trim(99)
    assert (log.start, log.end) == (6, 6)


def test_a_file_holds_every_complete_batch_and_what_producers_sent(tmp_path):
    path = tmp_path / "t-0.log"
    log = PartitionLog(path)
    log.append(batch(3, producer=7, epoch=0, sequence=0))
    log.append(batch(2, producer=7, epoch=0, sequence=3))
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole + batch(4)[:-5])  # the process died in the middle of a write
    again = PartitionLog(path)
    assert again.end == 5
    assert path.read_bytes() == whole
    assert again.append(batch(2, producer=7, epoch=0, sequence=3)) == (Code.NONE, 3)
    assert again.append(batch(1, producer=7, epoch=0, sequence=5)) == (Code.NONE, 5)
    again.close()
    assert offsets(path.read_bytes()) == [0, 1, 2, 3, 4, 5]


def test_damage_shows():
    log = PartitionLog()
    for _ in range(3):
        log.append(batch(2))
    log.damage(3)
    data = log.read(0, 1 << 20, at_least_one=True)
    size = len(batch(2))
    assert [intact(data[i * size : (i + 1) * size]) for i in range(3)] == [True, False, True]
    assert header(data[size:]).base == 2


def test_topics_come_back_with_their_records(tmp_path):
    topics = Topics(tmp_path)
    assert topics.create("a.b", 2, {"x": "y"}) == Code.NONE
    assert topics.create("gone", 1) == Code.NONE
    topics.log("a.b", 1).append(batch(3))
    assert topics.delete("gone") == Code.NONE
    assert topics.grow("a.b", 3) == Code.NONE
    topics.close()
    again = Topics(tmp_path)
    assert {name: [log.end for log in logs] for name, logs in again.partitions.items()} == {"a.b": [0, 3, 0]}
    assert again.configs == {"a.b": {"x": "y"}}
    assert not list(tmp_path.glob("gone*"))
    again.close()


@pytest.mark.parametrize("name", ["", "no spaces", "../up", "x" * 250, "line\n"])
def test_names_that_could_be_paths_are_no_topics(name, tmp_path):
    topics = Topics(tmp_path)
    assert topics.create(name, 1) == Code.INVALID_TOPIC
    assert list(tmp_path.iterdir()) == []


def test_topics_are_refused_by_their_codes():
    topics = Topics(None)
    assert topics.create("t", 0) == Code.INVALID_PARTITIONS
    assert topics.create("t", 2) == Code.NONE
    assert topics.create("t", 2) == Code.TOPIC_ALREADY_EXISTS
    assert topics.grow("t", 2) == Code.INVALID_PARTITIONS
    assert topics.grow("u", 2) == topics.delete("u") == Code.UNKNOWN_TOPIC_OR_PARTITION
    assert topics.log("t", 2) is topics.log("t", -1) is topics.log("u", 0) is None


def test_offsets_come_back_without_a_torn_line(tmp_path):
    stored = Offsets(tmp_path)
    stored.store("g", "t", 0, Committed(5))
    stored.store("g", "t", 0, Committed(7, "why", 1))
    stored.store("h", "t", 1, Committed(1))
    stored.forget("h")
    stored.close()
    path = tmp_path / "offsets.jsonl"
    path.write_text(path.read_text() + '["g", "t", 0, 9')
    again = Offsets(tmp_path)
    assert again.get("g", "t", 0) == Committed(7, "why", 1)
    assert again.get("h", "t", 1).offset == -1
    assert again.partitions("g") == {"t": [0]}
    again.store("g", "t", 0, Committed(8))
    again.close()
    third = Offsets(tmp_path)
    assert third.get("g", "t", 0).offset == 8
    third.close()
