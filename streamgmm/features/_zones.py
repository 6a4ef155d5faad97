"""Local time for whole arrays: a time zone's transitions, looked up once."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from streamgmm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamgmm.records import Floats

WEEK = 7 * 86400
STRIDE = 2 * WEEK
# Years 1970 to 2100; before and after, the first and the last offset hold.
LAST = 4_102_444_800


class Zone:
    """A time zone as two arrays: when its offset from UTC changes (s), and to what (s).

    Raises
    ------
    ConfigError
        There is no such zone.
    """

    def __init__(self, name: str) -> None:
        try:
            zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            hint = "use a name such as Europe/Berlin; where the system has no time zones, pip install tzdata"
            raise ConfigError(f"there is no time zone {name!r}", hint=hint) from None

        def offset(second: int) -> int:
            utc = datetime.fromtimestamp(second, zone).utcoffset()
            return 0 if utc is None else round(utc.total_seconds())

        changes, offsets = [0], [offset(0)]
        # The shortest summer is one that Ramadan cuts: between two looks there is one change at most.
        for second in range(STRIDE, LAST, STRIDE):
            if offset(second) != offsets[-1]:
                changes.append(_first_other(offset, second - STRIDE, second))
                offsets.append(offset(second))
        self._changes = np.array(changes, dtype=np.float64)
        self._offsets = np.array(offsets, dtype=np.float64)

    def local(self, time: Floats) -> Floats:
        """Return times (n,), seconds since the epoch, moved to the zone's clock; NaN stays NaN."""
        known = np.where(np.isnan(time), 0.0, time)
        return time + self._offsets[np.maximum(np.searchsorted(self._changes, known, side="right") - 1, 0)]


def _first_other(offset: Callable[[int], int], before: int, after: int) -> int:
    """Return the first second of (before, after] that has another offset than `before`."""
    old = offset(before)
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (middle, after) if offset(middle) == old else (before, middle)
    return after
