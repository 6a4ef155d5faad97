"""The memory sink: what is durable, and the failures that a test may ask for."""

from __future__ import annotations

import pytest

from streamgmm.errors import StopError
from streamgmm.records import OutputRecord
from streamgmm.sinks import memory

ONE, TWO = OutputRecord(b"1"), OutputRecord(b"2")


def test_only_what_was_flushed_is_durable():
    sink = memory.build(memory.MemorySettings("audit"))
    sink.write([ONE])
    assert (sink.records, sink.pending) == ([], [ONE])
    assert sink.flush(1)
    assert (sink.records, sink.pending, sink.flushes) == ([ONE], [], [1])
    assert sink.name == "audit"


def test_failures_pass_and_nothing_is_lost_or_doubled():
    sink = memory.MemorySink()
    sink.write([ONE])
    sink.fail_flushes(2)
    assert [sink.flush(1) for _ in range(3)] == [False, False, True]
    sink.hold()
    sink.write([TWO])
    assert [sink.flush(1) for _ in range(5)] == [False] * 5
    sink.release()
    sink.close(1)
    sink.close(1)
    assert sink.records == [ONE, TWO]


def test_an_error_that_cannot_pass_is_raised():
    sink = memory.MemorySink()
    sink.stop_with(StopError("no such topic"))
    with pytest.raises(StopError, match="no such topic"):
        sink.flush(1)
