"""Every sink: what was flushed is durable, once, in order, with its bytes; and closing is orderly."""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from streamgmm import registry
from streamgmm.records import OutputRecord
from streamgmm.sinks._rendering import truncated_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamgmm.sinks import Sink

PATIENCE = 120.0


@dataclass
class Rig:
    """A way to open a sink on one place (again), and to read the values that are durable there."""

    open: Callable[[], Sink]
    read: Callable[[], list[bytes]]


def memory(tmp_path, request) -> Rig:
    del tmp_path, request
    from streamgmm.sinks import memory as m

    sinks: list[m.MemorySink] = []

    def open_sink() -> Sink:
        sinks.append(m.build(m.MemorySettings()))
        return sinks[-1]

    return Rig(open_sink, lambda: [r.value for sink in sinks for r in sink.records])


def file(tmp_path, request) -> Rig:
    del request
    from streamgmm.sinks import file as f

    path = tmp_path / "out.jsonl"

    def value_of(line: bytes) -> bytes:
        envelope = json.loads(line)
        if "value" not in envelope:
            return line
        value = envelope["value"]
        return base64.b64decode(value["base64"]) if isinstance(value, dict) else value.encode()

    return Rig(
        lambda: f.build(f.FileSettings(path)), lambda: [value_of(line) for line in path.read_bytes().splitlines()]
    )


def kafka(tmp_path, request) -> Rig:
    del tmp_path
    from brokers import read_all

    from streamgmm.bus.client import Connection, servers
    from streamgmm.sinks import kafka as k

    connection = Connection(servers(request.getfixturevalue("broker").bootstrap_servers))
    topic = f"out-{uuid.uuid4().hex[:8]}"
    chosen = k.KafkaSinkSettings(connection, topic)
    return Rig(lambda: k.build(chosen), lambda: [record.value for record in read_all(connection, topic)])


RIGS = {"memory": memory, "file": file, "kafka": kafka}
MARKS = {"kafka": [pytest.mark.integration]}


@pytest.fixture(params=[pytest.param(n, marks=MARKS.get(n, [])) for n in registry.names("sinks")])
def rig(request, rig_of, tmp_path):
    made = rig_of("sinks", request.param, RIGS)(tmp_path, request)
    opened: list[Sink] = []
    inner = made.open

    def open_sink() -> Sink:
        opened.append(inner())
        return opened[-1]

    made.open = open_sink
    yield made
    for sink in opened:
        sink.close(5.0)


def records(n: int, first: int = 0) -> list[OutputRecord]:
    return [OutputRecord(b'{"id":%d}' % i, b"k%d" % i, (("h", b"\xff"),)) for i in range(first, first + n)]


def values(written: list[OutputRecord]) -> list[bytes]:
    return [r.value for r in written]


def test_what_was_flushed_is_there_once_and_in_order(rig):
    sink = rig.open()
    written = records(500)
    for i in range(0, 500, 120):
        sink.write(written[i : i + 120])
    assert sink.flush(PATIENCE)
    assert rig.read() == values(written)
    assert sink.flush(PATIENCE)
    assert rig.read() == values(written)


def test_closing_flushes_and_may_be_done_twice(rig):
    sink = rig.open()
    sink.write(records(3))
    sink.close(PATIENCE)
    sink.close(PATIENCE)
    assert rig.read() == values(records(3))


def test_opening_again_adds_to_what_is_there(rig):
    for first in (0, 2):
        sink = rig.open()
        sink.write(records(2, first))
        sink.close(PATIENCE)
    assert rig.read() == values(records(4))


def test_any_bytes_arrive_as_they_were(rig):
    hostile = [b"\x00\xff\n\r", b"", b"two\nlines", "ключ\u2028".encode(), b"\xed\xa0\x80", bytes(range(256)) * 40]
    sink = rig.open()
    sink.write([OutputRecord(v, b"\xfe", (("streamgmm-reason", b"decode"), ("h", b"\x00\xff"))) for v in hostile])
    assert sink.flush(PATIENCE)
    assert rig.read() == hostile


def test_records_that_came_truncated_are_counted_when_they_are_flushed(rig):
    sink = rig.open()
    cut = OutputRecord(b"a", b"k", (("streamgmm-reason", b"oversize"), truncated_header(1000, 1)))
    sink.write([*records(2), cut, cut])
    assert not sink.cut
    assert sink.flush(PATIENCE)
    assert sink.cut == {"truncated": 2}


def test_nothing_is_written_and_flushed_at_once(rig):
    sink = rig.open()
    assert sink.flush(0.5)
    sink.write([])
    assert sink.flush(0.5)
    sink.close(PATIENCE)
    assert not rig.read()


def test_it_has_a_name_for_metrics(rig):
    assert rig.open().name
