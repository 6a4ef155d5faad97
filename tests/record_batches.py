"""Record batches as logs hold them, made at random, and the obviously right twin of their compiled reader."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from streamgmm.bus import record_kernels as columns
from streamgmm.bus.rehearsal import TIME, sealed


class Row(NamedTuple):
    """One record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Broken(Exception):  # noqa: N818 - a verdict, not an error
    """The bytes are no records."""


def varint(value):
    """Write a zig-zag varint."""
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(0x80 | (value & 0x7F))
        value >>= 7
    return bytes(out + bytes([value]))


def sized(value):
    """Write a nullable byte string."""
    return varint(-1) if value is None else varint(len(value)) + value


def body(rows, base, first_time):
    """Write records."""
    out = b""
    for offset, time, key, value, headers in rows:
        record = b"\0" + varint(time - first_time) + varint(offset - base) + sized(key) + sized(value)
        record += varint(len(headers)) + b"".join(sized(n.encode()) + sized(v) for n, v in headers)
        out += varint(len(record)) + record
    return out


def batch(rows, base, last, *, attributes=0, compress=lambda data: data, count=None, producer=-1):
    """Write a batch that holds rows between the offsets `base` and `last`; compaction may have taken others."""
    first_time = rows[0].timestamp if rows else TIME
    records = compress(body(rows, base, first_time))
    latest = max((row.timestamp for row in rows), default=-1)
    made = bytearray(columns.HEADER) + records
    struct.pack_into(
        ">qiibIhiqqqhii", made, 0, base, len(made) - columns.OVERHEAD, 3, 2, 0, attributes, last - base, first_time,
        latest, producer, 0, 0, len(rows) if count is None else count,
    )  # fmt: skip
    return sealed(made)


def random_rows(rng, base, n):
    """Return up to n rows from offset `base` on, with gaps, nulls and headers."""
    rows, offset = [], base
    for _ in range(n):
        key = None if rng.random() < 0.5 else rng.bytes(int(rng.integers(0, 40)))
        value = (
            None
            if rng.random() < 0.1
            else rng.bytes(int(rng.choice([0, 1, 64, 200, 9000], p=[0.1, 0.2, 0.4, 0.29, 0.01])))
        )
        named = rng.integers(0, 3) if rng.random() < 0.2 else 0
        headers = tuple(
            (f"n{'é' * int(rng.integers(0, 60))}", rng.bytes(int(rng.integers(0, 9)))) for _ in range(named)
        )
        rows.append(Row(offset, TIME + int(rng.integers(-(10**6), 10**6)), key, value, headers))
        offset += 1 if rng.random() < 0.9 else int(rng.integers(1, 300))
    return rows


def read(data, base, first_time, last, count):
    """Read records one byte after the other; raises Broken as soon as a rule is broken."""
    at, previous, rows = 0, -1, []
    for _ in range(count):
        length, at = read_varint(data, at)
        if length < 0 or at + length > len(data):
            raise Broken
        record, at = data[at : at + length], at + length
        time, p = read_varint(record, 1)
        delta, p = read_varint(record, p)
        if not previous < delta <= last or base + delta >= 2**63:
            raise Broken
        previous = delta
        key, p = read_bytes(record, p)
        value, p = read_bytes(record, p)
        number, p = read_varint(record, p)
        if number < 0:
            raise Broken
        headers = []
        for _ in range(number):
            name, p = read_bytes(record, p)
            content, p = read_bytes(record, p)
            if name is None:
                raise Broken
            headers.append((name.decode("utf-8", "replace"), content or b""))
        if p != len(record):
            raise Broken
        time = int(np.array(first_time + time & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64).astype(np.int64))
        rows.append(Row(base + delta, time, key, value, tuple(headers)))
    if at != len(data):
        raise Broken
    return rows


def read_varint(data, at):
    """Read a zig-zag varint of at most ten bytes."""
    value = 0
    for i in range(10):
        if at >= len(data):
            raise Broken
        value |= (data[at] & 0x7F) << 7 * i
        at += 1
        if data[at - 1] < 0x80:
            value &= 0xFFFFFFFFFFFFFFFF
            return (value >> 1) ^ -(value & 1), at
    raise Broken


def read_bytes(data, at):
    """Read a nullable byte string."""
    length, at = read_varint(data, at)
    if length < -1 or at + length > len(data):
        raise Broken
    return (None, at) if length < 0 else (data[at : at + length], at + length)
