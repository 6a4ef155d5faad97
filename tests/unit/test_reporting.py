"""A part's rows are counted by what became of them; those of before a restart are counted apart."""

from dataclasses import replace

import numpy as np
import pytest
from batches import record_batch

from streamgmm.ledger import Part
from streamgmm.records import STATUSES, FeatureBatch, Passed, RecordBatch, Reject, ScoredBatch, TopicPartition
from streamgmm.reporting import report_part

NAN = float("nan")


def scored(status, score=None, flagged=(), p=0.5, severity=1):
    n = len(status)
    is_anomaly = np.zeros(n, dtype=bool)
    is_anomaly[list(flagged)] = True
    codes = np.array([STATUSES.index(s) for s in status], dtype=np.int64)
    nan = np.full(n, NAN)
    return ScoredBatch(
        log_density=nan,
        p_value=np.where(codes == 0, p, NAN),
        score=nan if score is None else np.array(score),
        is_anomaly=is_anomaly,
        severity=np.where(is_anomaly, severity, -1),
        level=nan,
        threshold=nan,
        version=np.zeros((n, 2), dtype=np.int64),
        status=codes,
    )


def fields(n, *, record=None, times=None, X=None, rejects=(), tombstones=()):
    return FeatureBatch(
        np.zeros((n, 2)) if X is None else X,
        np.arange(n) if record is None else np.array(record),
        np.zeros(n, dtype=np.int64),
        np.full(n, NAN) if times is None else np.array(times),
        tuple(rejects),
        np.array(tombstones, dtype=np.int64),
    )


def report(batch, f, said, *, rows=None, records=None, muted=(), clock=100.0):
    mute = np.zeros(len(batch), dtype=bool)
    mute[list(muted)] = True
    part = Part(slice(*(rows or (0, len(f)))), slice(*(records or (0, len(batch)))), mute)
    return report_part(batch, f, part, said, {"kafka": 2}, ("a", "b"), clock)


def test_rows_are_counted_by_their_fate():
    batch = record_batch([b"x"] * 6)
    f = fields(4, record=[0, 1, 2, 5], rejects=[Reject(3, -1, "decode", "")], tombstones=[4])
    r = report(batch, f, scored(["scored", "missing", "warming_up", "scored"]))
    assert (r.scored, r.unscored, r.rejected) == (2, {"missing": 1, "warming_up": 1, "tombstone": 1}, {"decode": 1})
    assert r.consumed == {"vectors": 6}
    assert r.replayed == 0
    assert r.sink_records == {"kafka": 2}
    assert r.p_values.tolist() == [0.5, 0.5]


def test_what_is_no_row_is_counted_by_kind_where_it_is_not_muted():
    passed = (Passed(0, "heartbeat"), Passed(1, "truncate"), Passed(2, "heartbeat"), Passed(2, "heartbeat"))
    f = replace(fields(1, record=[3]), passed=passed)
    r = report(record_batch([b"x"] * 4), f, scored(["scored"]), muted=[0])
    assert (r.scored, r.unscored, r.rejected, r.passed) == (1, {}, {}, {"heartbeat": 2, "truncate": 1})
    assert report(record_batch([b"x"] * 4), f, scored(["scored"]), records=(0, 2)).passed["heartbeat"] == 1


def test_what_was_delivered_before_a_restart_counts_as_replayed_only():
    batch = record_batch([b"x"] * 5)
    f = fields(3, record=[0, 1, 4], rejects=[Reject(2, -1, "decode", "")], tombstones=[3])
    r = report(batch, f, scored(["scored"] * 3, score=[99.0, 1.0, 1.0], flagged=[0]), muted=[0, 1, 2, 3])
    assert (r.scored, r.unscored, r.rejected, r.replayed) == (1, {}, {}, 2)
    assert r.consumed == {"vectors": 1}
    assert sum(r.anomalies.values()) == 0
    assert len(r.p_values) == 1


def test_anomalies_are_counted_by_severity():
    said = scored(["scored"] * 4, flagged=[0, 1, 2], severity=np.array([2, 2, 1, 0]))
    r = report(record_batch([b"x"] * 4), fields(4), said)
    assert r.anomalies == {"critical": 2, "warning": 1, "notice": 0}


def test_latency_and_event_time_come_from_rows_that_have_a_time():
    r = report(record_batch([b"x"] * 3), fields(3, times=[90.0, NAN, 95.0]), scored(["scored"] * 3))
    assert r.latencies.tolist() == [10.0, 5.0]
    assert r.last_event_time == 95.0
    assert np.isnan(report(record_batch([b"x"]), fields(1), scored(["scored"])).last_event_time)


def test_one_wrong_time_is_not_the_last():
    times = [*(90.0 + np.arange(20.0)), 4.07e9]
    assert report(record_batch([b"x"] * 21), fields(21, times=times), scored(["scored"] * 21)).last_event_time == 109.0


def test_missing_cells_are_counted_by_field():
    X = np.array([[NAN, 1.0], [NAN, NAN], [0.0, 0.0]])
    r = report(record_batch([b"x"] * 3), fields(3, X=X), scored(["missing", "missing", "scored"]))
    assert r.missing == {"a": 2, "b": 1}


def test_topics_are_counted_apart():
    batch = replace(
        record_batch([b"x"] * 5),
        partitions=(TopicPartition("one", 0), TopicPartition("one", 1), TopicPartition("two", 0)),
        partition=np.array([0, 1, 2, 1, 2]),
    )
    r = report(batch, fields(4), scored(["scored"] * 4), records=(0, 4), muted=[0])
    assert r.consumed == {"one": 2, "two": 1}


def test_a_block_without_records_counts_nothing():
    """It moved the offsets, over an aborted transaction for instance."""
    r = report(RecordBatch.empty(), fields(0), scored([]))
    assert (r.consumed, r.scored, r.unscored, r.rejected, r.replayed) == ({}, 0, {}, {}, 0)
    assert len(r.p_values) == len(r.latencies) == 0
    assert np.isnan(r.last_event_time)


@pytest.mark.parametrize("cut", [0, 1, 3, 5])
def test_the_parts_of_a_batch_add_up(cut):
    batch = record_batch([b"x"] * 6)
    f = fields(5, record=[0, 1, 2, 4, 5], rejects=[Reject(3, -1, "schema", "")])
    said = scored(["scored", "missing", "scored", "scored", "missing"])
    records = 6 if cut == 5 else int(f.record[cut])
    first = report(batch, f, slice_of(said, 0, cut), rows=(0, cut), records=(0, records))
    second = report(batch, f, slice_of(said, cut, 5), rows=(cut, 5), records=(records, 6))
    assert first.scored + second.scored == 3
    assert sum(first.unscored.values()) + sum(second.unscored.values()) == 2
    assert sum(first.rejected.values()) + sum(second.rejected.values()) == 1
    assert first.consumed.get("vectors", 0) + second.consumed.get("vectors", 0) == 6


def slice_of(s, start, stop):
    names = ("log_density", "p_value", "score", "is_anomaly", "severity", "level", "threshold", "version", "status")
    return ScoredBatch(**{name: getattr(s, name)[start:stop] for name in names})
