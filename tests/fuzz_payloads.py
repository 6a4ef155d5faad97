"""Mutated payloads against the compiled readers of codecs: python -m fuzz_payloads CASES SEED.

Each stands behind the payload that it was made of, so that the reader expects its keys, and ends where memory ends, so
that one byte too far ends this process. What a reader is sure of must be what the careful reading says, to the bit.
A chunk of cases has a generator of its own: what fails is repeated by its seed and chunk alone.
"""

from __future__ import annotations

import random
import sys

import numpy as np
from batches import record_batch
from codec_payloads import NAMES, document, line, mutated, packed
from guard_page import PAGE, guarded

from streamgmm import registry
from streamgmm.codecs import CodecSettings, Field, Timestamp
from streamgmm.records import REJECT_REASONS

CHUNK = 1000
NUMBERS = tuple(Field(name, name) for name in NAMES)
STATE = Field("state", "state", "category")
POSITIONS = tuple(
    Field(f"f{i}", f"{kind}.{i}") for i, kind in enumerate(["mem", "disk.io", "x", "x", "cpu", "an", "é"])
)
PLACES = tuple(Field(f"c{i}", f"c{i}", "category" if i == 4 else "number") for i in range(7))
# Name of the codec, what it is told, and how its payloads are made.
FORMATS = (
    ("json", CodecSettings(NUMBERS, Timestamp("ts", "ms"), max_missing=1.0), lambda rng: document(rng, "ms")),
    ("json", CodecSettings((*NUMBERS, STATE), Timestamp("ts", "iso")), lambda rng: document(rng, "iso")),
    ("json", CodecSettings((STATE, *POSITIONS), Timestamp("ts", "ns")), lambda rng: document(rng, "ns")),
    ("json", CodecSettings(NUMBERS[:2], Timestamp("ts", "s")), lambda rng: document(rng, "s")),
    ("msgpack", CodecSettings(NUMBERS, Timestamp("ts", "ms"), max_missing=1.0), lambda rng: packed(rng, "ms")),
    ("msgpack", CodecSettings((STATE, *POSITIONS), Timestamp("ts", "iso")), lambda rng: packed(rng, "iso")),
    ("msgpack", CodecSettings(NUMBERS[:2], Timestamp("ts", "ns")), lambda rng: packed(rng, "ns")),
    ("csv", CodecSettings(PLACES), line),
    ("csv", CodecSettings(PLACES, delimiter=" "), lambda rng: line(rng, b" ")),
    ("float32", CodecSettings(PLACES[:3]), lambda rng: rng.randbytes(12 * rng.randrange(4))),
    ("float64", CodecSettings(PLACES[:3]), lambda rng: rng.randbytes(24 * rng.randrange(3))),
)


def bits(values):
    """Return what tells floats apart, all NaN being one."""
    values = np.array(values, dtype=np.float64)
    return np.where(np.isnan(values), np.nan, values).view(np.int64).tolist()


def check_text(codec, place, before, data, length):
    """Compare both readings of the first `length` bytes of `data`; return whether the quick one was sure."""
    view = place[len(place) - len(before) - len(data) :]
    view[:] = np.frombuffer(before + data, dtype=np.uint8)
    starts, lengths = np.array([0, len(before)]), np.array([len(before), length])
    X, time, read = codec._quick(view, starts, lengths)
    if not read[1]:
        return False
    values, moment = codec._careful(memoryview(data)[:length], {})
    assert bits(X[1]) == bits(values), f"{X[1]} {values}"
    assert bits(time[1]) == bits(moment), f"{time[1]} {moment}"
    return True


def check_packed(codec, place, data):
    """Unpack what ends where memory ends, and compare with numpy."""
    view = place[len(place) - len(data) :]
    view[:] = np.frombuffer(data, dtype=np.uint8)
    batch = record_batch([data])
    object.__setattr__(batch.value, "buffer", view)
    decoded = codec.decode(batch)
    whole = data if len(data) % codec._width == 0 else b""
    with np.errstate(invalid="ignore"):
        rows = np.frombuffer(whole, codec._dtype).astype(np.float64).reshape(-1, 3)
    fine = [row for row in rows.tolist() if not np.isinf(row).any() and np.isnan(row).sum() <= 1]
    assert bits(decoded.X) == bits(np.reshape(fine, (-1, 3)))
    return bool(fine)


def survives(codec, data):
    """Decode as the daemon would: any bytes are a row or a reject."""
    decoded = codec.decode(record_batch([data]))
    assert len(decoded) > 0 or decoded.rejects
    assert all(reject.reason in REJECT_REASONS and reject.detail for reject in decoded.rejects)


def main(cases, seed):
    """Run; prints the chunk that is being worked on."""
    place = guarded(bytes(4 * PAGE))
    codecs = [(registry.member("codecs", name).build(told), make) for name, told, make in FORMATS]
    sure = 0
    for chunk in range(-(-cases // CHUNK)):
        print(f"seed {seed} chunk {chunk}", flush=True)  # noqa: T201 - a program of its own
        rng = random.Random(f"{seed} {chunk}")
        seeds = [[make(rng)[:PAGE] for _ in range(10)] for _, make in codecs]
        for case in range(CHUNK):
            codec, _ = codecs[case % len(codecs)]
            original = rng.choice(seeds[case % len(codecs)])
            data = mutated(rng, original)[:PAGE]
            try:
                if hasattr(codec, "_width"):
                    check_packed(codec, place, data)
                else:
                    length = len(data) if rng.random() < 0.8 else rng.randint(0, len(data))
                    sure += check_text(codec, place, original, data, length)
                if case % 20 == 0:
                    survives(codec, data)
            except Exception:
                print(f"case {case} of {type(codec).__name__}: {data!r} behind {original!r}")  # noqa: T201
                raise
    print(f"{cases} cases, {sure} of them read")  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
