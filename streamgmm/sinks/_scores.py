"""The score of every row (`emit: all`), made a block at a time: a JSON record for each row, or one packed record.

No field is touched in Python on its way: columns become lists at once, and msgspec writes all lines in one call.
"""

from __future__ import annotations

import sys
from itertools import repeat
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from streamgmm.records import STATUSES, OutputRecord, Version
from streamgmm.sinks._rendering import (
    CONTENT_HEADER,
    FIRST_SECOND,
    LAST_SECOND,
    MSGPACK,
    SOURCE_HEADER,
    VERSION_HEADER,
    text_or_base64,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from streamgmm.records import FeatureBatch, Floats, Ints, Json, RecordBatch, ScoredBatch

# Brokers refuse more than a mebibyte unless they are told otherwise; a row takes 58 bytes.
MAX_PACKED_ROWS = 8192
PACKED_FORMAT = "streamgmm-scores-1"
_LARGEST = sys.float_info.max


class _Score(msgspec.Struct, gc=False):
    """One row; `docs/score.schema.json` describes it. NaN is written as null."""

    id: str
    topic: str
    partition: int
    offset: int
    row: int
    timestamp: str | None
    key: Any
    status: str
    is_anomaly: bool
    log_density: float
    p_value: float
    score: float
    level: float
    threshold: float
    model_version: str


def score_records(batch: RecordBatch, features: FeatureBatch, scored: ScoredBatch, rows: Ints) -> list[OutputRecord]:
    """Return a record for each of these rows; what an unscored row does not have is null."""
    if not len(rows):
        return []
    record, row = features.record[rows], features.row[rows].tolist()
    offset = batch.offset[record].tolist()
    topics, partitions = _places(batch, record)
    sources = [f"{t}/{p}/{o}" for t, p, o in zip(topics, partitions, offset, strict=True)]
    keys = _keys(batch, record)
    versions = _versions(scored.version[rows])
    lines = map(
        _Score,
        [f"{source}/{r}" for source, r in zip(sources, row, strict=True)],
        topics,
        partitions,
        offset,
        row,
        rfc3339_column(features.event_time[rows]),
        repeat(None) if keys is None else map(text_or_base64, keys),
        np.array(STATUSES, dtype=object)[scored.status[rows]].tolist(),
        scored.is_anomaly[rows].tolist(),
        *(
            _clamped(column[rows])
            for column in (scored.log_density, scored.p_value, scored.score, scored.level, scored.threshold)
        ),
        versions,
    )
    values = msgspec.json.Encoder().encode_lines(list(lines)).split(b"\n")
    named = [(VERSION_HEADER, version.encode()) for version in versions] if len(set(versions)) > 1 else None
    first = (VERSION_HEADER, versions[0].encode())
    headers = [(version, (SOURCE_HEADER, source.encode())) for version, source in zip(named or repeat(first), sources)]  # noqa: B905 - one may repeat
    return list(map(OutputRecord, values, repeat(None) if keys is None else keys, headers))


def packed_records(
    batch: RecordBatch, features: FeatureBatch, scored: ScoredBatch, rows: Ints
) -> Iterator[OutputRecord]:
    """Yield the scores of these rows as columns, flagged rows included: one record per partition of the source.

    The value is a MessagePack map: `format`, `topic`, `partition`, `rows`, `statuses` (what `status` indexes), and
    `columns`, which maps a name to a NumPy type and the little-endian bytes of `rows` such numbers.
    """
    partition = batch.partition[features.record[rows]]
    for index, tp in enumerate(batch.partitions):
        mine = rows[partition == index]
        for start in range(0, len(mine), MAX_PACKED_ROWS):
            part = mine[start : start + MAX_PACKED_ROWS]
            columns = _columns(batch, features, scored, part)
            value = {
                "format": PACKED_FORMAT,
                "topic": tp.topic,
                "partition": tp.partition,
                "rows": len(part),
                "statuses": STATUSES,
                "columns": {name: (column.dtype.str, column.tobytes()) for name, column in columns.items()},
            }
            where = f"{tp.topic}/{tp.partition}"
            headers = ((SOURCE_HEADER, f"{where}/{columns['offset'][0]}".encode()), (CONTENT_HEADER, MSGPACK))
            yield OutputRecord(msgspec.msgpack.encode(value), where.encode(), headers)


def _columns(
    batch: RecordBatch, features: FeatureBatch, scored: ScoredBatch, rows: Ints
) -> dict[str, NDArray[np.generic]]:
    return {
        "offset": batch.offset[features.record[rows]].astype("<i8"),
        "row": features.row[rows].astype("<i4"),
        "timestamp": features.event_time[rows].astype("<f8"),
        "status": scored.status[rows].astype("u1"),
        "is_anomaly": scored.is_anomaly[rows].astype("?"),
        "log_density": scored.log_density[rows].astype("<f8"),
        "p_value": scored.p_value[rows].astype("<f8"),
        "score": scored.score[rows].astype("<f4"),
        "level": scored.level[rows].astype("<f8"),
        "threshold": scored.threshold[rows].astype("<f8"),
        "promotion": scored.version[rows, 0].astype("<i4"),
        "refresh": scored.version[rows, 1].astype("<i4"),
    }


def rfc3339_column(seconds: Floats) -> Iterable[str | None]:
    """Return times (n,) as RFC 3339 in UTC with milliseconds; None for NaN; years 1 to 9999."""
    unknown = np.isnan(seconds)
    bounded = np.clip(np.where(unknown, 0.0, seconds), FIRST_SECOND, LAST_SECOND)
    moments = np.rint(bounded * 1000).astype("datetime64[ms]")
    texts: list[str] = np.char.add(np.datetime_as_string(moments, unit="ms"), "Z").tolist()
    if not unknown.any():
        return texts
    return [None if missing else text for text, missing in zip(texts, unknown.tolist(), strict=True)]


def _places(batch: RecordBatch, record: Ints) -> tuple[list[str], list[int]]:
    index = batch.partition[record]
    topics = np.array([tp.topic for tp in batch.partitions], dtype=object)
    return topics[index].tolist(), np.array([tp.partition for tp in batch.partitions])[index].tolist()


def _keys(batch: RecordBatch, record: Ints) -> list[bytes | None] | None:
    """Return each row's key; None where no row has one."""
    length = batch.key.length[record]
    if (length < 0).all():
        return None
    view = batch.key.buffer.data
    slices = zip(batch.key.start[record].tolist(), length.tolist(), strict=True)
    return [None if n < 0 else bytes(view[start : start + n]) for start, n in slices]


def _versions(version: Ints) -> Sequence[str]:
    if (version == version[0]).all():
        return [str(Version(*version[0].tolist()))] * len(version)
    return [str(Version(*pair)) for pair in version.tolist()]


def _clamped(column: Floats) -> list[Json]:
    values: list[Json] = np.clip(column, -_LARGEST, _LARGEST).tolist()
    return values
