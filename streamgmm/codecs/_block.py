"""What every codec does with a whole block: sizes, event times, missing and infinite values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamgmm.codecs.packed_kernels import COMPLETE, UNUSUAL, look
from streamgmm.errors import ConfigError
from streamgmm.records import FeatureBatch, Reject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamgmm.codecs import CodecSettings
    from streamgmm.records import Bools, Floats, Ints, RecordBatch

_MS_PER_SECOND = 1000.0


def require_fields(settings: CodecSettings) -> None:
    """Refuse settings that describe no vector."""
    names = [field.name for field in settings.fields]
    if not names:
        raise ConfigError("a codec needs at least one field", hint="list them under codec.fields")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"codec.fields names {', '.join(twice)} twice")


def require_positions(settings: CodecSettings, what: str) -> None:
    """Refuse settings that ask for more than values by position."""
    if settings.timestamp is not None:
        raise ConfigError(f"{what} carry no timestamp", hint="remove codec.timestamp: the record timestamp is used")
    if settings.passthrough:
        raise ConfigError(f"{what} have no values to pass through", hint="remove codec.passthrough")
    for field in settings.fields:
        if field.path != field.name:
            raise ConfigError(f"field {field.name!r} has a path, but {what} have positions only")


def record_time(batch: RecordBatch) -> Floats:
    """Return the records' own timestamps (n,) in seconds; NaN where there is none."""
    seconds = batch.timestamp / _MS_PER_SECOND
    seconds[batch.timestamp < 0] = np.nan
    return seconds


def tombstones(batch: RecordBatch) -> Ints:
    """Return the indices of records with a null value."""
    return np.flatnonzero(batch.value.length < 0)


def oversize(batch: RecordBatch, max_bytes: int) -> list[Reject]:
    """Reject the records that are larger than a codec may read."""
    length = batch.value.length
    return [
        Reject(int(i), -1, "oversize", f"{length[i]} bytes, the limit is {max_bytes}")
        for i in np.flatnonzero(length > max_bytes)
    ]


def feature_batch(
    settings: CodecSettings,
    X: Floats,
    record: Ints,
    row: Ints,
    event_time: Floats,
    rejects: Sequence[Reject],
    tombstones: Ints,
    *,
    complete: bool = False,
) -> FeatureBatch:
    """Keep the vectors that may be scored and reject the others, in stream order.

    `rejects` may hold single vectors already; their siblings are then told apart by their row numbers as well.
    `complete` says that all values are known to be finite.
    """
    width = len(settings.fields)
    found = COMPLETE if complete else look(X, settings.max_missing * width)
    if found == UNUSUAL:
        infinite = np.asarray(np.isinf(X).any(axis=1))
        missing = np.isnan(X).sum(axis=1)
        sparse = (missing > settings.max_missing * width) | (missing == width)
        bad = infinite | sparse
        several = [reject.record for reject in rejects if reject.row >= 0]
        siblings = (np.bincount(record)[record] > 1) | np.isin(record, several)
        rejects = [*rejects, *_screened(settings, X, record, np.where(siblings, row, -1), bad, infinite)]
        X, record, row, event_time = X[~bad], record[~bad], row[~bad], event_time[~bad]
    ordered = tuple(sorted(rejects, key=lambda r: (r.record, r.row)))
    return FeatureBatch(X, record, row, event_time, ordered, tombstones, complete=found == COMPLETE)


def _screened(settings: CodecSettings, X: Floats, record: Ints, row: Ints, bad: Bools, infinite: Bools) -> list[Reject]:
    rejects = []
    for i in np.flatnonzero(bad):
        where = "" if row[i] < 0 else f"row {row[i]}: "
        if infinite[i]:
            names = _names(settings, np.isinf(X[i]))
            rejects.append(Reject(int(record[i]), int(row[i]), "non_finite", f"{where}infinite: {names}"))
        else:
            names = _names(settings, np.isnan(X[i]))
            rejects.append(Reject(int(record[i]), int(row[i]), "schema", f"{where}too many fields missing: {names}"))
    return rejects


def _names(settings: CodecSettings, which: Bools) -> str:
    names = [field.name for field, hit in zip(settings.fields, which, strict=True) if hit]
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
