"""`emit: all` in bulk: the same documents as one by one, and packed blocks that docs/anomalies.md can read."""

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
from batches import record_batch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamgmm.records import STATUSES, FeatureBatch, ScoredBatch, TopicPartition
from streamgmm.sinks import _scores
from streamgmm.sinks._rendering import as_msgpack, finite, rfc3339, text_or_base64

DOCS = Path(__file__).parents[3] / "docs"
SCHEMA = jsonschema.Draft202012Validator(
    json.loads((DOCS / "score.schema.json").read_text()), format_checker=jsonschema.FormatChecker()
)
PLACES = (TopicPartition("a", 3), TopicPartition("b-b", 0))


def block(rng, n, *, keys=None, version=None):
    """Return n records of two partitions, every third with two rows, and what was said of them."""
    batch = record_batch([b"x"] * n, keys=keys)
    batch = replace(
        batch, partitions=PLACES, partition=rng.integers(0, 2, n), offset=np.sort(rng.integers(0, 2**40, n))
    )
    record = np.repeat(np.arange(n), np.where(np.arange(n) % 3, 1, 2))
    m = len(record)
    row = np.where(np.r_[False, record[1:] == record[:-1]], 1, 0)
    times = np.where(rng.random(m) < 0.1, np.nan, rng.uniform(-1e9, 4e9, m))
    features = FeatureBatch(np.zeros((m, 2)), record, row, times)
    status = np.where(rng.random(m) < 0.1, 1, 0)
    unscored = status > 0
    scored = ScoredBatch(
        log_density=np.where(unscored, np.nan, np.where(rng.random(m) < 0.1, -np.inf, rng.normal(size=m) * 1e3)),
        p_value=np.where(unscored, np.nan, rng.random(m)),
        score=np.where(unscored, np.nan, rng.uniform(0, 100, m)),
        is_anomaly=~unscored & (rng.random(m) < 0.05),
        severity=np.full(m, -1),
        level=np.where(unscored, np.nan, 0.01),
        threshold=np.where(unscored, np.nan, -12.5),
        version=np.tile([12, 34], (m, 1)) if version is None else version(m),
        status=status,
    )
    return batch, features, scored


def slowly(batch, features, scored, i):
    """Build one document field by field."""
    record = int(features.record[i])
    topic, partition = batch.topic_partition(record)
    offset, row = int(batch.offset[record]), int(features.row[i])

    def known(value):
        return None if np.isnan(value) else finite(value)

    return {
        "id": f"{topic}/{partition}/{offset}/{row}", "topic": topic, "partition": partition, "offset": offset,
        "row": row, "timestamp": rfc3339(features.event_time[i]), "key": text_or_base64(batch.key[record]),
        "status": STATUSES[scored.status[i]], "is_anomaly": bool(scored.is_anomaly[i]),
        "log_density": known(scored.log_density[i]), "p_value": known(scored.p_value[i]),
        "score": known(scored.score[i]), "level": known(scored.level[i]),
        "threshold": known(scored.threshold[i]),
        "model_version": ".".join(map(str, scored.version[i].tolist())),
    }  # fmt: skip


def same(batch, features, scored, rows):
    records = _scores.score_records(batch, features, scored, rows)
    assert len(records) == len(rows)
    for record, i in zip(records, rows.tolist(), strict=True):
        document = json.loads(record.value)
        expected = slowly(batch, features, scored, i)
        assert document == expected
        assert list(document) == list(expected)
        SCHEMA.validate(document)
        assert record.key == batch.key[int(features.record[i])]
        assert dict(record.headers) == {
            "streamgmm-model-version": expected["model_version"].encode(),
            "streamgmm-source": expected["id"].rpartition("/")[0].encode(),
        }


def test_lines_made_in_bulk_are_those_made_one_by_one(rng):
    plain = block(rng, 200)
    same(*plain, np.arange(len(plain[1])))
    same(*plain, np.array([5, 7, 8]))
    assert _scores.score_records(*plain, np.arange(0)) == []


def test_keys_and_versions_of_every_row_are_its_own(rng):
    keys = [(None, b"k\n1", b"\xff", "ключ\u2028".encode())[i % 4] for i in range(100)]
    mixed = block(rng, 100, keys=keys, version=lambda m: np.column_stack([np.arange(m) // 40, np.arange(m) % 3]))
    same(*mixed, np.arange(len(mixed[1])))


@given(hnp.arrays(np.float64, st.integers(0, 20), elements=st.one_of(st.just(np.nan), st.floats(-1e12, 1e12))))
def test_a_column_of_times_is_written_as_each_would_be(seconds):
    assert list(_scores.rfc3339_column(seconds)) == [rfc3339(x) for x in seconds]


def reader():
    """Return the lines of docs/anomalies.md that read a packed block."""
    text = (DOCS / "anomalies.md").read_text()
    return next(code for code in re.findall(r"```py\n(.*?)```", text, re.DOTALL) if "columns" in code)


def test_a_packed_block_reads_as_the_docs_say(rng, monkeypatch):
    monkeypatch.setattr(_scores, "MAX_PACKED_ROWS", 64)
    batch, features, scored = block(rng, 300)
    rows = np.flatnonzero(np.arange(len(features)) % 10)
    seen = {tp: [] for tp in PLACES}
    for record in _scores.packed_records(batch, features, scored, rows):
        assert (len(record.value) < 64 * 80 + 500, record.value[:1]) == (True, b"\x86")
        names = {"value": record.value}
        exec(reader(), names)
        found, scores = names["block"], names["scores"]
        assert (found["format"], found["rows"]) == ("streamgmm-scores-1", len(scores["offset"]))
        assert record.key == f"{found['topic']}/{found['partition']}".encode()
        assert dict(record.headers) == {
            "streamgmm-source": record.key + b"/%d" % scores["offset"][0],
            "content-type": b"application/vnd.msgpack",
        }
        assert found["statuses"] == list(STATUSES)
        seen[found["topic"], found["partition"]].append(scores)
    for index, tp in enumerate(PLACES):
        mine = rows[batch.partition[features.record[rows]] == index]
        joined = {name: np.concatenate([part[name] for part in seen[tp]]) for name in seen[tp][0]}
        assert max(len(part["row"]) for part in seen[tp]) == 64
        np.testing.assert_array_equal(joined["offset"], batch.offset[features.record[mine]])
        np.testing.assert_array_equal(joined["row"], features.row[mine])
        np.testing.assert_array_equal(joined["timestamp"], features.event_time[mine])
        for name in ("log_density", "p_value", "threshold", "is_anomaly", "status"):
            np.testing.assert_array_equal(joined[name], getattr(scored, name)[mine])
        np.testing.assert_array_equal(joined["score"], scored.score[mine].astype("f4"))
        np.testing.assert_array_equal(joined["promotion"], scored.version[mine, 0])
        np.testing.assert_array_equal(joined["refresh"], scored.version[mine, 1])


def test_msgpack_is_the_same_document(rng):
    batch, features, scored = block(rng, 20)
    for record in _scores.score_records(batch, features, scored, np.arange(len(features))):
        packed = as_msgpack(record)
        assert msgspec.msgpack.decode(packed.value) == json.loads(record.value)
        assert packed.headers == (*record.headers, ("content-type", b"application/vnd.msgpack"))
        assert packed.key == record.key
