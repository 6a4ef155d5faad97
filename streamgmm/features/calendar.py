"""Add where a row stands in the local day and week, as sine and cosine: `hour.sin`, `hour.cos`, `weekday.sin` ….

Both run on smoothly (half past nine lies between nine and ten, Monday noon between Monday and Tuesday), so that
midnight is no edge. A row without an event time gets NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamgmm.errors import ConfigError
from streamgmm.features import Stateless, _options
from streamgmm.features._zones import WEEK, Zone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamgmm.features import Rows
    from streamgmm.records import Floats, Json

# Part → its period (s), and the local time at which one begins: 1970-01-01 was a Thursday, and weeks begin on Monday.
PARTS = {"hour": (86400.0, 0.0), "weekday": (float(WEEK), 4 * 86400.0)}


def build(spec: Mapping[str, Json], names: tuple[str, ...]) -> Calendar:
    """Return the feature; options: `parts`, hour, weekday or both (unless given); `timezone`, UTC unless given."""
    _options.check_options(spec, ("parts", "timezone"))
    parts = spec.get("parts", list(PARTS))
    if not isinstance(parts, list | tuple) or not parts or len(set(parts)) < len(parts) or set(parts) - set(PARTS):
        raise ConfigError(f"parts must be a list of {' and '.join(PARTS)}, got {parts!r}")
    new = [f"{part}.{wave}" for part in parts for wave in ("sin", "cos")]
    for name in new:
        if name in names:
            raise ConfigError(f"there is already a column {name!r}", hint="give each derived column once")
    return Calendar((*names, *new), tuple(parts), Zone(str(spec.get("timezone", "UTC"))))


class Calendar(Stateless):
    """Sine and cosine of the local time of day and of week, beside the present values."""

    def __init__(self, names: tuple[str, ...], parts: tuple[str, ...], zone: Zone) -> None:
        self.names = names
        self._parts = parts
        self._zone = zone

    def apply(self, X: Floats, rows: Rows) -> Floats:
        """Return X and two more columns per part."""
        local = self._zone.local(rows.time)
        columns = [X]
        for part in self._parts:
            period, begin = PARTS[part]
            angle = 2.0 * np.pi * (np.mod(local - begin, period) / period)
            columns += [np.sin(angle)[:, None], np.cos(angle)[:, None]]
        return np.hstack(columns)
