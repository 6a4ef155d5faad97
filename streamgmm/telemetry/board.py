"""What HTTP may know: published values that are replaced as a whole, read by other threads without a lock."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from streamgmm.records import Contact
from streamgmm.telemetry.absent import Absent
from streamgmm.telemetry.health import Health, Vitals, judge
from streamgmm.telemetry.log import moment, silence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from streamgmm.records import EngineStatus, Event, Json, Report
    from streamgmm.supervisor import Stuck

FORMAT = 1
RECENT_REFITS = 20
RECENT_MOVES = 20


@dataclass(frozen=True, slots=True)
class _Picture:
    """Everything that reports have said so far; never changed, only replaced."""

    rows: Mapping[str, int]
    without_row: Mapping[str, int] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    engine: EngineStatus | None = None
    partitions: tuple[tuple[str, int, int | None, int | None], ...] = ()
    waiting: tuple[tuple[str, int, str], ...] = ()
    moved: tuple[Mapping[str, Json], ...] = ()
    refits: tuple[Mapping[str, Json], ...] = ()
    sinks: Mapping[str, Mapping[str, Json]] | None = None
    snapshot: Mapping[str, Json] | None = None
    last_event_time: float = math.nan
    contact: Contact = field(default_factory=Contact)
    warm: bool = False
    joined: bool = False
    stopping: bool = False


class Board:
    """The daemon's state for /status, /livez and /readyz.

    Parameters
    ----------
    version
        Of the package.
    config
        The configuration with its secrets already redacted.
    sinks
        Their names, and where their records go.
    stuck
        The parts past their deadline at this moment.
    clock
        Time of day, seconds.
    """

    def __init__(
        self,
        *,
        version: str,
        config: Mapping[str, Json],
        sinks: Mapping[str, str],
        stuck: Callable[[], Sequence[Stuck]] = tuple,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._version = version
        self._config = config
        self._stuck = stuck
        self._clock = clock
        self._started = clock()
        self._absent = Absent()
        nothing = {"records": 0, "errors": 0, "last_error": None, "stuck_since": None}
        self._picture = _Picture(
            rows=dict.fromkeys(("scored", "unscored", "rejected", "replayed", "anomalies"), 0),
            sinks={name: {"to": place, **nothing} for name, place in sinks.items()},
        )

    def observe(self, report: Report) -> None:
        """Publish what a report says. Only the loop's thread calls this."""
        self._absent.observe(report)
        before, now = self._picture, self._clock()
        rows = {
            "scored": report.scored,
            "unscored": sum(report.unscored.values()),
            "rejected": sum(report.rejected.values()),
            "replayed": report.replayed,
            "anomalies": sum(report.anomalies.values()),
        }
        refits = [_event(e, now) for e in report.events if e.kind in ("refit", "refit_refused")]
        snapshots = [_event(e, now) for e in report.events if e.kind == "snapshot"]
        moved = [_event(e, now) for e in report.events if e.kind == "position_moved"]
        self._picture = replace(
            before,
            rows={name: before.rows[name] + n for name, n in rows.items()},
            without_row=Counter(before.without_row) + Counter(report.passed),
            absent=self._absent.names,
            engine=report.engine or before.engine,
            partitions=tuple(
                (tp.topic, tp.partition, report.next_offsets.get(tp), report.lag.get(tp)) for tp in report.assigned
            ),
            waiting=tuple((*tp, reason) for tp, reason in sorted(report.waiting.items())),
            moved=tuple(deque((*before.moved, *moved), maxlen=RECENT_MOVES)),
            refits=tuple(deque((*before.refits, *refits), maxlen=RECENT_REFITS)),
            sinks=_sinks(before.sinks or {}, report, now),
            snapshot=snapshots[-1] if snapshots else before.snapshot,
            last_event_time=before.last_event_time if math.isnan(report.last_event_time) else report.last_event_time,
            contact=report.contact,
            joined=before.joined or bool(report.assigned) or _assigned(report.events),
        )

    @property
    def contact(self) -> Contact:
        """Return what was last said of the source's far side."""
        return self._picture.contact

    def warm(self) -> None:
        """Note that the kernels are compiled."""
        self._picture = replace(self._picture, warm=True)

    def stopping(self) -> None:
        """Note that the orderly stop has begun."""
        self._picture = replace(self._picture, stopping=True)

    def health(self) -> Health:
        """Return where the daemon stands now."""
        p = self._picture
        return judge(Vitals(self._stuck(), p.warm, p.joined, p.stopping, _troubles(p)))

    def status(self) -> dict[str, Json]:
        """Return /status: plain values, times as seconds since the epoch; `format` grows with any change of meaning."""
        p = self._picture
        return {
            "format": FORMAT,
            "version": self._version,
            "started": self._started,
            "time": self._clock(),
            "health": asdict(self.health()),
            "rows": dict(p.rows),
            "without_row": dict(p.without_row),
            "absent_fields": list(p.absent),
            "last_event_time": p.last_event_time,
            "engine": None if p.engine is None else asdict(p.engine) | {"version": str(p.engine.version)},
            "last_answer": p.contact.answered,
            "partitions": [
                {"topic": topic, "partition": partition, "next_offset": offset, "lag": lag}
                for topic, partition, offset, lag in p.partitions
            ],
            "waiting": [
                {"topic": topic, "partition": partition, "reason": reason} for topic, partition, reason in p.waiting
            ],
            "moved": list(p.moved),
            "refits": list(p.refits),
            "snapshot": p.snapshot,
            "sinks": p.sinks,
            "config": self._config,
        }


def _event(event: Event, now: float) -> dict[str, Json]:
    return {"time": now, "kind": event.kind, **event.labels, **event.fields}


def _assigned(events: Iterable[Event]) -> bool:
    return any(e.kind == "rebalance" and e.labels.get("event") == "assigned" for e in events)


def _sinks(before: Mapping[str, Mapping[str, Json]], report: Report, now: float) -> Mapping[str, Mapping[str, Json]]:
    """Return each sink's records and errors so far; a sink that is not configured is not shown."""
    sinks: dict[str, dict[str, Json]] = {name: dict(sink) for name, sink in before.items()}
    for name, n in report.sink_records.items():
        if name in sinks:
            sinks[name]["records"] += n
    for event in report.events:
        sink = sinks.get(event.labels.get("sink", ""))
        if sink is not None and event.kind == "sink_error":
            sink["errors"] += 1
            sink["last_error"] = _event(event, now)
            sink["stuck_since"] = now
        elif sink is not None and event.kind == "sink_recovered":
            sink["stuck_since"] = None
    return sinks


def _troubles(picture: _Picture) -> tuple[str, ...]:
    """Return what the outside world keeps from us, in sentences: a restart would not help."""
    silent = (silence(picture.contact),) if picture.contact.lost else ()
    return silent + tuple(
        f"sink {name} ({sink['to']}) has not taken its records since {moment(sink['stuck_since'])}"
        for name, sink in (picture.sinks or {}).items()
        if sink["stuck_since"] is not None
    )
