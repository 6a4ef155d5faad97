"""Tables of text: lines as the file source reads them, records as the JSON codec decodes them."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.codecs import CodecSettings, _json_text
from streamgmm.codecs import json as json_codec
from streamgmm.codecs._objects import read_row
from streamgmm.codecs._payload import RefusalError, describe, is_quoted_number
from streamgmm.errors import StopError
from streamgmm.offline import columns
from streamgmm.records import ByteColumn, RecordBatch, TopicPartition
from streamgmm.sources._csv import BOM, as_json, cells, header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from streamgmm.codecs._objects import Row
    from streamgmm.offline.columns import Kind, Plan
    from streamgmm.records import Json

    Floats = NDArray[np.float64]

# Of each shape of record, so many are asked whether their texts are points in time.
SAMPLES = 50
# A column of numbers with so small a share of text was meant to hold numbers: leaving it out would hide an error.
STRAY_TEXT = 0.05
_OTHERS: dict[type, Kind] = {bool: "true or false", dict: "nested values", list: "nested values"}


@dataclass(frozen=True, slots=True)
class Text:
    """The records of a file: JSON texts, and the number of the line that each stands in, from 1."""

    path: Path
    records: Sequence[bytes]
    numbers: Sequence[int]

    @property
    def holds_arrays(self) -> bool:
        """Return whether records are arrays, so that their values go by position."""
        return bool(self.records) and self.records[0].lstrip().startswith(b"[")

    def place(self, record: int) -> str:
        """Return file and line of a record."""
        return f"{self.path}:{self.numbers[record]}"


def read(path: Path, *, is_csv: bool) -> Text:
    """Read the lines of a file, unpacked where it ends in `.gz`; lines that hold nothing are no records.

    Raises
    ------
    StopError
        A line of CSV does not fit the header, or there is no header; there are no rows; damaged compression.
    OSError
        It cannot be opened.
    """
    numbers, records = [], []
    names: tuple[str, ...] = ()
    for number, raw in enumerate(_lines(path), start=1):
        if is_csv and number == 1:
            names = header(raw, path)
            continue
        line = raw.rstrip(b"\r\n").removeprefix(BOM)
        if not line.strip():
            continue
        record = as_json(line, names) if is_csv else line
        if is_csv and record is line:
            raise StopError(f"{path}:{number}: {_misfit(line, names)}", hint=_MISFIT_HINT)
        numbers.append(number)
        records.append(record)
    if is_csv and not names:
        header(b"", path)
    if not records:
        raise StopError(f"{path}: there are no rows", hint="give a table with rows")
    return Text(path, records, numbers)


def kinds(text: Text, *, is_guess: bool) -> dict[str, Kind]:
    """Return what each column holds, by its name, in the order of their first values.

    Raises
    ------
    StopError
        A line is no JSON object; or, where fields are guessed, a column of numbers holds a few texts.
    """
    found: dict[str, _Column] = {}
    for shape, (count, first, samples) in _shapes(text).items():
        for name, kind in shape:
            column = found.setdefault(name, _Column())
            column.add(kind, count, first, [sample[name] for sample in samples])
    if is_guess:
        for name, column in found.items():
            column.check(text, name)
    return {name: column.kind() for name, column in found.items()}


def decode(text: Text, plan: Plan, unwrap: str | None = None) -> tuple[Floats, Floats | None, Callable[[int], str]]:
    """Return the plan's fields and label (n, d), event times (n,) if it has any, and what names the place of a row.

    There is a row for each record, or for each vector inside an envelope.

    Raises
    ------
    StopError
        A record that the codec refuses; with its line.
    """
    longest = max(map(len, text.records), default=0)
    settings = CodecSettings(plan.all_fields, plan.timestamp, (), 1.0, longest, unwrap)
    decoded = json_codec.build(settings).decode(_batch(text.records))
    record, X, t = decoded.record, decoded.X, decoded.event_time
    if decoded.rejects:
        # A row without any cell is none for the codec. Here every record is a row.
        rows, moments = zip(*(_read_again(text, settings, r.record, r.detail) for r in decoded.rejects), strict=True)
        record = np.concatenate([record, [reject.record for reject in decoded.rejects]])
        X, t = np.concatenate([X, np.array(rows, dtype=np.float64)]), np.concatenate([t, moments])
        order = np.argsort(record, kind="stable")
        record, X, t = record[order], X[order], t[order]
    has_time = plan.timestamp is not None or bool(np.isfinite(t).any())
    return X, t if has_time else None, lambda row: text.place(int(record[row]))


def _read_again(text: Text, settings: CodecSettings, index: int, detail: str) -> Row:
    """Return a rejected record's values and time where it is only too empty or infinite, which its table judges."""
    refusal = RefusalError("schema", detail)
    if settings.unwrap is None:
        try:
            return read_row(_json_text.parse(memoryview(text.records[index])), settings, {})
        except RefusalError as error:
            refusal = error
    raise columns.refused(text.place(index), refusal)


def _lines(path: Path) -> Iterator[bytes]:
    packed = path.suffix.lower() == ".gz"
    with gzip.open(path, "rb") if packed else path.open("rb") as file:
        try:
            yield from file
        except (EOFError, zlib.error) as error:
            raise StopError(f"{path}: damaged: {error}", hint="compress the file again") from error


_MISFIT_HINT = (
    "each row needs one cell per column name; R writes row names without a column name, unless row.names = FALSE"
)


def _misfit(line: bytes, names: Sequence[str]) -> str:
    row = cells(line.decode("utf-8", "surrogateescape"))
    if row is None:
        return "not a line of CSV"
    return f"a line of {len(row)} cell{'s' if len(row) > 1 else ''}, but the header has {len(names)} names"


def _shapes(text: Text) -> dict[tuple[tuple[str, type], ...], tuple[int, int, list[dict[str, Json]]]]:
    """Return each shape of record (names and types), with how many have it, which is the first, and some of them."""
    counts: Counter[tuple[tuple[str, ...], tuple[type, ...]]] = Counter()
    first: dict[tuple[tuple[str, ...], tuple[type, ...]], tuple[int, list[dict[str, Json]]]] = {}
    for index, record in enumerate(text.records):
        try:
            payload = _json_text.parse(memoryview(record))
        except RefusalError as refusal:
            raise columns.refused(text.place(index), refusal) from None
        if not isinstance(payload, dict):
            raise StopError(
                f"{text.place(index)}: the record is {describe(payload)}, expected an object",
                hint="write one object per line, or name the positions of arrays in codec.fields",
            )
        shape = tuple(payload), tuple(map(_kind, payload.values()))
        counts[shape] += 1
        if counts[shape] == 1:
            first[shape] = index, []
        if counts[shape] <= SAMPLES:
            first[shape][1].append(payload)
    return {tuple(zip(*shape, strict=True)): (counts[shape], *found) for shape, found in first.items()}


def _kind(value: Json) -> type:
    return float if isinstance(value, str) and is_quoted_number(value) else type(value)


class _Column:
    """What was seen of a column."""

    def __init__(self) -> None:
        self._numbers = self._texts = 0
        self._first_text = -1
        self._samples: list[str] = []
        self._other: Kind | None = None

    def add(self, kind: type, count: int, first: int, samples: Sequence[Json]) -> None:
        """Count records, of which `first` is the first, whose values are of a type."""
        if kind is str:
            self._texts += count
            self._first_text = first if self._first_text < 0 else min(self._first_text, first)
            self._samples += samples
        elif kind in {int, float}:
            self._numbers += count
        elif kind is not type(None):
            self._other = _OTHERS.get(kind, "neither numbers nor text")

    def kind(self) -> Kind:
        """Return what the column holds."""
        if self._other is not None:
            return self._other
        if not self._texts:
            return "numbers" if self._numbers else "empty"
        return "text" if self._numbers else columns.text_kind(self._samples)

    def check(self, text: Text, name: str) -> None:
        """Raise StopError where a few texts stand among numbers."""
        if self._other is None and 0 < self._texts <= STRAY_TEXT * self._numbers:
            raise StopError(
                f"{text.place(self._first_text)}: the column {columns.shown(name)} is numeric, but here it holds "
                f"{self._samples[0]!r:.40}",
                hint="leave the cell empty if it is missing, or name the fields to take in codec.fields",
            )


def _batch(records: Sequence[bytes]) -> RecordBatch:
    n = len(records)
    nothing = np.full(n, -1, dtype=np.int64)
    return RecordBatch(
        (TopicPartition("file", 0),),
        np.zeros(n, dtype=np.int64),
        np.arange(n, dtype=np.int64),
        nothing,
        ByteColumn.from_values(records),
        ByteColumn.nulls(n),
        [()] * n,
        {},
    )
