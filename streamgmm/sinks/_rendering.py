"""What leaves the daemon, as messages: explained anomalies, a compact line for every row, and dead letters.

Messages carry no timestamp of their own: an event time comes from the payload, and a broker may refuse or at once
delete what claims to be from the future or the far past.
"""

from __future__ import annotations

import math
import sys
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from streamgmm.records import FlaggedRow, OutputRecord, Version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streamgmm.records import (
        Anomaly,
        Contribution,
        Explanation,
        FeatureBatch,
        IncidentSummary,
        Json,
        RecordBatch,
        Reject,
        ScoredBatch,
    )

VERSION_HEADER = "streamgmm-model-version"
SOURCE_HEADER = "streamgmm-source"
REASON_HEADER = "streamgmm-reason"
DETAIL_HEADER = "streamgmm-detail"
TRUNCATED_HEADER = "streamgmm-truncated"
CONTENT_HEADER, MSGPACK = "content-type", b"application/vnd.msgpack"
OURS = frozenset({VERSION_HEADER, SOURCE_HEADER, REASON_HEADER, DETAIL_HEADER, TRUNCATED_HEADER})
_DETAIL_BYTES = 1000
_LEADING = 5  # features and contributions that an incident record names
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The years that a datetime knows, as seconds since the epoch.
FIRST_SECOND = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()
LAST_SECOND = (datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC) - _EPOCH).total_seconds()


def anomaly_record(
    batch: RecordBatch,
    features: FeatureBatch,
    scored: ScoredBatch,
    anomaly: Anomaly,
    names: Sequence[str],
    passthrough: Mapping[str, Json],
    suppressed: int = 0,
) -> OutputRecord:
    """Render one flagged row; `docs/anomaly.schema.json` describes the value.

    Parameters
    ----------
    features
        The rows that `scored` speaks of, in the same order; their values are what the record shows.
    names
        Of the columns of `features.X`.
    passthrough
        What the codec found in the payload.
    suppressed
        Records that this sink's `min_interval` held back before this one.
    """
    i = anomaly.index
    row = features.X[i].tolist()
    value = _where(batch, features, i) | {
        "log_density": finite(scored.log_density[i]),
        "p_value": float(scored.p_value[i]),
        "score": float(scored.score[i]),
        "severity": anomaly.severity,
        "level": _number(scored.level[i]),
        "threshold": finite(scored.threshold[i]),
        "model_version": _version(scored, i),
        "incident": anomaly.incident,
        **_explanation(anomaly.explanation),
        "features": {name: _number(x) for name, x in zip(names, row, strict=True)},
        "missing": [name for name, x in zip(names, row, strict=True) if math.isnan(x)],
        "passthrough": passthrough,
        "provisional": anomaly.provisional,
        "suppressed": suppressed,
    }
    return _message(batch, features, scored, i, value)


def incident_record(incident: IncidentSummary, *, closed: bool, suppressed: int) -> OutputRecord:
    """Render an incident as it opens or closes; `docs/incident.schema.json` describes the value.

    The key is that of the row that opened it, so that both records are in one partition; headers are the worst row's.
    """
    worst = incident.worst
    value = {
        "incident": incident.id,
        "state": "closed" if closed else "open",
        "id": incident.first,
        "key": text_or_base64(incident.key),
        "opened": rfc3339(incident.opened),
        "last": rfc3339(incident.last),
        "duration": _number(incident.last - incident.opened),
        "rows": incident.rows,
        "severity": worst.severity,
        "features": [{"feature": name, "surprise": finite(nats)} for name, nats in incident.leading(_LEADING)],
        "worst": {
            "id": worst.id,
            "timestamp": rfc3339(worst.time),
            "key": text_or_base64(worst.key),
            "log_density": finite(worst.log_density),
            "p_value": worst.p_value,
            "score": worst.score,
            "model_version": worst.version,
            "contributions": [_contribution(c) for c in worst.contributions],
        },
        "suppressed": suppressed,
        "provisional": incident.provisional,
    }
    source = worst.id.rpartition("/")[0]
    headers = ((VERSION_HEADER, worst.version.encode()), (SOURCE_HEADER, source.encode()))
    return OutputRecord(msgspec.json.encode(value), incident.key, headers)


def flagged_row(batch: RecordBatch, features: FeatureBatch, scored: ScoredBatch, anomaly: Anomaly) -> FlaggedRow:
    """Return a flagged row as its incident remembers it."""
    i = anomaly.index
    record = int(features.record[i])
    return FlaggedRow(
        id=_where(batch, features, i)["id"],
        key=batch.key[record],
        time=float(features.event_time[i]),
        log_density=float(scored.log_density[i]),
        p_value=float(scored.p_value[i]),
        score=float(scored.score[i]),
        version=_version(scored, i),
        contributions=anomaly.explanation.contributions[:_LEADING],
        severity=anomaly.severity,
    )


def as_msgpack(record: OutputRecord) -> OutputRecord:
    """Return a JSON record as MessagePack: the same document, and a header that says so."""
    value = msgspec.msgpack.encode(msgspec.json.decode(record.value))
    return replace(record, value=value, headers=(*record.headers, (CONTENT_HEADER, MSGPACK)))


def dead_letters(
    batch: RecordBatch, rejects: Sequence[Reject], topic: Callable[[str], str | None], most_bytes: int
) -> list[OutputRecord]:
    """Return one dead letter for each record that has rejects, whichever number of its rows are bad.

    Parameters
    ----------
    rejects
        In the order of their records.
    topic
        Source topic → the topic of its dead letters.
    most_bytes
        A longer value is truncated.
    """
    return [
        dead_letter(batch, list(mine), topic(batch.topic_partition(record).topic), most_bytes)
        for record, mine in groupby(rejects, key=attrgetter("record"))
    ]


def dead_letter(batch: RecordBatch, rejects: Sequence[Reject], topic: str | None, most_bytes: int) -> OutputRecord:
    """Return a rejected record as it came, with the first reason and the details of its bad rows in its headers.

    Headers of ours that it already had (it was redriven, and failed again) are replaced.
    """
    i = rejects[0].record
    headers = [(name, value) for name, value in batch.headers[i] if name not in OURS]
    details = "; ".join(reject.detail for reject in rejects[:_DETAIL_BYTES])
    counted = details if len(rejects) == 1 else f"{len(rejects)} bad rows: {details}"
    detail = counted.encode("utf-8", "replace")[:_DETAIL_BYTES].decode("utf-8", "ignore")
    added = [
        (REASON_HEADER, rejects[0].reason.encode()),
        (DETAIL_HEADER, detail.encode()),
        (SOURCE_HEADER, _source(batch, i)),
    ]
    value, key = batch.value[i] or b"", batch.key[i]
    if len(value) > most_bytes:
        added.append(truncated_header(len(value), len(key or b"")))
    return OutputRecord(value[:most_bytes], key, (*headers, *added), topic)


def is_truncated(record: OutputRecord) -> bool:
    """Return whether a record says that it was truncated: that header is the last one."""
    return bool(record.headers) and record.headers[-1][0] == TRUNCATED_HEADER


def truncated_header(value: int, key: int) -> tuple[str, bytes]:
    """Return the header of a truncated record: the bytes that its value and its key had."""
    return TRUNCATED_HEADER, b"value=%d key=%d" % (value, key)


def text_or_base64(value: bytes | None) -> Json:
    """Return bytes as text, as `{"base64": …}` where they are not UTF-8, and None as None."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}


def rfc3339(seconds: float) -> str | None:
    """Return a time as RFC 3339 in UTC with milliseconds; None for NaN; years 1 to 9999."""
    if math.isnan(seconds):
        return None
    bounded = min(max(seconds, FIRST_SECOND), LAST_SECOND)
    moment = _EPOCH + timedelta(milliseconds=round(bounded * 1000))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def finite(value: float) -> float:
    """Return a number clamped to what JSON can say."""
    return min(max(float(value), -sys.float_info.max), sys.float_info.max)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else finite(value)


def _where(batch: RecordBatch, features: FeatureBatch, index: int) -> dict[str, Json]:
    record, row = int(features.record[index]), int(features.row[index])
    topic, partition = batch.topic_partition(record)
    offset = int(batch.offset[record])
    return {
        "id": f"{topic}/{partition}/{offset}/{row}",
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "row": row,
        "timestamp": rfc3339(features.event_time[index]),
        "key": text_or_base64(batch.key[record]),
    }


def _explanation(explanation: Explanation) -> dict[str, Json]:
    return {
        "member": explanation.member,
        "component": explanation.component,
        "responsibilities": [finite(r) for r in explanation.responsibilities],
        "distance2": _number(explanation.distance2),
        "contributions": [_contribution(c) for c in explanation.contributions],
    }


def _contribution(contribution: Contribution) -> dict[str, Json]:
    return {
        "feature": contribution.feature,
        "surprise": _number(contribution.surprise),
        "share": _number(contribution.share),
        "observed": _number(contribution.observed),
        "expected": _number(contribution.expected),
        "stddev": _number(contribution.stddev),
    }


def _version(scored: ScoredBatch, index: int) -> str:
    return str(Version(*np.asarray(scored.version[index]).tolist()))


def _source(batch: RecordBatch, record: int) -> bytes:
    topic, partition = batch.topic_partition(record)
    return f"{topic}/{partition}/{int(batch.offset[record])}".encode()


def _message(
    batch: RecordBatch, features: FeatureBatch, scored: ScoredBatch, index: int, value: Mapping[str, Json]
) -> OutputRecord:
    record = int(features.record[index])
    headers = ((VERSION_HEADER, _version(scored, index).encode()), (SOURCE_HEADER, _source(batch, record)))
    return OutputRecord(msgspec.json.encode(value), batch.key[record], headers)
