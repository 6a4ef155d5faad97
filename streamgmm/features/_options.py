"""What the members ask of a spec, and the errors they share."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from streamgmm.records import Floats, Ints, Json

_LARGEST = np.finfo(np.float64).max


def check_options(spec: Mapping[str, Json], allowed: Collection[str]) -> None:
    """Refuse options that a member does not have."""
    for option in spec:
        if option not in {"type", *allowed}:
            raise ConfigError(f"unknown option {option!r}{did_you_mean(option, allowed)}")


def by_key(spec: Mapping[str, Json]) -> bool:
    """Return whether state is kept per key, as it is unless `by: stream` is given."""
    by = spec.get("by", "key")
    if by not in ("key", "stream"):
        raise ConfigError(f"by must be key or stream, got {by!r}")
    return bool(by == "key")


def positions(spec: Mapping[str, Json], names: Sequence[str]) -> Ints:
    """Return where the spec's `fields` stand among the columns."""
    fields = spec.get("fields")
    if not isinstance(fields, list | tuple) or not fields:
        raise ConfigError("fields must be a list of column names")
    for i, field in enumerate(fields):
        if field not in names:
            raise ConfigError(f"there is no column {field!r}{did_you_mean(str(field), names)}")
        if field in fields[:i]:
            raise ConfigError(f"the column {field!r} is named twice")
    return np.array([names.index(field) for field in fields], dtype=np.int64)


def added(names: Sequence[str], columns: Ints, suffix: str) -> tuple[str, ...]:
    """Return the column names with one more per chosen column, `x.suffix`."""
    new = [f"{names[i]}.{suffix}" for i in columns]
    for name in new:
        if name in names:
            raise ConfigError(f"there is already a column {name!r}", hint="give each derived column once")
    return (*names, *new)


def whole_number(spec: Mapping[str, Json], option: str, default: int) -> int:
    """Return an option that is a whole number from 1 on."""
    value = spec.get(option, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{option} must be a whole number from 1 on, got {value!r}")
    return value


def half_life(spec: Mapping[str, Json], default: float) -> float:
    """Return the rows after which a row's weight in an exponentially weighted mean has halved."""
    value = spec.get("half_life", default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < np.inf:
        raise ConfigError(f"half_life must be a number of rows above 0, got {value!r}")
    return float(value)


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return a suggestion, or the choice where nothing is close."""
    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def finite(X: Floats) -> Floats:
    """Return X with what overflowed set to the largest float: differences of finite values stay finite."""
    return np.clip(X, -_LARGEST, _LARGEST)
