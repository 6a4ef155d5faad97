"""Whatever does not fit gets shorter until it fits or is given up; what is left says so and is still a document."""

import json
import random

import msgspec
import pytest

from streamgmm.records import OutputRecord
from streamgmm.sinks._rendering import CONTENT_HEADER, MSGPACK, as_msgpack
from streamgmm.sinks._shortening import LEAST_BYTES, shortened, size

SOURCE = ("streamgmm-source", b"t/0/7")


def ladder(record):
    """Return every shorter record in turn."""
    steps = []
    while (record := shortened(record)) is not None:
        steps.append(record)
        assert len(steps) < 30
    return steps


def document(**more):
    return {"id": "t/0/7/0", "key": "k", "score": 99.0, "features": {"a": 1.0}, "passthrough": {}} | more


@pytest.mark.parametrize("seed", range(20))
def test_any_bytes_get_shorter_until_they_are_given_up(seed):
    rng = random.Random(seed)
    sizes = [rng.choice((0, 1, 100, 10_000, 1_000_000)) for _ in range(4)]
    value, key, header, name = (rng.randbytes(n) for n in sizes)
    ours = rng.choice(((SOURCE,), (SOURCE, ("streamgmm-reason", b"decode")), (SOURCE, (CONTENT_HEADER, MSGPACK)), ()))
    record = OutputRecord(value, key, ((name.hex(), header), ("null", None), *ours))
    before = size(record)
    for step in ladder(record):
        assert size(step) < before / 2, f"seed {seed}"
        assert dict(step.headers)["streamgmm-truncated"] == b"value=%d key=%d" % (len(value), len(key))
        assert step.headers[-1][0] == "streamgmm-truncated"
        assert set(ours) <= set(step.headers)
        before = size(step)
    assert before < 8 * LEAST_BYTES


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "long",
    [
        {"key": {"base64": "A" * 933_336}},
        {"key": "ключ" * 200_000},
        {"passthrough": {"a": ["x" * 100] * 10_000}},
        {"features": {f"f{i}": 0.5 for i in range(100_000)}},
        {"contributions": [{"feature": "f" * 100, "surprise": 1.0}] * 10_000},
        {"missing": ["x" * 500_000, "y" * 500_000]},
    ],
    ids=lambda long: next(iter(long)),
)
def test_a_document_stays_one_with_all_its_fields(long, packed):
    record = OutputRecord(json.dumps(document(**long)).encode(), b"k", (SOURCE,))
    steps = ladder(as_msgpack(record) if packed else record)
    for step in steps:
        value = (msgspec.msgpack if packed else msgspec.json).decode(step.value)
        assert value.keys() == document(**long).keys()
        assert value["score"] == 99.0
    assert size(steps[-1]) < 8 * LEAST_BYTES


def test_a_dead_letter_keeps_the_beginning_of_its_value():
    record = OutputRecord(b"begin" + bytes(100_000), b"key", (("trace", b"7"), ("streamgmm-reason", b"decode")))
    shorter = shortened(record)
    assert shorter.value.startswith(b"begin")
    assert shorter.key == b"key"
    assert shorter.headers[:2] == record.headers


def test_packed_columns_are_never_cut():
    value = msgspec.msgpack.encode({"format": "streamgmm-scores-1", "columns": bytes(100_000)})
    assert shortened(OutputRecord(value, b"t/0", (SOURCE, (CONTENT_HEADER, MSGPACK)))) is None
