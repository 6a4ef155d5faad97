"""Fields that no record has: a wrong path in the configuration looks like a value that is missing for ever."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamgmm.records import Report

logger = logging.getLogger(__name__)

# So many rows, or events without a row, are enough to tell.
ENOUGH = 200


class Absent:
    """Tells once, in the log, which fields had no value in any row so far; `names` says it at any time."""

    def __init__(self) -> None:
        self._rows = self._passed = 0
        self._names: frozenset[str] = frozenset()
        self._told = False

    @property
    def names(self) -> tuple[str, ...]:
        """Return the fields without a value so far, once there were enough rows."""
        return tuple(sorted(self._names)) if self._rows >= ENOUGH else ()

    def observe(self, report: Report) -> None:
        """Look at what a report says is missing."""
        rows = report.scored + sum(report.unscored.values()) - report.unscored.get("tombstone", 0)
        if rows:
            missing = frozenset(name for name, n in report.missing.items() if n >= rows)
            self._names = self._names & missing if self._rows else missing
            self._rows += rows
        self._passed += report.passed.get("other_measurement", 0)
        if self._told:
            return
        if self.names:
            self._told = True
            logger.warning(
                "%d rows, and none has a value for %s: look at codec.fields", self._rows, ", ".join(self.names[:10])
            )
        elif not self._rows and self._passed >= ENOUGH:
            self._told = True
            logger.warning("%d metrics, and none has a declared field: look at codec.fields", self._passed)
