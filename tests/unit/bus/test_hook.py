"""The hook in kafka-python, and its guards."""

import contextlib
import socket
import ssl
from types import SimpleNamespace

import pytest
from kafka import TopicPartition as KafkaTopicPartition
from kafka import errors
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport
from kafka.protocol.consumer import IsolationLevel
from kafka.protocol.frame import KafkaBytes
from kafka.record import MemoryRecords
from kafka.record.legacy_records import LegacyRecordBatchBuilder
from record_batches import Row, batch

from streamgmm.bus import hook, rehearsal
from streamgmm.bus.blocks import BlockCarry
from streamgmm.bus.damage import DamagedBatchError
from streamgmm.bus.hook import CONTROL, PATCHES, TRANSACTIONAL, BlockRecords, Patch, hasten
from streamgmm.bus.record_kernels import COUNT
from streamgmm.bus.rehearsal import ABORT, COMMIT, Aborted, misfit
from streamgmm.records import TopicPartition
from streamgmm.sources import Resume, kafka

READ_COMMITTED, READ_UNCOMMITTED = IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED
PARTITION = KafkaTopicPartition("t", 1)


def rows(base, n=3):
    return [Row(base + i, 1000 + i, b"k", b"v%d" % (base + i), ()) for i in range(n)]


def part(data, offset=0, **how):
    return BlockRecords(offset, PARTITION, MemoryRecords(data), **how)


def offsets(blocks):
    carry, found = BlockCarry(), []
    carry.put({PARTITION: blocks})
    while carry:
        found += carry.take(1000, 10**6).offset.tolist()
    return found


def test_a_fetch_is_taken_whole_and_drained():
    drained = []
    data = batch(rows(0), 0, 2) + batch(rows(3), 3, 9) + batch(rows(10), 10, 12)[:-1]
    fetched = part(data, 1, on_drain=drained.append)
    assert fetched
    assert offsets(fetched.take(5)) == [1, 2, 3, 4, 5]
    assert not fetched
    assert drained == [fetched]
    assert (fetched.next_fetch_offset, fetched.leader_epoch, fetched.topic_partition) == (10, 3, PARTITION)


def test_what_is_damaged_is_raised_after_what_comes_before_it_and_again():
    bad = bytearray(batch(rows(3), 3, 5))
    bad[-1] ^= 1
    fetched = part(batch(rows(0), 0, 2) + bytes(bad) + batch(rows(6), 6, 8))
    assert offsets(fetched.take(5)) == [0, 1, 2]
    assert fetched.next_fetch_offset == 3
    for _ in range(3):
        with pytest.raises(DamagedBatchError, match=r"t/1/3.*checksum") as caught:
            fetched.take(5)
    assert caught.value.next_offset == 6
    assert fetched  # until the consumer seeks away


def test_checksums_can_be_left_alone():
    bad = bytearray(batch(rows(3), 3, 5))
    bad[17] ^= 1
    assert offsets(part(bytes(bad), 3, check_crcs=False).take(5)) == [3, 4, 5]


def test_a_header_that_cannot_be_is_damage():
    bad = bytearray(batch(rows(3), 3, 5))
    bad[16] = 9
    with pytest.raises(DamagedBatchError, match="header is malformed"):
        part(bytes(bad), 3).take(5)


def transaction(base, producer, marker, n=2):
    data = batch(rows(base, n), base, base + n - 1, attributes=TRANSACTIONAL, producer=producer)
    end = Row(base + n, 1000, marker, b"\0" * 6, ())
    return data + batch([end], base + n, base + n, attributes=TRANSACTIONAL | CONTROL, producer=producer)


@pytest.mark.parametrize(
    ("level", "aborted", "found"),
    [
        (READ_UNCOMMITTED, [], [0, 1, 3, 4, 6, 7, 9, 10]),
        (READ_COMMITTED, [Aborted(5, 0)], [3, 4, 6, 7, 9, 10]),
        (READ_COMMITTED, [Aborted(5, 9), Aborted(5, 0)], [3, 4, 6, 7]),
        (READ_COMMITTED, [Aborted(6, 6)], [0, 1, 3, 4, 9, 10]),
        (READ_COMMITTED, [], [0, 1, 3, 4, 6, 7, 9, 10]),
        (READ_COMMITTED, None, [0, 1, 3, 4, 6, 7, 9, 10]),
    ],
)
def test_transactions(level, aborted, found):
    data = b"".join(
        transaction(3 * i, producer, marker)
        for i, (producer, marker) in enumerate([(5, ABORT), (5, COMMIT), (6, ABORT), (5, ABORT)])
    )
    assert rehearsal.as_library(data, 0, level, aborted)[1] == 12
    fetched = part(data, isolation_level=level, aborted_transactions=aborted)
    assert offsets(fetched.take(5)) == found
    assert fetched.next_fetch_offset == 12


def test_a_marker_that_compaction_emptied_is_none():
    empty = batch([], 2, 2, attributes=TRANSACTIONAL | CONTROL, producer=5)
    data = batch(rows(0, 2), 0, 1, attributes=TRANSACTIONAL, producer=5) + empty + batch(rows(3), 3, 5)
    fetched = part(data, isolation_level=READ_COMMITTED, aborted_transactions=[Aborted(5, 0)])
    assert offsets(fetched.take(5)) == [3, 4, 5]


def test_only_markers_move_the_position():
    fetched = part(transaction(0, 5, ABORT), 2)
    assert offsets(fetched.take(5)) == []
    assert (bool(fetched), fetched.next_fetch_offset) == (False, 3)


def test_what_was_written_before_kafka_0_11_is_left_to_the_library():
    builder = LegacyRecordBatchBuilder(1, 0, 1 << 20)
    for i in range(4):
        builder.append(i, 1000 + i, b"k" if i % 2 else None, b"%d" % i)
    fetched = part(bytes(builder.build()) + batch(rows(4), 4, 6), 1)
    carry = BlockCarry()
    carry.put({PARTITION: fetched.take(1000)})
    taken = carry.take(100, 10**6)
    assert taken.offset.tolist() == [1, 2, 3, 4, 5, 6]
    assert taken.timestamp.tolist() == [1001, 1002, 1003, 1000, 1001, 1002]
    assert [taken.value[i] for i in range(4)] == [b"1", b"2", b"3", b"v4"]
    assert [taken.key[i] for i in range(3)] == [b"k", None, b"k"]
    assert taken.partitions == (TopicPartition("t", 1),)
    assert not fetched


# --- the guards


def test_the_hook_fits_the_kafka_python_that_is_installed():
    assert misfit() == ""


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda *_: None, "TypeError"),
        (lambda *_: 0, "checksum does not match"),
    ],
)
def test_a_hook_that_fails_is_found_out(broken, reason, monkeypatch):
    monkeypatch.setattr(BlockRecords, "_intact", broken)
    assert reason in misfit()


def test_a_hook_that_reads_otherwise_is_found_out(monkeypatch):
    monkeypatch.setattr(BlockRecords, "_wanted", lambda _, __, table: table[:, COUNT] > 1)
    monkeypatch.setattr(rehearsal, "SAMPLE", rehearsal.SAMPLE[:1])
    assert misfit() == "blocks and records differ under read_uncommitted"


def test_a_library_that_changed_its_arguments_is_found_out(monkeypatch):
    monkeypatch.setattr(rehearsal.Fetcher.PartitionRecords, "__init__", lambda _, __: None)
    assert misfit() == "PartitionRecords takes _, __"


def test_a_library_that_asks_for_something_else_is_found_out(monkeypatch):
    monkeypatch.setattr(rehearsal.Fetcher, "_parse_fetched_data", lambda _: None)
    assert misfit() == "the fetcher does not ask for PartitionRecords"


def test_a_misfit_falls_back_with_a_warning(monkeypatch, caplog):
    asked = SimpleNamespace(_fetcher=SimpleNamespace(PartitionRecords=None), subscribe=lambda *_, **__: None,
                            partitions_for_topic=lambda _: {0})  # fmt: skip
    monkeypatch.setattr(kafka.client, "consumer", lambda *_, **__: asked)
    monkeypatch.setattr(rehearsal, "misfit", lambda: "it has changed")
    source = kafka.build(kafka.KafkaSourceSettings(None, ("t",)), now=lambda: 0.0)
    monkeypatch.setattr(kafka, "client_options", lambda _: {})
    source.start(Resume({}, 0))
    assert not source.hooked
    assert asked._fetcher.PartitionRecords is not BlockRecords
    assert "one by one" in caplog.text
    assert "it has changed" in caplog.text


# --- the receive path


@pytest.fixture
def classes():
    """Classes of their own, as the library has them before anybody patches."""

    class Frame(bytearray):
        def read(self, nbytes=None):
            return nbytes

        def write(self, data):
            return data

    return Frame


def test_a_method_is_replaced_where_it_is_as_expected_and_once(classes, caplog):
    patch = Patch(classes, "read", hook._read, hook.fingerprint(classes.read))
    assert hasten([patch]) == []
    assert classes.read is hook._read
    assert hasten([patch]) == []
    assert not caplog.records


@pytest.mark.parametrize("name", ["read", "gone"])
def test_a_method_that_is_not_as_expected_is_left_alone(name, classes, caplog):
    before = classes.__dict__.get(name)
    assert hasten([Patch(classes, name, hook._read, "0123456789abcdef")]) == [f"Frame.{name}"]
    assert classes.__dict__.get(name) is before
    assert f"Frame.{name}" in caplog.text


def test_without_sources_there_is_no_fingerprint():
    assert hook.fingerprint(len) == ""


def test_the_library_is_as_expected():
    assert hasten() == []
    assert all(patch.owner.__dict__[patch.name] is patch.replacement for patch in PATCHES)


@pytest.fixture
def frame():
    hasten()
    made = KafkaBytes(10)
    made.write(b"01234")
    made.write(memoryview(b"56789"))
    return made


def test_frames_are_written_and_read_in_parts(frame):
    assert frame.tell() == 10
    frame.seek(0)
    assert (frame.read(4), frame.read(0), frame.tell()) == (b"0123", b"", 4)
    assert type(frame.read(1)) is bytes
    assert frame.read() == b"56789"
    assert (frame.read(), frame.read(5), frame.tell()) == (b"", b"", 10)
    frame.seek(8)
    assert (frame.read(99), frame.tell()) == (b"89", 10)


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield near, far


def receive(transport, sock):
    hasten()
    return transport._sock_recv(SimpleNamespace(_sock=sock))


def test_a_plain_socket_is_read_until_it_is_empty(pair):
    near, far = pair
    assert receive(KafkaTCPTransport, near) == (b"", None)
    far.sendall(b"abc")
    assert receive(KafkaTCPTransport, near) == (b"abc", None)
    far.close()
    data, error = receive(KafkaTCPTransport, near)
    assert data == b""
    assert isinstance(error, errors.KafkaConnectionError)
    assert "socket disconnected" in str(error)


class Tls:
    """A TLS socket that hands out what it is told, and knows more than the selector."""

    def __init__(self, *answers):
        self._answers = list(answers)

    def recv_into(self, room):
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        room[: len(answer)] = answer
        return len(answer)

    def pending(self):
        return len(self._answers[0]) if self._answers and isinstance(self._answers[0], bytes) else 0


@pytest.mark.parametrize("dry", [ssl.SSLWantReadError(), ssl.SSLWantWriteError(), BlockingIOError()])
def test_tls_is_read_until_nothing_is_pending(dry):
    assert receive(KafkaSSLTransport, Tls(b"ab", b"c", dry)) == (b"abc", None)
    big = bytes(hook.TURN_SIZE)
    assert receive(KafkaSSLTransport, Tls(big, b"tail", dry)) == (big + b"tail", None)


def test_a_turn_ends_however_much_there_is(pair):
    near, far = pair
    sent = 0
    far.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += far.send(bytes(1 << 16))
    data, _ = receive(KafkaTCPTransport, near)
    assert len(data) == min(sent, hook.TURN_SIZE + hook.SLACK)
    endless = Tls(*[bytes(hook.TURN_SIZE // 4)] * 9)
    endless.pending = lambda: 0
    assert len(receive(KafkaSSLTransport, endless)[0]) == hook.TURN_SIZE


def test_tls_that_fails_or_ends_says_so():
    data, error = receive(KafkaSSLTransport, Tls(b"last", b""))
    assert (data, str(error)) == (b"last", "KafkaConnectionError: socket disconnected")
    assert "gone" in str(receive(KafkaSSLTransport, Tls(ConnectionResetError("gone")))[1])
