"""Mutated fetches against the compiled reader of record batches: python -m fuzz_records CASES SEED.

Each ends where memory ends, so that one byte too far ends this process; the verdict is compared with the slow twin's.
A chunk of cases has a generator of its own: what fails is repeated by its seed and chunk alone.
"""

from __future__ import annotations

import struct
import sys
from contextlib import suppress

import numpy as np
from guard_page import PAGE, guarded
from kafka.errors import KafkaError
from kafka.protocol.consumer import IsolationLevel
from record_batches import Broken, Row, batch, random_rows, read

from streamgmm.bus import record_kernels as columns
from streamgmm.bus.headers import HeaderColumn
from streamgmm.bus.rehearsal import Aborted, as_blocks, sealed
from streamgmm.records import ByteColumn

CHUNK = 1000
SPECIAL = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)
SIGNED = {1: "b", 4: "i", 8: "q"}
# Where a number of a header stands, and how long it is.
NUMBERS = ((0, 8), (8, 4), (16, 1), (21, 2), (23, 4), (27, 8), (35, 8), (43, 8), (57, 4))


def valid(rng):
    """Return a fetch of one to three batches."""
    data, base = b"", int(rng.integers(0, 1000))
    for _ in range(rng.integers(1, 4)):
        rows = random_rows(rng, base, int(rng.integers(0, 6)))
        rows = [row._replace(value=row.value and row.value[:100]) for row in rows]
        last = (rows[-1].offset if rows else base) + int(rng.integers(0, 3))
        data += batch(rows, base, last, attributes=int(rng.choice([0, 8, 16])))
        base = last + 1
    return data


def mutated(rng, data):
    """Return a fetch with up to four changes; none at all now and then."""
    data = bytearray(data)
    for _ in range(rng.integers(0, 5)):
        kind, at = rng.integers(0, 8), int(rng.integers(0, max(len(data), 1)))
        if kind == 0:
            data[at : at + 1] = bytes([1 << rng.integers(0, 8) ^ (data[at] if at < len(data) else 0)])
        elif kind == 1:
            data[at : at + 1] = bytes([rng.choice(SPECIAL)])
        elif kind == 2:
            data[at : at + 1] = rng.bytes(1)
        elif kind == 3:
            data[at:at] = bytes([rng.choice(SPECIAL)]) * int(rng.integers(1, 12))
        elif kind == 4:
            del data[at : at + int(rng.integers(1, 12))]
        elif kind == 5:
            del data[at:]
        elif kind == 6 and len(data) >= columns.HEADER:
            where, size = NUMBERS[rng.integers(0, len(NUMBERS))]
            data[where : where + size] = bytes([rng.choice(SPECIAL)]) * size
        elif len(data) >= columns.HEADER:
            # One batch over all there is: what was inserted or deleted is inside of it.
            struct.pack_into(">i", data, 8, len(data) - columns.OVERHEAD)
    return bytes(data[: 2 * PAGE])


def twin(data):
    """Return the rows of the batches before the first broken one, and with what the scan and the reading ended."""
    at, rows, done = 0, [], 0
    while len(data) - at >= columns.HEADER:
        base, length, _, magic, _, attributes, last, first_time, latest, _, _, _, count = struct.unpack_from(
            ">qiibIhiqqqhii", data, at
        )
        if magic not in range(3) or (magic == 2 and length < columns.HEADER - columns.OVERHEAD):
            return rows, done, columns.BROKEN, columns.FINE
        if magic < 2:
            return rows, done, columns.LEGACY, columns.FINE
        if at + columns.OVERHEAD + length > len(data):
            break
        try:
            body = data[at + columns.HEADER : at + columns.OVERHEAD + length]
            some = read(body, base, first_time, last, count)
        except Broken:
            return rows, done, scan_end(data), columns.BROKEN
        stamped = attributes & columns.LOG_APPEND_TIME
        rows += [row._replace(timestamp=latest) for row in some] if stamped else some
        at, done = at + columns.OVERHEAD + length, done + 1
    return rows, done, columns.FINE, columns.FINE


def scan_end(data):
    """Return with what a scan of the headers alone ends."""
    at = 0
    while len(data) - at >= columns.HEADER:
        length, magic = struct.unpack_from(">i", data, at + 8)[0], data[at + columns.MAGIC_AT]
        if magic < 2:
            return columns.LEGACY
        if magic != 2 or length < columns.HEADER - columns.OVERHEAD:
            return columns.BROKEN
        at += columns.OVERHEAD + length
        if at > len(data):
            break
    return columns.FINE


def compiled(data):
    """Return the same of the compiled reader, and rows that it read from the broken batch."""
    n, _, scan = columns.scan_batches(data, np.empty((0, columns.COLUMNS), dtype=np.int64))
    table = np.empty((n, columns.COLUMNS), dtype=np.int64)
    if n:
        columns.scan_batches(data, table)
    ends, bases = table[:, columns.END].tolist(), table[:, columns.BASE].tolist()
    table[:, columns.FROM] = -(2**63)
    out = np.empty((columns.OUTPUTS, len(data) // columns.SMALLEST_RECORD + 1), dtype=np.int64)
    found, done, status, _ = columns.parse_records(data, table, len(data), 1 << 40, out)
    out = out[:, :found]
    whole = int((out[columns.HEADERS] <= (ends[done - 1] if done else -1)).sum())
    key = ByteColumn(data, out[columns.KEY], out[columns.KEY_LENGTH])
    value = ByteColumn(data, out[columns.VALUE], out[columns.VALUE_LENGTH])
    headers = HeaderColumn(data, out[columns.HEADERS], out[columns.HEADER_COUNT])
    times, offsets = out[columns.OUT_TIME].tolist(), out[columns.OUT_OFFSET].tolist()
    rows = [Row(offsets[i], times[i], key[i], value[i], tuple(headers[i])) for i in range(found)]
    assert len(bases) == n
    return rows[:whole], done, scan, status


def survives(data):
    """Read a fetch as the daemon would, checksums put right: only the errors that it knows may come."""
    fetch, at = bytearray(data), 0
    while len(fetch) - at >= columns.HEADER:
        end = at + columns.OVERHEAD + struct.unpack_from(">i", fetch, at + 8)[0]
        if not at + columns.HEADER <= end <= len(fetch):
            break
        fetch[at:end] = sealed(fetch[at:end])
        at = end
    with suppress(KafkaError):
        as_blocks(bytes(fetch), 0, IsolationLevel.READ_COMMITTED, [Aborted(-1, 0), Aborted(0, 3)])


def main(cases, seed):
    """Run; prints the chunk that is being worked on."""
    place = guarded(bytes(2 * PAGE))
    broken = 0
    for chunk in range(-(-cases // CHUNK)):
        print(f"seed {seed} chunk {chunk}", flush=True)  # noqa: T201 - a program of its own
        rng = np.random.default_rng((seed, chunk))
        seeds = [valid(rng) for _ in range(20)]
        for case in range(CHUNK):
            data = mutated(rng, seeds[case % len(seeds)])
            view = place[len(place) - len(data) :]
            view[:] = np.frombuffer(data, dtype=np.uint8)
            ours, theirs = compiled(view), twin(data)
            assert ours == theirs, f"case {case}: {data.hex()}\n{ours}\n{theirs}"
            broken += theirs[3] == columns.BROKEN
            if case % 20 == 0:
                survives(data)
    print(f"{cases} cases, {broken} of them broken")  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
