"""A header without a value goes through kafka-python's producer and its record builder as what it is."""

from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from streamgmm.bus.null_headers import sendable

HEADERS = [("a", b"1"), ("b", b""), ("c", None)]


def written(headers):
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    assert builder.append(0, 0, None, b"v", headers) is not None
    (record,) = DefaultRecordBatch(bytes(builder.build()))
    return list(record.headers)


def test_what_the_producer_takes_is_written_with_its_nulls():
    taken = sendable(HEADERS)
    assert isinstance(taken, list)
    assert all(isinstance(value, bytes) for _, value in taken)
    assert sum(len(value) for _, value in taken) == 1
    assert written(taken) == HEADERS
    assert written(sendable([])) == []
    assert written(sendable(HEADERS[:2])) == HEADERS[:2]
