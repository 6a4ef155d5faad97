"""Columns of Parquet files; pyarrow is an extra (`pip install 'streamgmm[parquet]'`) and lives in this file."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from streamgmm.errors import StopError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import ModuleType

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def read_columns(path: Path) -> dict[str, Floats]:
    """Return the columns (n,) that hold numbers or points in time, by name; null is NaN, times are in seconds.

    Raises
    ------
    StopError
        pyarrow is not installed.
    """
    pyarrow = _pyarrow()
    table = pyarrow.parquet.read_table(path)
    found = {name: _floats(pyarrow, column) for name, column in zip(table.column_names, table.columns, strict=True)}
    return {name: values for name, values in found.items() if values is not None}


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


def _floats(pyarrow: ModuleType, column: Any) -> Floats | None:  # noqa: ANN401 - pyarrow has no types
    kind = column.type
    if pyarrow.types.is_timestamp(kind):
        microseconds = column.cast(pyarrow.timestamp("us", kind.tz), safe=False).cast(pyarrow.int64())
        return np.asarray(_as_double(pyarrow, microseconds) / 1e6)
    known = pyarrow.types
    if any(of(kind) for of in (known.is_integer, known.is_floating, known.is_decimal, known.is_boolean)):
        return _as_double(pyarrow, column)
    return None


def _as_double(pyarrow: ModuleType, column: Any) -> Floats:  # noqa: ANN401 - as above
    return np.asarray(column.cast(pyarrow.float64(), safe=False).to_numpy(), dtype=np.float64)


def _pyarrow() -> ModuleType:
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError:
        raise StopError("Parquet needs pyarrow", hint="pip install 'streamgmm[parquet]'") from None
