"""Decoded payloads (mappings and sequences of plain values) to rows, for every codec that has no quicker way.

The careful reading of one payload is the rule for all of them: null and NaN are missing, an overflow or Infinity is
`non_finite`, a wrong type is `schema` and says where.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from streamgmm.codecs import _block
from streamgmm.codecs._envelopes import AROUND, unwrapped
from streamgmm.codecs._payload import RefusalError, category, describe, encodable, lookup, number, seconds
from streamgmm.records import Passed, Reject

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from streamgmm.codecs import CodecSettings
    from streamgmm.codecs._envelopes import Content
    from streamgmm.records import FeatureBatch, Json, RecordBatch, WithoutRow

    Row: TypeAlias = tuple[tuple[float | None, ...], float]
    Parse: TypeAlias = Callable[[memoryview], Json]
    Quick: TypeAlias = Callable[[Json], tuple[float | None, ...] | None]

_FLOATS = frozenset({float, type(None)})


def read_row(payload: Json, settings: CodecSettings, codes: dict[str, float]) -> Row:
    """Return the values of a payload by name, path or position, and its event time (NaN where it has none).

    Raises
    ------
    RefusalError
        It is no vector: `schema` or `dimension`.
    """
    if isinstance(payload, list):
        return _columns(_positions(payload, settings), settings, codes), float("nan")
    if not isinstance(payload, dict):
        raise RefusalError("schema", f"the payload is {describe(payload)}, expected an object or an array")
    values = _columns([lookup(payload, field.path) for field in settings.fields], settings, codes)
    timestamp = settings.timestamp
    time = seconds(lookup(payload, timestamp.path), timestamp.unit) if timestamp else float("nan")
    return values, time


def _positions(payload: list[Json], settings: CodecSettings) -> list[Json]:
    if len(payload) != len(settings.fields):
        raise RefusalError("dimension", f"an array of {len(payload)} values, expected {len(settings.fields)}")
    return payload


def _columns(found: list[Json], settings: CodecSettings, codes: dict[str, float]) -> tuple[float, ...]:
    return tuple(
        category(field.name, value, codes) if field.type == "category" else number(field.name, value)
        for field, value in zip(settings.fields, found, strict=True)
    )


def read_passthrough(payload: Json, settings: CodecSettings) -> dict[str, Json]:
    """Return the declared paths that a payload has, as values that any JSON writer accepts."""
    found = {path: encodable(lookup(payload, path)) for path in settings.passthrough}
    return {path: value for path, value in found.items() if value is not None}


def _quick_reader(settings: CodecSettings) -> Quick:
    """Return what reads a mapping that has every field under its plain name, as floats or null; None for any other.

    What it returns agrees with `read_row`, at a third of the time.
    """
    paths = [field.path for field in settings.fields]
    if len(paths) < 2 or any("." in path for path in paths) or any(f.type != "number" for f in settings.fields):
        return lambda _: None
    values_of = itemgetter(*paths)

    def read(payload: Json) -> tuple[float | None, ...] | None:
        try:
            found: tuple[float | None, ...] = values_of(payload)
        except (KeyError, TypeError):
            return None
        return found if _FLOATS.issuperset(map(type, found)) else None

    return read


class ObjectCodec:
    """Codec for any format that has a parser.

    Parameters
    ----------
    settings
        Paths, timestamp and passthrough are those of what is inside the envelope, if one is taken off.
    parse
        Bytes → mappings, sequences and plain values. Raises RefusalError for what it cannot read, and may raise
        RetryableError where it needs something from elsewhere.
    around
        Makes a context that surrounds the calls of `parse` for one block.
    """

    def __init__(
        self, settings: CodecSettings, parse: Parse, around: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        _block.require_fields(settings)
        self.fields = settings.fields
        self._settings = settings
        self._parse = parse
        self._around = around
        self._quick = _quick_reader(settings)

    def decode(self, batch: RecordBatch) -> FeatureBatch:
        """Decode every record of a block; see `Codec.decode`."""
        found = _Found(self._settings, self._quick, _block.oversize(batch, self._settings.max_bytes))
        with self._around():
            self._read(batch, found)
        return found.assembled(batch)

    def _read(self, batch: RecordBatch, found: _Found) -> None:
        view = batch.value.buffer.data
        slices = zip(batch.value.start.tolist(), batch.value.length.tolist(), strict=True)
        for i, (start, length) in enumerate(slices):
            if not 0 <= length <= self._settings.max_bytes:
                continue
            try:
                contents = unwrapped(self._parse(view[start : start + length]), self._settings.unwrap, self._parse)
            except RefusalError as refusal:
                found.rejects.append(Reject(i, -1, refusal.reason, refusal.detail))
                continue
            found.add(i, contents)

    def passthrough(self, value: bytes, row: int = 0) -> dict[str, Json]:
        """Return the declared paths that a payload has; never raises for what it cannot read."""
        try:
            with self._around():
                contents = unwrapped(self._parse(memoryview(value)), self._settings.unwrap, self._parse)
        except RefusalError:
            return {}
        return read_passthrough(contents[row].payload, self._settings) if row < len(contents) else {}


class _Found:
    """The rows of a block while it is decoded."""

    def __init__(self, settings: CodecSettings, quick: Quick, rejects: list[Reject]) -> None:
        self.rejects = rejects
        self._quick = quick
        self._settings = settings
        self._values: list[tuple[float | None, ...]] = []
        self._record: list[int] = []
        self._row: list[int] = []
        self._times: list[float] = []
        self._deleted: list[int] = []
        self._passed: list[Passed] = []
        self._paths = [field.path for field in settings.fields]
        self._codes: dict[str, float] = {}

    def add(self, record: int, contents: tuple[Content, ...]) -> None:
        """Read every vector of a record; one that cannot be read leaves its siblings alone."""
        if not contents:
            self._deleted.append(record)
        for row, content in enumerate(contents):
            without = content.without_row or self._other(content)
            if without is not None:
                self._passed.append(Passed(record, without))
                continue
            try:
                values, time = self._read(content)
            except RefusalError as refusal:
                alone = len(contents) == 1
                where = "" if alone else f"row {row}: "
                self.rejects.append(Reject(record, -1 if alone else row, refusal.reason, where + refusal.detail))
                continue
            self._values.append(values)
            self._record.append(record)
            self._row.append(row)
            self._times.append(time)

    def _read(self, content: Content) -> Row:
        if content.refusal is not None:
            raise content.refusal
        timestamp = self._settings.timestamp
        values = self._quick(content.payload)
        if values is None:
            values, time = read_row(content.payload, self._settings, self._codes)
        elif timestamp is not None:
            time = seconds(lookup(content.payload, timestamp.path), timestamp.unit)
        return values, time if timestamp is not None else self._time_around(content)

    def _other(self, content: Content) -> WithoutRow | None:
        """Return whether a metric has none of the declared fields, though some of them are no tags."""
        if content.fields is None:
            return None
        own = [path for path in self._paths if path.partition(".")[0] not in AROUND or path in content.fields]
        return "other_measurement" if own and all(lookup(content.fields, path) is None for path in own) else None

    @staticmethod
    def _time_around(content: Content) -> float:
        """Return the envelope's time: nobody asked for it, so one that cannot be read decides nothing."""
        try:
            return seconds(content.time, content.unit)
        except RefusalError:
            return float("nan")

    def assembled(self, batch: RecordBatch) -> FeatureBatch:
        """Return what was found, screened."""
        # numpy turns None into NaN: exactly what null and an absent field mean.
        X = np.array(self._values, dtype=np.float64).reshape(len(self._values), len(self._settings.fields))
        record, row = np.array(self._record, dtype=np.int64), np.array(self._row, dtype=np.int64)
        inside = np.array(self._times, dtype=np.float64)
        event_time = np.where(np.isnan(inside), _block.record_time(batch)[record], inside)
        deleted = np.array(self._deleted, dtype=np.int64)
        none = np.union1d(_block.tombstones(batch), deleted)
        found = _block.feature_batch(self._settings, X, record, row, event_time, self.rejects, none)
        return replace(found, passed=tuple(self._passed)) if self._passed else found
