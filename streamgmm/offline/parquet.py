"""Columns of Parquet files; pyarrow is an extra (`pip install 'streamgmm[parquet]'`) and lives in this file."""

from __future__ import annotations

import importlib
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from streamgmm.errors import StopError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import ModuleType

    from numpy.typing import NDArray

_NAT = int(np.iinfo(np.int64).min)


def read_columns(path: Path) -> tuple[dict[str, NDArray[Any]], frozenset[str]]:
    """Return the columns (n,) by name, and the names of those that pandas wrote as an index.

    Numbers are float64 (null is NaN) or bool, points in time and dates datetime64, anything else is objects.

    Raises
    ------
    StopError
        pyarrow is not installed, or the file is damaged.
    """
    pyarrow = _pyarrow()
    try:
        table = pyarrow.parquet.read_table(path)
        columns = dict(zip(table.column_names, map(partial(_array, pyarrow), table.columns), strict=True))
    except (pyarrow.ArrowException, ValueError) as error:
        raise StopError(f"{path}: {error}", hint="write the file again") from error
    twice = next((name for name in table.column_names if table.column_names.count(name) > 1), None)
    if twice is not None:
        raise StopError(f"{path}: the column {twice!r} is named twice", hint="give each column a name of its own")
    index = (table.schema.pandas_metadata or {}).get("index_columns", ())
    return columns, frozenset(name for name in index if isinstance(name, str))


def write_columns(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays (n,) by name; NaN becomes null.

    Raises
    ------
    StopError
        pyarrow is not installed.
    """
    pyarrow = _pyarrow()
    arrays = {name: pyarrow.array(values, from_pandas=True) for name, values in columns.items()}
    pyarrow.parquet.write_table(pyarrow.table(arrays), path)


def _array(pyarrow: ModuleType, column: Any) -> NDArray[Any]:  # noqa: ANN401 - pyarrow has no types
    kind, known = column.type, pyarrow.types
    if known.is_dictionary(kind):
        kind = kind.value_type
        column = column.cast(kind)
    if known.is_timestamp(kind) or known.is_date(kind):
        moments = column.cast(pyarrow.timestamp("us", getattr(kind, "tz", None)), safe=False).cast(pyarrow.int64())
        return np.asarray(moments.fill_null(_NAT).to_numpy(), dtype=np.int64).view("datetime64[us]")
    if known.is_duration(kind):
        return np.asarray(column.to_numpy())
    if known.is_boolean(kind) and not column.null_count:
        return np.asarray(column.to_numpy(), dtype=np.bool_)
    if any(of(kind) for of in (known.is_integer, known.is_floating, known.is_decimal, known.is_boolean)):
        return np.asarray(column.cast(pyarrow.float64(), safe=False).to_numpy(), dtype=np.float64)
    out = np.empty(len(column), dtype=object)
    out[:] = column.to_pylist()
    return out


def _pyarrow() -> ModuleType:
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError:
        raise StopError("Parquet needs pyarrow", hint="pip install 'streamgmm[parquet]'") from None
