"""What was found, what was missed and what was a false alarm: pure arithmetic on the labels and the anomaly records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from streamgmm.demo.replay import ROW_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streamgmm.demo.stream import LabelledEvent, LabelledStream
    from streamgmm.records import Json

TOP_FEATURES = 3
ROWS_PER_DAY = 86_400 / ROW_SECONDS


class Flag(NamedTuple):
    """One flagged row: its row number in the stream, its incident, and the features of largest surprise."""

    row: int
    incident: str
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one labelled event; `first` is its first flagged row, None where it was missed."""

    event: LabelledEvent
    first: Flag | None

    @property
    def delay(self) -> int | None:
        """Return the rows from the start of the event to its first flag."""
        return None if self.first is None else self.first.row - self.event.start

    @property
    def cause_named(self) -> bool:
        """Return whether one of the top features is among the causes that operators named."""
        return self.first is not None and not set(self.first.features).isdisjoint(self.event.causes)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How good the flags are. Only rows after the warm-up count.

    Attributes
    ----------
    outcomes
        One per labelled event, in order.
    flagged, flagged_in_events
        Rows.
    flag_rate
        Share of the judged rows that were flagged.
    normal_flag_rate
        Share of the labelled-normal rows that were flagged: compare it with the target rate.
    expected_at_random
        Events that flags thrown at random at `flag_rate` hit on average: Σ 1 − (1 − r)^length.
    false_alarms
        Incidents without a single row in a labelled event.
    days
        Stream time that was judged.
    """

    outcomes: tuple[Outcome, ...]
    flagged: int
    flagged_in_events: int
    flag_rate: float
    normal_flag_rate: float
    expected_at_random: float
    false_alarms: int
    days: float

    @property
    def found(self) -> int:
        """Return the number of events with at least one flagged row."""
        return sum(outcome.first is not None for outcome in self.outcomes)

    @property
    def precision(self) -> float:
        """Return the share of flagged rows that lie in labelled events; NaN without flags."""
        return self.flagged_in_events / self.flagged if self.flagged else float("nan")

    @property
    def false_alarms_per_day(self) -> float:
        """Return incidents outside every labelled event per day of stream time."""
        return self.false_alarms / self.days


@dataclass(frozen=True, slots=True)
class Ledger:
    """The fate of every row of the input topic."""

    rows: int
    committed: int
    scored: int
    unscored: int
    rejected: int

    @property
    def lost(self) -> int:
        """Return the rows without a fate (negative: rows with two)."""
        return self.rows - self.scored - self.unscored - self.rejected


def flag(record: Mapping[str, Json]) -> Flag:
    """Read an anomaly record; the stream has one partition of its own, so the offset is the row."""
    top = record["contributions"][:TOP_FEATURES]
    return Flag(record["offset"], record["incident"], tuple(c["feature"] for c in top))


def judge(stream: LabelledStream, flags: Iterable[Flag]) -> Verdict:
    """Compare flags with labels. A row delivered twice (delivery is at least once) counts once."""
    judged = sorted({f.row: f for f in flags if f.row >= stream.warm}.values())
    outcomes = tuple(_outcome(event, judged) for event in stream.events)
    on_normal = [f for f in judged if stream.normal[f.row]]
    inside = [f for f in judged if not stream.normal[f.row]]
    rate = len(judged) / stream.judged
    return Verdict(
        outcomes=outcomes,
        flagged=len(judged),
        flagged_in_events=len(inside),
        flag_rate=rate,
        normal_flag_rate=len(on_normal) / int(stream.normal.sum()),
        expected_at_random=sum(hit_at_random(rate, len(event)) for event in stream.events),
        false_alarms=len({f.incident for f in on_normal} - {f.incident for f in inside}),
        days=stream.judged / ROWS_PER_DAY,
    )


def hit_at_random(rate: float, length: int) -> float:
    """Return the probability that independent flags at `rate` hit an event of `length` rows."""
    return 1 - (1 - rate) ** length


def _outcome(event: LabelledEvent, flags: Sequence[Flag]) -> Outcome:
    return Outcome(event, next((f for f in flags if event.start <= f.row < event.end), None))
