"""Files of numpy arrays: read without trust in their bytes, written under the very names that are asked for."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from streamgmm.errors import StopError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

_REMEDY = "give an .npz of plain arrays, as numpy.savez writes it"


def load(path: Path) -> Arrays:
    """Return the arrays of an .npz by name, or that of an .npy under the name X.

    Raises
    ------
    StopError
        The file cannot be read, or holds anything but plain arrays.
    """
    try:
        with path.open("rb") as file:
            arrays = _loaded(file)
    except OSError as error:
        raise StopError(f"{path}: {error.strerror or error}") from error
    # numpy, zipfile and zlib raise a dozen kinds of error for bytes that are no arrays, a MemoryError among them.
    except Exception as error:
        words = str(error) or type(error).__name__
        raise StopError(f"{path}: damaged, or not plain arrays: {words:.200}", hint=_REMEDY) from error
    strange = [key for key, array in arrays.items() if not isinstance(array, np.ndarray)]
    if strange:
        raise StopError(f"{path}: {strange[0]} is not an array", hint=_REMEDY)
    return arrays


def _loaded(file: BinaryIO) -> Arrays:
    found = np.load(file, allow_pickle=False)
    return {"X": found} if isinstance(found, np.ndarray) else {key: found[key] for key in found.files}


def table(path: Path) -> tuple[Arrays, bool]:
    """Return columns (n,) by name, and whether they are those of one matrix, `X`.

    `X` (n, d) has its names in `fields` (d,), or x0, x1 …; beside it stand `t` (n,) and `y` (n,). A structured array
    has names of its own; so have arrays (n,) in a file without `X`.

    Raises
    ------
    StopError
        The file cannot be read, or its arrays do not go together.
    """
    arrays = load(path)
    if "X" not in arrays:
        return _alike(path, arrays), False
    X = arrays["X"]
    if X.dtype.names is not None:
        return {name: X[name] for name in X.dtype.names}, False
    if X.ndim != 2:
        raise StopError(f"{path}: X is {X.ndim}-D", hint="X has a row per record and a column per field")
    beside: Arrays = {name: arrays[name] for name in ("t", "y") if name in arrays}
    fields = [str(name) for name in np.atleast_1d(arrays["fields"])] if "fields" in arrays else _numbered(X.shape[1])
    names = [*fields, *beside]
    twice = next((name for name in names if names.count(name) > 1), None)
    if len(fields) != X.shape[1] or twice is not None:
        problem = f"{len(fields)} fields for {X.shape[1]} columns" if twice is None else f"{twice!r} is named twice"
        raise StopError(f"{path}: {problem}", hint="fields names each column of X once")
    return _alike(path, {**dict(zip(fields, X.T, strict=True)), **beside}), True


def save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an .npz; the file is called as it is asked to be, and so is every array.

    Raises
    ------
    OSError
        The place cannot be written.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def _alike(path: Path, arrays: Arrays) -> Arrays:
    """Return the arrays where each is a column of as many rows."""
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        found = ", ".join(f"{name} {array.shape}" for name, array in list(arrays.items())[:10])
        raise StopError(
            f"{path}: the arrays do not form a table: {found}", hint="give X (n, d), with t (n,) and y (n,) if any"
        )
    return arrays


def _numbered(d: int) -> list[str]:
    return [f"x{j}" for j in range(d)]
