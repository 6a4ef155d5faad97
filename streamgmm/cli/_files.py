"""Reading and writing tables: .npz, .csv with a header, .jsonl and (with pyarrow) .parquet."""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING

import numpy as np

from streamgmm import private
from streamgmm.errors import StopError
from streamgmm.offline import arrays, parquet, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from streamgmm.codecs import CodecSettings
    from streamgmm.offline.tables import Table
    from streamgmm.records import Floats, Json


def read_table(path: Path, asked: CodecSettings | None = None) -> Table:
    """Read a table and print which columns are used and which are not; see `offline.tables.read`.

    Raises
    ------
    StopError
        The file does not exist, has another extension, or has invalid contents.
    """
    table = tables.read(path, asked)
    for note in table.notes:
        print(f"{path}: {note}", file=sys.stderr)
    return table


def write_rows(path: Path, X: Floats, fields: Sequence[str]) -> None:
    """Write rows (n, d) with the names of their fields (d,). `read_table` reads them back.

    Raises
    ------
    StopError
        The extension is unknown, or the file cannot be written.
    """
    if path.suffix.lower() == ".npz":
        write_columns(path, {"X": X, "fields": np.array(fields)})
    else:
        write_columns(path, dict(zip(fields, X.T, strict=True)))


def write_columns(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays. In .csv and .jsonl they are columns (n,), and NaN is an empty cell or null.

    Raises
    ------
    StopError
        The extension is unknown, or the file cannot be written.
    """
    checked_output(path)
    try:
        with private.replacing(path) as temporary:
            _WRITERS[path.suffix.lower()](temporary, columns)
    except OSError as error:
        raise StopError(f"{path}: {error.strerror}") from error


def checked_output(path: Path) -> Path:
    """Return the path if a table can be written to it. It is called before the work, so that errors come early.

    Raises
    ------
    StopError
        The extension is unknown, or the folder does not exist.
    """
    if path.suffix.lower() not in _WRITERS:
        raise StopError(f"{path}: cannot write files ending in {path.suffix!r}", hint=f"use {', '.join(_WRITERS)}")
    if not path.parent.is_dir():
        raise StopError(f"{path}: there is no folder {path.parent}", hint="make it first")
    return path


def _write_csv(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(_values(columns, ""))


def _write_jsonl(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in _values(columns, None):
            file.write(json.dumps(dict(zip(columns, row, strict=True))) + "\n")


def _values(columns: Mapping[str, NDArray[Any]], missing: str | None) -> Iterator[tuple[Json, ...]]:
    """Yield rows of plain values, with `missing` instead of NaN."""
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        yield tuple(missing if isinstance(value, float) and value != value else value for value in row)  # noqa: PLR0124  # the quickest test for NaN


_WRITERS: dict[str, Callable[[Path, Mapping[str, NDArray[Any]]], None]] = {
    ".npz": arrays.save,
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": parquet.write_columns,
}
