import pytest
from kafka.record.default_records import DefaultRecordBatchBuilder

from streamgmm.bus.damage import CheckedRecords, following


def batch(base, n, *, damaged=False):
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for i in range(n):
        builder.append(i, 0, None, b"value", [])
    made = bytearray(builder.build())
    made[:8] = base.to_bytes(8, "big")
    if damaged:
        made[-3] ^= 1
    return bytes(made)


@pytest.mark.parametrize(
    ("fetched", "offset", "after"),
    [
        (batch(0, 4) + batch(4, 4, damaged=True) + batch(8, 4), 4, 8),
        # A gap behind it: the next batch says where to go on, not the damaged one's own header.
        (batch(4, 4, damaged=True) + batch(20, 4), 4, 20),
        (batch(4, 4, damaged=True), 4, 8),
        # Read from its middle on.
        (batch(4, 4, damaged=True), 6, 8),
        # Cut short by the fetch's limit: nothing can be said, and the next fetch brings it whole.
        (batch(4, 4, damaged=True)[:-10], 4, 5),
        # Whole, but what is inside cannot be decoded.
        (batch(0, 4) + batch(4, 4) + batch(8, 4), 4, 8),
        (b"", 4, 5),
    ],
)
def test_where_to_go_on(fetched, offset, after):
    assert following(fetched, offset) == after


def test_what_went_wrong_is_raised_again():
    from kafka import TopicPartition
    from kafka.record import MemoryRecords

    from streamgmm.bus.damage import DamagedBatchError

    fetched = batch(0, 3) + batch(3, 3, damaged=True) + batch(6, 3)
    records = CheckedRecords(0, TopicPartition("t", 1), MemoryRecords(fetched))
    assert [r.offset for r in records.take(100)] == [0, 1, 2]
    for _ in range(3):
        with pytest.raises(DamagedBatchError, match="t/1/3") as caught:
            records.take(100)
    assert (caught.value.partition, caught.value.offset, caught.value.next_offset) == (("t", 1), 3, 6)


def test_a_missing_codec_is_no_damage(monkeypatch):
    from kafka import TopicPartition, errors
    from kafka.record import MemoryRecords

    def missing(*_):
        raise errors.UnsupportedCodecError("zstd")

    records = CheckedRecords(0, TopicPartition("t", 1), MemoryRecords(batch(0, 3)))
    monkeypatch.setattr("kafka.record.default_records.DefaultRecordBatch._maybe_uncompress", missing)
    for _ in range(2):
        with pytest.raises(errors.UnsupportedCodecError):
            records.take(1)
