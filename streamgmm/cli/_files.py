"""Tables that the offline commands read and write: .npz, .csv with a header, .jsonl, .parquet (with pyarrow)."""

from __future__ import annotations

import csv
import json
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.cli import _parquet
from streamgmm.errors import StopError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from streamgmm.records import Json

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of a file: X (n, d), the fields' names (d,), event times (n,) seconds if any, labels (n,) if any."""

    X: Floats
    fields: tuple[str, ...]
    t: Floats | None = None
    y: NDArray[np.int64] | None = None

    def take(self, fields: tuple[str, ...]) -> Table:
        """Return the table with just these fields, in this order."""
        missing = [f for f in fields if f not in self.fields]
        if missing:
            raise StopError(f"the file has no field {missing[0]!r}", hint=f"it has {', '.join(self.fields)}")
        columns = [self.fields.index(f) for f in fields]
        return Table(np.ascontiguousarray(self.X[:, columns]), fields, self.t, self.y)


def read_table(path: Path) -> Table:
    """Read a table.

    Raises
    ------
    StopError
        When the file is not there, has another ending, or does not hold what it should.
    """
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise StopError(f"{path}: cannot read files ending in {path.suffix!r}", hint=f"use {', '.join(_READERS)}")
    try:
        table = reader(path)
    except OSError as error:
        raise StopError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise StopError(f"{path}: {error}", hint="it should hold rows of numbers under names") from error
    if table.X.ndim != 2:
        raise StopError(f"{path}: X is {table.X.ndim}-D", hint="X has a row per record and a column per field")
    return table


def write_rows(path: Path, table: Table) -> None:
    """Write X and the fields' names of a table, so that `read_table` gives them back.

    Raises
    ------
    StopError
        Another ending, or a place that cannot be written.
    """
    if path.suffix == ".npz":
        write_columns(path, {"X": table.X, "fields": np.array(table.fields)})
    else:
        write_columns(path, dict(zip(table.fields, table.X.T, strict=True)))


def write_columns(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name; in .csv and .jsonl they are columns (n,), and NaN is an empty cell or null.

    Raises
    ------
    StopError
        Another ending, or a place that cannot be written.
    """
    checked_output(path)
    try:
        _WRITERS[path.suffix](path, columns)
    except OSError as error:
        raise StopError(f"{path}: {error.strerror}") from error


def checked_output(path: Path) -> Path:
    """Return a path that can be written as a table by its ending: to be asked before the work, not after it.

    Raises
    ------
    StopError
        Another ending, or no such folder.
    """
    if path.suffix not in _WRITERS:
        raise StopError(f"{path}: cannot write files ending in {path.suffix!r}", hint=f"use {', '.join(_WRITERS)}")
    if not path.parent.is_dir():
        raise StopError(f"{path}: there is no folder {path.parent}", hint="make it first")
    return path


def _write_npz(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    np.savez(path, allow_pickle=False, **columns)


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
    """Yield rows of plain values; NaN becomes `missing`."""
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        yield tuple(missing if isinstance(value, float) and value != value else value for value in row)  # noqa: PLR0124  # the quickest test for NaN


def _npz(path: Path) -> Table:
    with np.load(path, allow_pickle=False) as data:
        X = np.ascontiguousarray(data["X"], dtype=np.float64)
        fields = tuple(str(f) for f in data["fields"]) if "fields" in data else _numbered(X.shape[-1])
        t = np.asarray(data["t"], dtype=np.float64) if "t" in data else None
        y = np.asarray(data["y"], dtype=np.int64) if "y" in data else None
    return Table(X, fields, t, y)


def _csv(path: Path) -> Table:
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = tuple(next(rows, ()))
        if not header:
            raise ValueError("there is no header")
        X = np.array([[_number(cell) for cell in row] for row in rows], dtype=np.float64)
    return _split(X.reshape(-1, len(header)), header)


def _jsonl(path: Path) -> Table:
    with path.open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file if line.strip()]
    header = tuple(dict.fromkeys(name for record in records for name in record))
    X = np.array([[_number(record.get(name)) for name in header] for record in records], dtype=np.float64)
    return _split(X.reshape(-1, len(header)), header)


def _read_parquet(path: Path) -> Table:
    columns = _parquet.read_columns(path)
    if "t" not in columns and "timestamp" in columns:
        columns["t"] = columns.pop("timestamp")
    return _split(np.column_stack([*columns.values()]), tuple(columns))


def _split(X: Floats, header: tuple[str, ...]) -> Table:
    """Take the columns named t and y out of a table that has them beside the fields."""
    fields = tuple(name for name in header if name not in {"t", "y"})
    extra = {name: X[:, header.index(name)] for name in ("t", "y") if name in header}
    columns = [header.index(name) for name in fields]
    y = extra["y"].astype(np.int64) if "y" in extra else None
    return Table(np.ascontiguousarray(X[:, columns]), fields, extra.get("t"), y)


def _number(cell: str | float | None) -> float:
    return float("nan") if cell is None or cell == "" else float(cell)


def _numbered(d: int) -> tuple[str, ...]:
    return tuple(f"x{j}" for j in range(d))


_WRITERS: dict[str, Callable[[Path, Mapping[str, NDArray[Any]]], None]] = {
    ".npz": _write_npz,
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _parquet.write_columns,
}
_READERS: dict[str, Callable[[Path], Table]] = {
    ".npz": _npz,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _read_parquet,
}
