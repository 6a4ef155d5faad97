"""What goes to a sink that wants a page and not a list: incidents as they open and close, and not too many at a time.

Muted rows (delivered before a restart, learnt again) are taken like any other: what is known of the running incident
and of the last page is then what it was. Whether a page of theirs leaves is for the caller to decide.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import numpy as np

from streamgmm.engine.incidents import summarised
from streamgmm.records import IncidentSummary  # noqa: TC001 - msgspec reads the types of what it decodes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from streamgmm.records import Anomaly, FlaggedRow

STATE = "state"


@dataclass(frozen=True, slots=True)
class Feed:
    """What one sink asked for.

    Attributes
    ----------
    name
        The sink's.
    min_interval : float
        Event time (s) between two of its records; closings come in any case.
    """

    name: str
    emit: Literal["anomalies", "incidents"]
    min_interval: float = 0.0


class Flag(NamedTuple):
    """A flagged row of a part, and how an incident will remember it."""

    anomaly: Anomaly
    row: FlaggedRow


@dataclass(frozen=True, slots=True)
class Page:
    """One record for one feed, due with the row at `index` of the part; `held` ones are counted and do not leave.

    `anomaly` for a feed of anomalies; otherwise `incident` as it stands, and whether it is over.
    """

    feed: str
    index: int
    suppressed: int = 0
    anomaly: Anomaly | None = None
    incident: IncidentSummary | None = None
    closed: bool = False
    held: bool = False


@dataclass(slots=True)
class Pace:
    """Where a feed stands: event time of its last page, pages held back since, and what it knows of the incident."""

    last: float = math.nan
    suppressed: int = 0
    announced: bool = False
    counted: bool = False

    def admits(self, t: float, interval: float) -> bool:
        """Return whether a page is due at event time t (s); a row without a time always is."""
        return not abs(t - self.last) < interval


@dataclass(slots=True)
class _Memory:
    incident: IncidentSummary | None = None
    paces: dict[str, Pace] = field(default_factory=dict)


class Paging:
    """Follows the running incident for all feeds together, and the pace of each."""

    def __init__(self, feeds: Sequence[Feed] = ()) -> None:
        self.feeds = tuple(feeds)
        self._memory = _Memory(None, {feed.name: Pace() for feed in feeds})
        self._held: Counter[str] = Counter()

    def take(self, flags: Sequence[Flag], ended: Sequence[int]) -> Iterator[Page]:
        """Yield the pages of a part, in the order of its rows.

        Parameters
        ----------
        ended
            Rows that showed the running incident to be over, before anything else is said of them.
        """
        moments: list[tuple[int, int, Flag | None]] = [(i, 0, None) for i in ended]
        moments += [(flag.anomaly.index, 1, flag) for flag in flags]
        for index, _, flag in sorted(moments, key=lambda moment: moment[:2]):
            yield from self._close(index) if flag is None else self._flagged(index, flag)

    def note_held(self, feed: str) -> None:
        """Count a page that was held back."""
        self._held[feed] += 1

    def held_back(self) -> dict[str, int]:
        """Return, once, how many pages of each feed were held back since the last call."""
        held, self._held = dict(self._held), Counter()
        return held

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what has to survive a restart."""
        if not self.feeds:
            return {}
        return {STATE: np.frombuffer(msgspec.msgpack.encode(self._memory), dtype=np.uint8)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from a state; feeds that are new begin with nothing."""
        if STATE not in state:
            return
        memory = msgspec.msgpack.decode(state[STATE].tobytes(), type=_Memory)
        known = {feed.name: memory.paces.get(feed.name, Pace()) for feed in self.feeds}
        self._memory = _Memory(memory.incident, known)

    def _flagged(self, index: int, flag: Flag) -> Iterator[Page]:
        before = self._memory.incident
        if before is None or before.id != flag.anomaly.incident:
            for pace in self._memory.paces.values():
                pace.announced = pace.counted = False
        incident = self._memory.incident = summarised(before, flag.anomaly, flag.row)
        for feed in self.feeds:
            pace = self._memory.paces[feed.name]
            if feed.emit == "anomalies":
                yield self._anomaly(feed, pace, index, flag)
            elif not pace.announced:
                # Held back once is not silenced: a small incident must not hide a big one that follows it.
                yield from self._opening(feed, pace, index, incident)

    @staticmethod
    def _anomaly(feed: Feed, pace: Pace, index: int, flag: Flag) -> Page:
        if not pace.admits(flag.row.time, feed.min_interval):
            pace.suppressed += 1
            return Page(feed.name, index, held=True)
        page = Page(feed.name, index, pace.suppressed, anomaly=flag.anomaly)
        pace.last, pace.suppressed = flag.row.time, 0
        return page

    @staticmethod
    def _opening(feed: Feed, pace: Pace, index: int, incident: IncidentSummary) -> Iterator[Page]:
        if not pace.admits(incident.last, feed.min_interval):
            if not pace.counted:
                pace.counted = True
                pace.suppressed += 1
                yield Page(feed.name, index, held=True)
            return
        yield Page(feed.name, index, pace.suppressed - pace.counted, incident=incident)
        pace.last, pace.suppressed, pace.announced = incident.last, 0, True

    def _close(self, index: int) -> Iterator[Page]:
        incident, self._memory.incident = self._memory.incident, None
        for feed in self.feeds:
            pace = self._memory.paces[feed.name]
            if feed.emit == "incidents" and incident is not None and pace.announced:
                yield Page(feed.name, index, pace.suppressed, incident=incident, closed=True)
                pace.suppressed = 0
            pace.announced = pace.counted = False
