"""Which columns of a table are fields, event time and label, and what their cells mean: the codecs' own rules."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from streamgmm.codecs import Field, Timestamp
from streamgmm.codecs._payload import RefusalError, category, number, seconds
from streamgmm.errors import StopError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from streamgmm.codecs import CodecSettings
    from streamgmm.records import Json

    Floats = NDArray[np.float64]

Kind: TypeAlias = Literal[
    "numbers", "points in time", "text", "numbers written as text", "true or false", "empty", "nested values",
    "durations", "neither numbers nor text",
]  # fmt: skip
LABEL = "y"
# What pandas calls an index that has no name, and a header without one.
_INDEX = re.compile(r"|Unnamed: \d+(_level_\d+)?(\.\d+)?|__index_level_\d+__")
_TIMELY = re.compile(r"time|date|epoch|^ts$|^index$", re.IGNORECASE)
_EPOCH = np.datetime64(0, "us")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is read of a table.

    Attributes
    ----------
    fields
        In this order; their paths are names of columns, or lead into nested ones.
    timestamp
        Where the event time stands, if anywhere.
    label
        The column of labels, if there is one.
    left_out
        Name of each other column → why.
    """

    fields: tuple[Field, ...]
    timestamp: Timestamp | None = None
    label: Field | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the fields."""
        return tuple(one.name for one in self.fields)

    @property
    def all_fields(self) -> tuple[Field, ...]:
        """Return the fields, and the label behind them."""
        return self.fields if self.label is None else (*self.fields, self.label)


def plan(
    path: Path, kinds: Mapping[str, Kind], asked: CodecSettings | None, index: Collection[str] = frozenset()
) -> Plan:
    """Decide what is read.

    Parameters
    ----------
    kinds
        Name of each column → what it holds.
    asked
        Fields and event time of a configuration; all columns of numbers unless given.
    index
        Columns that number or name the rows.

    Raises
    ------
    StopError
        A field is not there, or there is none.
    """
    chosen = None if asked is None else tuple(_found(path, one, kinds) for one in asked.fields)
    taken = set() if chosen is None else {one.path for one in chosen}
    declared = None if asked is None else asked.timestamp
    is_there = declared is not None and _has(kinds, declared.path)
    time = declared if is_there else _time({name: kinds[name] for name in kinds if name not in taken}, index)
    others = [name for name in kinds if name not in taken and (time is None or name != time.path)]
    label = Field(LABEL, LABEL) if LABEL in others and kinds[LABEL] in {"numbers", "true or false"} else None
    others = [name for name in others if label is None or name != LABEL]
    if chosen is not None:
        return Plan(chosen, time, label, dict.fromkeys(others, "not asked for"))
    reasons = {name: _why_not(name, kinds[name], index) for name in others}
    fields = tuple(Field(name, name) for name, reason in reasons.items() if reason is None)
    left_out = {name: reason for name, reason in reasons.items() if reason is not None}
    if not fields:
        raise nothing(path, left_out)
    return Plan(fields, time, label, left_out)


def nothing(path: Path, left_out: Mapping[str, str]) -> StopError:
    """Return the error of a table without a column to take."""
    others = ", ".join(f"{shown(name)}: {reason}" for name, reason in left_out.items())
    return StopError(
        f"{path}: no column is left to read" + (f" ({others})" if others else ""),
        hint="give a table with named columns of numbers, or name the columns in codec.fields of a configuration",
    )


def absent(path: Path, name: str, kinds: Collection[str]) -> StopError:
    """Return the error of a table that lacks a field."""
    return StopError(f"{path}: the file has no field {name!r}", hint=f"it has {', '.join(map(shown, kinds))}")


def shown(name: str) -> str:
    """Return a column's name as it can be printed."""
    return name if name and name.isprintable() and name.strip() == name and len(name) <= 80 else repr(name[:80])


def kind(values: NDArray[Any]) -> Kind:
    """Return what a typed column holds."""
    if values.dtype.kind in "fiub":
        return "numbers"
    if values.dtype.kind in "OUS":
        known = [value for value in values.tolist() if value is not None]
        return text_kind(known) if all(isinstance(value, str) for value in known) else "neither numbers nor text"
    return {"M": "points in time", "m": "durations"}.get(values.dtype.kind, "neither numbers nor text")  # type: ignore[return-value]


def text_kind(texts: Collection[str]) -> Kind:
    """Return what texts are: points in time where all are."""
    if not texts:
        return "empty"
    if all(is_time(text) for text in texts):
        return "points in time"
    return "numbers written as text" if all(map(_is_number, texts)) else "text"


def values(path: Path, one: Field, column: NDArray[Any]) -> Floats:
    """Return a typed column as the codecs read such values (n,).

    Raises
    ------
    StopError
        A value is none of its kind; with its row.
    """
    codes: dict[str, float] = {}
    if one.type == "category":
        return _each(path, column, lambda value: category(one.name, value, codes))
    if column.dtype.kind in "fiub":
        with np.errstate(over="ignore"):
            return np.asarray(column, dtype=np.float64)
    if column.dtype.kind in "OUS":
        return _each(path, column, lambda value: number(one.name, value))
    raise StopError(
        f"{path}: the column {one.path!r} holds {kind(column)}, expected numbers",
        hint="leave it out of codec.fields; the event time is named by codec.timestamp",
    )


def times(path: Path, column: NDArray[Any], timestamp: Timestamp) -> Floats:
    """Return event times (n,), seconds since the epoch; NaN where there is none.

    Raises
    ------
    StopError
        A value is no time; with its row.
    """
    if column.dtype.kind == "M":
        return np.where(np.isnat(column), np.nan, (column - _EPOCH) / np.timedelta64(1, "s"))
    return _each(path, column, lambda value: seconds(value, timestamp.unit))


def refused(place: str, refusal: RefusalError) -> StopError:
    """Return the error of a cell or row that a codec refuses."""
    advice = "leave a cell empty where it is missing; codec.fields names the columns to take, codec.timestamp the time"
    return StopError(f"{place}: {refusal.detail}", hint=advice)


def _each(path: Path, column: NDArray[Any], convert: Callable[[Json], float]) -> Floats:
    out = np.empty(len(column))
    for row, value in enumerate(column.tolist()):
        try:
            out[row] = convert(value)
        except RefusalError as refusal:
            raise refused(f"{path}: row {row + 1}", refusal) from None
    return out


def _found(path: Path, one: Field, kinds: Mapping[str, Kind]) -> Field:
    """Return a field by where it stands: at its path, or else under its name."""
    if _has(kinds, one.path):
        return one
    if one.name in kinds:
        return one._replace(path=one.name)
    raise absent(path, one.name, kinds)


def _has(kinds: Mapping[str, Kind], path: str) -> bool:
    return path in kinds or kinds.get(path.partition(".")[0]) == "nested values"


def _time(free: Mapping[str, Kind], index: Collection[str]) -> Timestamp | None:
    """Return where the event time stands: in `t` or `timestamp`, or in the only index or column of points in time."""
    named = [name for name in ("t", "timestamp") if free.get(name) in {"numbers", "points in time"}]
    timely = [name for name, what in free.items() if what == "points in time"]
    indexes = [name for name in timely if _is_index(name, index)]
    only = next((names for names in (indexes, timely) if len(names) == 1), [])
    if not named and not only:
        return None
    name = (named or only)[0]
    return Timestamp(name, "s" if free[name] == "numbers" else "iso")


def _is_index(name: str, index: Collection[str]) -> bool:
    return name in index or _INDEX.fullmatch(name) is not None


def _why_not(name: str, what: Kind, index: Collection[str]) -> str | None:
    """Return why a column is no field, or None where it is one."""
    if what == "points in time":
        return "points in time; codec.timestamp names the event time"
    if _is_index(name, index):
        return "an index of the rows"
    return None if what == "numbers" else what


def is_epoch(name: str, values: Floats) -> bool:
    """Return whether numbers (n,) are points in time by name and size: 2001 to 2100 in s, ms, us or ns since 1970."""
    if not _TIMELY.search(name) or not np.isfinite(values).any():
        return False
    least, most = np.nanmin(values), np.nanmax(values)
    return any(1e9 * unit <= least <= most < 4.1e9 * unit for unit in (1.0, 1e3, 1e6, 1e9))


def is_time(text: str) -> bool:
    """Return whether a text is a point in time."""
    try:
        seconds(text, "iso")
    except RefusalError:
        return False
    return True


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
