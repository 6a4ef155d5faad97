"""Tables that the offline commands read: .csv and .jsonl (or .gz of them), .npz, .npy, and .parquet with pyarrow.

A line of text is read as the daemon reads it: by the file source's reader and the JSON codec. Typed columns follow the
same rules. What is not taken is named, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.errors import StopError
from streamgmm.offline import arrays, columns, lines, parquet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from streamgmm.codecs import CodecSettings
    from streamgmm.offline.columns import Plan

    Floats = NDArray[np.float64]

COUNTER_ROWS = 10
MOST_NAMES = 40


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of a file.

    Attributes
    ----------
    X : (n, d)
        NaN is missing; a category is the codec's number for it.
    fields
        Names of the d columns.
    t : (n,), optional
        Event times, seconds since the epoch; NaN where there is none.
    y : (n,), optional
        Labels.
    notes
        Sentences that say which columns were taken, and which not.
    """

    X: Floats
    fields: tuple[str, ...]
    t: Floats | None = None
    y: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)


def read(path: Path, asked: CodecSettings | None = None) -> Table:
    """Read a table.

    Parameters
    ----------
    asked
        The fields and the event time to read; all columns of numbers unless given.

    Raises
    ------
    StopError
        The file is not there, has another ending, or does not hold what it should; with the line where there is one.
    """
    reader = _READERS.get(ending(path))
    if reader is None:
        raise StopError(
            f"{path}: cannot read files ending in {path.suffix!r}",
            hint=f"use {', '.join(_READERS)}, .csv.gz, .jsonl.gz",
        )
    try:
        table = reader(path, asked)
    except OSError as error:
        raise StopError(f"{path}: {error.strerror or error}") from error
    return table


def ending(path: Path) -> str:
    """Return the ending that says what a file holds, in small letters and without `.gz`."""
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    kind = name.suffix.lower()
    if name is not path and kind in {".npz", ".npy", ".parquet"}:
        return ".gz"
    return ".jsonl" if kind == ".ndjson" else kind


def _of_lines(path: Path, asked: CodecSettings | None) -> Table:
    is_csv = ending(path) == ".csv"
    text = lines.read(path, is_csv=is_csv)
    if asked is not None and not is_csv and (asked.unwrap is not None or text.holds_arrays):
        plan = columns.Plan(asked.fields, asked.timestamp)
        return _table(path, plan, *lines.decode(text, plan, asked.unwrap))
    kinds = lines.kinds(text, is_guess=asked is None)
    plan = columns.plan(path, kinds, asked)
    X, t, place = lines.decode(text, plan)
    for one, column in zip(plan.fields, X.T, strict=False):
        if one.path not in kinds and np.isnan(column).all():
            raise columns.absent(path, one.name, kinds)
    return _table(path, plan, X, t, place, is_guess=asked is None)


def _of_arrays(path: Path, asked: CodecSettings | None) -> Table:
    typed, is_matrix = arrays.table(path)
    return _of_columns(path, typed, asked, is_guess=asked is None and not is_matrix)


def _of_parquet(path: Path, asked: CodecSettings | None) -> Table:
    typed, index = parquet.read_columns(path)
    return _of_columns(path, typed, asked, index, is_guess=asked is None)


def _of_columns(
    path: Path,
    typed: dict[str, NDArray[np.generic]],
    asked: CodecSettings | None,
    index: frozenset[str] = frozenset(),
    *,
    is_guess: bool,
) -> Table:
    kinds = {name: columns.kind(values) for name, values in typed.items()}
    plan = columns.plan(path, kinds, asked, index)
    found = [columns.values(path, field, typed[field.path]) for field in plan.all_fields]
    t = None if plan.timestamp is None else columns.times(path, typed[plan.timestamp.path], plan.timestamp)
    return _table(path, plan, np.column_stack(found), t, lambda row: f"{path}: row {row + 1}", is_guess=is_guess)


def _table(
    path: Path, plan: Plan, X: Floats, t: Floats | None, place: Callable[[int], str], *, is_guess: bool = False
) -> Table:
    """Return the table of what was read: `X` holds the plan's fields, and the label behind them if there is one."""
    names, left_out = plan.names, dict(plan.left_out)
    kept = list(range(len(names)))
    if is_guess:
        strange = {j: reason for j in kept if (reason := _no_reading(names[j], X[:, j])) is not None}
        left_out |= {names[j]: reason for j, reason in strange.items()}
        kept = [j for j in kept if j not in strange]
    if not kept:
        raise columns.nothing(path, left_out)
    y = None
    if plan.label is not None:
        labels = X[:, len(names)]
        if np.isfinite(labels).all():
            y = labels.astype(np.int64)
        else:
            left_out[plan.label.name] = "a label of some rows only"
    X, fields = np.ascontiguousarray(X[:, kept]), tuple(names[j] for j in kept)
    _finite(X, fields, place)
    time = plan.timestamp.path if plan.timestamp is not None else None if t is None else "that of the envelope"
    return Table(X, fields, t, y, _notes(fields, time, None if y is None else plan.label, left_out))


def _no_reading(name: str, values: Floats) -> str | None:
    """Return why a column of numbers is none to learn from, though nobody says so; None where it may be one."""
    if len(values) >= COUNTER_ROWS and (np.diff(values) == 1.0).all():
        return "counts the rows"
    return "points in time as numbers; codec.timestamp names the event time" if columns.is_epoch(name, values) else None


def _finite(X: Floats, fields: tuple[str, ...], place: Callable[[int], str]) -> None:
    infinite = np.argwhere(np.isinf(X))
    if len(infinite):
        row, column = infinite[0].tolist()
        raise StopError(
            f"{place(row)}: the column {fields[column]!r} holds Inf, or a number too large for a float64",
            hint="leave the cell empty if it is missing, or remove the row",
        )


def _notes(fields: tuple[str, ...], time: str | None, label: object, left_out: dict[str, str]) -> tuple[str, ...]:
    taken = f"columns taken: {_listed(fields)}; event time: {'none' if time is None else columns.shown(time)}"
    reasons: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        reasons.setdefault(reason, []).append(name)
    groups = [f"{_listed(names)} ({reason})" for reason, names in reasons.items()]
    notes = [taken + ("" if label is None else "; label: y")]
    return (*notes, f"columns left out: {'; '.join(groups)}") if groups else tuple(notes)


def _listed(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(map(columns.shown, names[:MOST_NAMES])) + more


_READERS: dict[str, Callable[[Path, CodecSettings | None], Table]] = {
    ".csv": _of_lines,
    ".jsonl": _of_lines,
    ".npz": _of_arrays,
    ".npy": _of_arrays,
    ".parquet": _of_parquet,
}
