"""Codecs against msgspec or numpy in a user's loop: CPU µs of one thread a record, bytes to rows, in one run.

`PYTHONPATH=. python tests/bench/bench_codecs.py` prints a table; `--write` also replaces it in docs/benchmarks.md.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import msgspec
import numpy as np

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

import pages  # noqa: E402  # found through the path above
from batches import record_batch  # noqa: E402  # as above

from streamgmm import registry  # noqa: E402  # as above
from streamgmm.codecs import CodecSettings, Field, Timestamp  # noqa: E402  # as above

RECORDS, FIELDS, ROUNDS, SEED = 10_000, 16, 15, 5
NAMES = [f"f{i}" for i in range(FIELDS)]
NUMBERS = tuple(Field(name, name) for name in NAMES)


def best(run, records):
    """Return the least CPU µs a record of a few runs."""
    least = np.inf
    for _ in range(ROUNDS):
        start = time.thread_time()
        run()
        least = min(least, time.thread_time() - start)
    return least / records * 1e6


def objects(rows, **how):
    return [json.dumps(dict(zip(NAMES, row, strict=True)), **how).encode() for row in rows]


def shuffled(rows, rng):
    return [json.dumps({NAMES[j]: row[j] for j in rng.permutation(FIELDS)}).encode() for row in rows]


def by_struct(payloads):
    """Return what a careful user writes: a typed decoder, and one array of all rows."""
    decode = msgspec.json.Decoder(msgspec.defstruct("Row", [(name, float) for name in NAMES])).decode
    return lambda: np.array([msgspec.structs.astuple(decode(payload)) for payload in payloads])


def by_list(payloads):
    decode = msgspec.json.Decoder(list[float]).decode
    return lambda: np.array([decode(payload) for payload in payloads])


def by_nested(payloads):
    decode = msgspec.json.Decoder(msgspec.defstruct("Row", [("ts", int), ("features", list[float])])).decode
    return lambda: (np.array([decode(payload).features for payload in payloads]),)


def by_float(payloads):
    return lambda: np.array([[float(cell) for cell in payload.split(b",")] for payload in payloads])


def by_join(dtype):
    return lambda payloads: lambda: np.frombuffer(b"".join(payloads), dtype).reshape(-1, FIELDS).astype(np.float64)


def by_maps(payloads):
    decode = msgspec.msgpack.Decoder(msgspec.defstruct("Row", [(name, float) for name in NAMES])).decode
    return lambda: np.array([msgspec.structs.astuple(decode(payload)) for payload in payloads])


def cases(rng):
    """Yield what it is, the codec, what it is told, the payloads, and what a user writes."""
    exact = (rng.normal(size=(RECORDS, FIELDS)) * 10).tolist()
    rows = [[round(value, 3) for value in row] for row in exact]
    plain = CodecSettings(NUMBERS)
    yield "JSON object", "json", plain, objects(rows, separators=(",", ":")), by_struct
    yield "the same, indented", "json", plain, objects(rows, indent=1), by_struct
    yield "the same, 17 digits", "json", plain, objects(exact), by_struct
    yield "the same, keys in random order", "json", plain, shuffled(rows, rng), by_struct
    yield "JSON array", "json", plain, [json.dumps(row).encode() for row in rows], by_list
    nested = CodecSettings(tuple(Field(name, f"features.{i}") for i, name in enumerate(NAMES)), Timestamp("ts", "ms"))
    around = {"id": "sensor-1", "tags": {"host": "h1", "zone": "eu"}}
    payloads = [json.dumps({**around, "ts": 1_700_000_000_000, "features": row}).encode() for row in rows]
    yield "JSON object, id, tags, ts, features[]", "json", nested, payloads, by_nested
    yield "CSV", "csv", plain, [",".join(map(str, row)).encode() for row in rows], by_float
    yield "float32", "float32", plain, [np.array(row, "<f4").tobytes() for row in rows], by_join("<f4")
    yield "float64", "float64", plain, [np.array(row, "<f8").tobytes() for row in rows], by_join("<f8")
    matrices = [np.repeat([row], 64, axis=0).astype("<f4").tobytes() for row in rows[:1000]]
    yield "float32, 64 rows", "float32", plain, matrices, by_join("<f4")
    maps = [msgspec.msgpack.encode(dict(zip(NAMES, row, strict=True))) for row in rows]
    yield "MessagePack map", "msgpack", plain, maps, by_maps


def table():
    """Yield the lines of a table, and check that nothing is rejected."""
    yield "| payload | bytes | ours | theirs | ratio |"
    yield "|---|--:|--:|--:|--:|"
    for what, name, told, payloads, theirs in cases(np.random.default_rng(SEED)):
        codec = registry.member("codecs", name).build(told)
        batch = record_batch(payloads)
        decoded = codec.decode(batch)
        assert len(decoded) >= len(payloads)
        assert not decoded.rejects
        ours = best(lambda: codec.decode(batch), len(payloads))  # noqa: B023 - run at once
        other = best(theirs(payloads), len(payloads))
        size = sum(map(len, payloads)) / len(payloads)
        yield f"| {what} | {size:.0f} | {ours:.3f} | {other:.3f} | {other / ours:.1f}× |"


def main(arguments):
    lines = []
    for line in table():
        print(line, flush=True)  # noqa: T201 - what it is for
        lines.append(line)
    if "--write" in arguments:
        pages.write("codecs", "\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
