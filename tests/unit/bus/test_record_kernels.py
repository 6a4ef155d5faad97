"""The compiled reader against its slow twin (tests/record_batches.py)."""

import struct

import numpy as np
import pytest
from record_batches import Broken, Row, batch, body, random_rows, read

from streamgmm.bus import record_kernels as columns
from streamgmm.bus.headers import HeaderColumn
from streamgmm.bus.rehearsal import TIME
from streamgmm.records import ByteColumn

PLENTY = 1 << 40


def scanned(data):
    data = np.frombuffer(data, dtype=np.uint8)
    n, size, status = columns.scan_batches(data, np.empty((0, columns.COLUMNS), dtype=np.int64))
    table = np.zeros((n, columns.COLUMNS), dtype=np.int64)
    if n:
        assert columns.scan_batches(data, table) == (n, size, status)
    return table, size, status


def parsed(data, table, most_rows=10_000, most_bytes=PLENTY):
    data = np.frombuffer(data, dtype=np.uint8)
    out = np.full((columns.OUTPUTS, most_rows), -7, dtype=np.int64)
    n, done, status, _ = columns.parse_records(data, table, most_rows, most_bytes, out)
    assert (out[:, n:] == -7).all()
    out = out[:, :n]
    keys = ByteColumn(data, out[columns.KEY], out[columns.KEY_LENGTH])
    values = ByteColumn(data, out[columns.VALUE], out[columns.VALUE_LENGTH])
    headers = HeaderColumn(data, out[columns.HEADERS], out[columns.HEADER_COUNT])
    rows = [
        Row(int(out[columns.OUT_OFFSET, i]), int(out[columns.OUT_TIME, i]), keys[i], values[i], tuple(headers[i]))
        for i in range(n)
    ]
    return rows, done, status


@pytest.fixture
def stream(rng):
    """Batches side by side, and the rows in them."""
    made, rows, base = [], [], 7
    for n in (1, 0, 5, 300, 2):
        some = random_rows(rng, base, n)
        last = (some[-1].offset if some else base) + int(rng.integers(0, 5))
        made.append(batch(some, base, last))
        rows += some
        base = last + 1 + int(rng.integers(0, 5))
    return made, rows


def test_headers_of_batches(rng):
    rows = random_rows(rng, 100, 3)
    first = batch(rows, 90, 200, attributes=0x18, producer=77)
    table, size, status = scanned(first + first + first[:-1])
    assert (len(table), size, status) == (2, 2 * len(first), columns.FINE)
    row = table[1]
    assert (row[columns.START], row[columns.END]) == (len(first) + columns.HEADER, 2 * len(first))
    assert (row[columns.BASE], row[columns.LAST], row[columns.COUNT]) == (90, 110, 3)
    assert (row[columns.ATTRIBUTES], row[columns.PRODUCER], row[columns.EPOCH]) == (0x18, 77, 3)
    assert (row[columns.FIRST_TIME], row[columns.MAX_TIME]) == (rows[0].timestamp, max(r.timestamp for r in rows))
    assert row[columns.CRC] == struct.unpack_from(">I", first, columns.CRC_AT)[0]


@pytest.mark.parametrize("size", range(columns.HEADER))
def test_what_the_fetch_has_cut_off_is_no_batch(size):
    assert scanned(batch([], 0, 0)[:size])[1:] == (0, columns.FINE)


@pytest.mark.parametrize(
    ("at", "byte", "status"),
    [(columns.MAGIC_AT, 1, columns.LEGACY), (columns.MAGIC_AT, 3, columns.BROKEN), (8, 0x80, columns.BROKEN),
     (11, 48, columns.BROKEN)],
)  # fmt: skip
def test_what_is_no_batch_ends_the_scan(at, byte, status):
    good = batch([Row(0, 0, None, b"", ())], 0, 0)
    bad = bytearray(good)
    bad[at] = byte
    table, size, ended = scanned(good + bytes(bad))
    assert (len(table), size, ended) == (1, len(good), status)


def test_records_are_what_was_written(stream):
    made, rows = stream
    data = b"".join(made)
    table, _, _ = scanned(data)
    assert parsed(data, table) == (rows, len(made), columns.FINE)


@pytest.mark.parametrize(("most_rows", "most_bytes"), [(1, PLENTY), (7, PLENTY), (1000, 1), (1000, 500), (3, 20_000)])
def test_it_goes_on_where_it_stopped(stream, most_rows, most_bytes):
    made, rows = stream
    data = b"".join(made)
    table, _, _ = scanned(data)
    seen, done = [], 0
    while done < len(table):
        some, more, status = parsed(data, table[done:], most_rows, most_bytes)
        assert status == columns.FINE
        assert len(some) <= most_rows
        held = sum(len(r.key or b"") + len(r.value or b"") + sum(len(n) + len(v) for n, v in r.headers) for r in some)
        assert held <= most_bytes or len(some) == 1
        assert some or more
        seen, done = seen + some, done + more
    assert seen == rows


def test_records_before_the_fetch_are_left_out_and_count_for_nothing(stream):
    made, rows = stream
    data = b"".join(made)
    table, _, _ = scanned(data)
    table[:, columns.FROM] = rows[20].offset
    assert parsed(data, table, len(rows) - 20)[:2] == (rows[20:], len(made))


def test_the_broker_may_stamp(rng):
    rows = random_rows(rng, 0, 4)
    data = batch(rows, 0, 10**6, attributes=columns.LOG_APPEND_TIME)
    latest = max(row.timestamp for row in rows)
    assert [row.timestamp for row in parsed(data, scanned(data)[0])[0]] == [latest] * 4


GOOD = Row(0, TIME, b"k", b"v", (("n", b"h"),))


@pytest.mark.parametrize(
    ("records", "count"),
    [
        pytest.param(body([GOOD], 0, TIME), 2, id="one record too few"),
        pytest.param(body([GOOD], 0, TIME), 0, id="one record too many"),
        pytest.param(body([GOOD], 0, TIME), -1, id="a negative number of records"),
        pytest.param(body([GOOD], 0, TIME)[:-1], 1, id="cut short"),
        pytest.param(body([GOOD], 0, TIME) + b"\0", 1, id="a byte behind it"),
        pytest.param(body([GOOD, GOOD], 0, TIME), 2, id="an offset twice"),
        pytest.param(body([GOOD._replace(offset=11)], 0, TIME), 1, id="an offset behind the last"),
        pytest.param(body([GOOD._replace(offset=-1)], 0, TIME), 1, id="an offset before the first"),
        pytest.param(b"\x0c\0\0\0\x01\x03\0", 1, id="a length of -2"),
        pytest.param(b"\x0c\0\0\0\x01\x01\x01", 1, id="a negative number of headers"),
        pytest.param(b"\x10\0\0\0\x01\x01\x02\x01\0", 1, id="a header without a name"),
        pytest.param(b"\x0e\0\0\0\x01\x01\0\0", 1, id="a record longer than what is in it"),
        pytest.param(b"\xff" * 12, 1, id="a varint without an end"),
        pytest.param(b"\x0c\0\0\0\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\0\0", 1, id="a length of 2⁶³ − 1"),
    ],
)
def test_what_breaks_a_rule_is_broken(records, count):
    data = batch([], 0, 10, compress=lambda _: records, count=count)
    table, _, _ = scanned(data)
    with pytest.raises(Broken):
        read(records, 0, TIME, 10, count)
    for _ in range(2):
        rows, done, status = parsed(data, table)
        assert (done, status) == (0, columns.BROKEN)
        if not rows:
            break
    assert not rows


def test_bounds_that_lie_outside_are_broken():
    data = batch([GOOD], 0, 0)
    for column, value in ((columns.END, len(data) + 1), (columns.START, -1), (columns.START, len(data) + 1)):
        table, _, _ = scanned(data)
        table[0, column] = value
        assert parsed(data, table) == ([], 0, columns.BROKEN)


def test_an_offset_beyond_the_last_one_there_can_be_is_broken():
    last = 2**63 - 1
    rows = [GOOD._replace(offset=last), GOOD._replace(offset=last + 1)]
    fetch = batch([], last, last, compress=lambda _: body(rows, last, TIME), count=2)
    fetch = fetch[:23] + struct.pack(">i", 10) + fetch[27:]
    table, _, _ = scanned(fetch)
    table[0, columns.FROM] = 0
    rows, done, status = parsed(fetch, table)
    assert ([row.offset for row in rows], done, status) == ([last], 0, columns.BROKEN)
    with pytest.raises(Broken):
        read(fetch[columns.HEADER :], last, TIME, 10, 2)
