"""CSV: a line a record, without a header, a cell for each field in order; numbers as Python's `float` reads them.

A compiled reader takes what is plain. Whatever it leaves is read by Python's csv module and `float`, which decide.
"""

from __future__ import annotations

import csv as stdlib
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.codecs import _block, _framing
from streamgmm.codecs._compiled import decode_block
from streamgmm.codecs._payload import RefusalError, category, number
from streamgmm.codecs.csv_kernels import decode_csv
from streamgmm.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.codecs import CodecSettings, Field
    from streamgmm.codecs._objects import Row
    from streamgmm.records import Bools, FeatureBatch, Floats, Ints, Json, RecordBatch

DELIMITERS = (",", ";", "|", "\t", " ")


def build(settings: CodecSettings) -> CsvCodec:
    """Return the CSV codec."""
    return CsvCodec(settings)


class CsvCodec:
    """Codec for lines of CSV.

    Parameters
    ----------
    settings
        Fields are positions; paths, a timestamp and passthrough have no place in a line.
    """

    def __init__(self, settings: CodecSettings) -> None:
        _block.require_fields(settings)
        _block.require_positions(settings, "lines of CSV")
        if settings.delimiter not in DELIMITERS:
            raise ConfigError(f"{settings.delimiter!r} is not a delimiter", hint=f"use one of {DELIMITERS}")
        self.fields = settings.fields
        self._settings = settings
        self._is_category = np.array([field.type == "category" for field in settings.fields])

    def decode(self, batch: RecordBatch) -> FeatureBatch:
        """Decode every record of a block; see `Codec.decode`."""
        return decode_block(self._settings, batch, self._quick, self._careful)

    def passthrough(self, value: bytes, row: int = 0) -> dict[str, Json]:  # noqa: ARG002 - part of the contract
        """Return nothing: a line carries nothing else."""
        return {}

    def _quick(self, buffer: NDArray[np.uint8], start: Ints, length: Ints) -> tuple[Floats, Floats, Bools]:
        n = len(start)
        X, read = np.empty((n, len(self.fields))), np.empty(n, dtype=np.bool_)
        decode_csv(buffer, start, length, self._is_category, ord(self._settings.delimiter), X, read)
        return X, np.full(n, np.nan), read

    def _careful(self, value: memoryview, codes: dict[str, float]) -> Row:
        try:
            return self._columns(_cells(value, self._settings.delimiter), codes), float("nan")
        except RefusalError as refusal:
            guess = _framing.hint(bytes(value[: _framing.HEAD_BYTES]), "csv")
            raise RefusalError(refusal.reason, refusal.detail + guess) from None

    def _columns(self, cells: list[str], codes: dict[str, float]) -> tuple[float, ...]:
        if len(cells) != len(self.fields):
            raise RefusalError("dimension", f"a line of {len(cells)} cells, expected {len(self.fields)}")
        found = enumerate(zip(self.fields, cells, strict=True), start=1)
        return tuple(_column(position, field, cell, codes) for position, (field, cell) in found)


def _cells(value: memoryview, delimiter: str) -> list[str]:
    try:
        text = str(value, "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise RefusalError("decode", f"not UTF-8 at byte {error.start}") from None
    try:
        rows = list(stdlib.reader([text], delimiter=delimiter, strict=True))
    except stdlib.Error as error:
        raise RefusalError("decode", f"not a line of CSV: {error!s:.200}") from None
    return rows[0] if rows else []


def _column(position: int, field: Field, cell: str, codes: dict[str, float]) -> float:
    if not cell.strip():
        return float("nan")
    if field.type == "category":
        return category(field.name, cell, codes)
    try:
        return float(cell)
    except ValueError:
        try:
            return number(field.name, cell)
        except RefusalError as refusal:
            raise RefusalError(refusal.reason, f"cell {position}: {refusal.detail}") from None
