# mypy: disable-error-code="no-untyped-def, no-untyped-call, unreachable"
# ruff: noqa: ANN001, ANN201
# The signatures given to numba are the types; a second, unchecked set beside them could only lie.
"""Record batches of Kafka's format 2 as bare loops: headers into a table, records into slices.

No load lies behind the end that it was checked against: the bytes come from whoever may write to the topic
(tests/property/test_record_fuzz.py places them before an unreadable page).

Record batch: base offset i64, length i32, leader epoch i32, magic i8, checksum u32, attributes i16, last offset delta
i32, first timestamp i64, largest timestamp i64, producer id i64, producer epoch i16, base sequence i32, number of
records i32; then records, perhaps compressed. Record: length, attributes i8, timestamp delta, offset delta, key, value,
number of headers, headers; lengths and deltas are zig-zag varints, and a length of -1 is null.
"""

from __future__ import annotations

import numpy as np

from streamgmm.cache_kernels import njit

# Columns of a table of batches. Those up to EPOCH come out of the header; the others say what to hand over:
# records from offset FROM on, of the partition with index PARTITION, after the record with offset delta PREVIOUS.
START, END, BASE, LAST, FIRST_TIME, MAX_TIME, ATTRIBUTES, COUNT, CRC, PRODUCER, EPOCH = range(11)
FROM, PREVIOUS, PARTITION = range(11, 14)
COLUMNS = 14
# Rows of the output of `parse_records`.
OUT_PARTITION, OUT_OFFSET, OUT_TIME, KEY, KEY_LENGTH, VALUE, VALUE_LENGTH, HEADERS, HEADER_COUNT = range(9)
OUTPUTS = 9
# What a scan or a parse ended with.
FINE, LEGACY, BROKEN = 0, 1, 2

OVERHEAD, MAGIC_AT, CRC_AT, COVERED_AT, HEADER = 12, 16, 17, 21, 61
LOG_APPEND_TIME = 8
SMALLEST_RECORD = 7
LAST_OFFSET = np.int64(2**63 - 1)

# numba's own names, read by numba.
BYTES, TABLE = "Array(uint8, 1, 'C', readonly=True)", "int64[:, ::1]"


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def big_endian(data, at, size):
    """Return a signed number of `size` bytes."""
    value = np.int64(np.int8(data[at]))
    for i in range(1, size):
        value = (value << 8) | np.int64(data[at + i])
    return value


@njit(f"UniTuple(int64, 3)({BYTES}, {TABLE})", nogil=True, cache=True, error_model="numpy")
def scan_batches(data, table):
    """Write the headers of whole batches into the rows of a table; return their number, bytes and the status.

    A table without rows only counts. What a fetch's limit has cut off at the end is no batch, and no error.
    """
    n = 0
    at = 0
    size = data.shape[0]
    while at + HEADER <= size:
        length = big_endian(data, at + 8, 4)
        magic = data[at + MAGIC_AT]
        if magic < 2:
            return n, at, LEGACY
        if magic > 2 or length < HEADER - OVERHEAD:
            return n, at, BROKEN
        if length > size - at - OVERHEAD:
            break
        if table.shape[0] > 0:
            if n >= table.shape[0]:
                break
            row = table[n]
            row[START] = at + HEADER
            row[END] = at + OVERHEAD + length
            row[BASE] = big_endian(data, at, 8)
            row[EPOCH] = big_endian(data, at + 12, 4)
            row[CRC] = big_endian(data, at + CRC_AT, 4) & 0xFFFFFFFF
            row[ATTRIBUTES] = big_endian(data, at + 21, 2)
            row[LAST] = big_endian(data, at + 23, 4)
            row[FIRST_TIME] = big_endian(data, at + 27, 8)
            row[MAX_TIME] = big_endian(data, at + 35, 8)
            row[PRODUCER] = big_endian(data, at + 43, 8)
            row[COUNT] = big_endian(data, at + 57, 4)
            row[FROM] = 0
            row[PREVIOUS] = -1
            row[PARTITION] = 0
        n += 1
        at += OVERHEAD + length
    return n, at, FINE


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def varint(data, at, end):
    """Return a zig-zag varint and where it ends; -1 where it does not end before `end`."""
    value = np.uint64(0)
    shift = np.uint64(0)
    while at < end and shift < np.uint64(70):
        byte = np.uint64(data[at])
        at += 1
        value |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1)), at
        shift += np.uint64(7)
    return np.int64(0), np.int64(-1)


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def past_bytes(data, at, end):
    """Return the length of a nullable byte string, where it begins and where it ends; an end of -1 is broken."""
    length, at = varint(data, at, end)
    if at < 0 or length < -1 or length > end - at:
        return np.int64(0), np.int64(0), np.int64(-1)
    return length, at, at + max(length, np.int64(0))


@njit(nogil=True, cache=True, error_model="numpy")
def past_headers(data, at, end, count):
    """Return whether `count` headers end exactly at `end`."""
    for _ in range(count):
        length, _, at = past_bytes(data, at, end)
        if at < 0 or length < 0:
            return False
        _, _, at = past_bytes(data, at, end)
        if at < 0:
            return False
    return at == end


@njit(
    f"UniTuple(int64, 4)({BYTES}, {TABLE}, int64, int64, {TABLE})",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def parse_records(data, table, most_rows, most_bytes, out):
    """Write slices of records into the columns of `out` (OUTPUTS, at least most_rows).

    A row counts with the bytes of its key, value and headers; one row is taken even if it is larger than `most_bytes`.
    Returns the number of rows, of batches that are done, the status (of the next batch), and the bytes of the rows. The
    table's row of a batch that is not done says where to go on.
    """
    n = 0
    size = 0
    most_rows = min(most_rows, out.shape[1])
    for i in range(table.shape[0]):
        row = table[i]
        at, end, base, previous = row[START], row[END], row[BASE], row[PREVIOUS]
        stamped = (row[ATTRIBUTES] & LOG_APPEND_TIME) != 0
        if at < 0 or at > end or end > data.shape[0]:
            return n, i, BROKEN, size
        status = -1
        left = row[COUNT]
        while left > 0:
            if n >= most_rows:
                status = FINE
                break
            length, p = varint(data, at, end)
            if p < 0 or length < SMALLEST_RECORD - 1 or length > end - p:
                status = BROKEN
                break
            stop = p + length
            time, p = varint(data, p + 1, stop)
            if p < 0:
                status = BROKEN
                break
            delta, p = varint(data, p, stop)
            if p < 0 or delta <= previous or delta > row[LAST] or base > LAST_OFFSET - delta:
                status = BROKEN
                break
            key_length, key, p = past_bytes(data, p, stop)
            if p < 0:
                status = BROKEN
                break
            value_length, value, p = past_bytes(data, p, stop)
            if p < 0:
                status = BROKEN
                break
            count, p = varint(data, p, stop)
            if p < 0 or count < 0 or (p != stop if count == 0 else not past_headers(data, p, stop, count)):
                status = BROKEN
                break
            if base + delta >= row[FROM]:
                held = max(key_length, 0) + max(value_length, 0) + stop - p
                if n > 0 and held > most_bytes - size:
                    status = FINE
                    break
                size += held
                out[OUT_PARTITION, n] = row[PARTITION]
                out[OUT_OFFSET, n] = base + delta
                out[OUT_TIME, n] = row[MAX_TIME] if stamped else row[FIRST_TIME] + time
                out[KEY, n] = key
                out[KEY_LENGTH, n] = key_length
                out[VALUE, n] = value
                out[VALUE_LENGTH, n] = value_length
                out[HEADERS, n] = p
                out[HEADER_COUNT, n] = count
                n += 1
            at = stop
            previous = delta
            left -= 1
        row[START], row[PREVIOUS], row[COUNT] = at, previous, left
        if status < 0 and at != end:
            status = BROKEN
        if status >= 0:
            return n, i, status, size
    return n, table.shape[0], FINE, size
