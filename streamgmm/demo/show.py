"""What the demo says: a progress bar, a line for each incident, and the verdict as a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from streamgmm.records import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import TextIO

    from streamgmm.demo.judge import Ledger, Outcome, Verdict
    from streamgmm.demo.scrape import Metrics
    from streamgmm.demo.stream import LabelledStream
    from streamgmm.records import Json

BAR_WIDTH = 24
PLAIN_STEPS = 10
NAMES_SHOWN = 3


def reason(contribution: Mapping[str, Json]) -> str:
    """Say one contribution in words: "disk_rb 0.41, expected 0.03 ± 0.01 given the others"."""
    digits = decimals(contribution["stddev"])
    observed, expected, stddev = (f"{contribution[name]:.{digits}f}" for name in ("observed", "expected", "stddev"))
    return f"{contribution['feature']} {observed}, expected {expected} ± {stddev} given the others"


def decimals(stddev: float) -> int:
    """Return how many decimals show a standard deviation's first digit: at least two, at most six."""
    if not stddev > 0:
        return 6
    return min(6, max(2, math.ceil(-math.log10(stddev))))


def incident(record: Mapping[str, Json]) -> str:
    """Say one anomaly record in a line: event time, row, score, and its top reason."""
    time = record["timestamp"][5:16].replace("T", " ")
    severity = f"{record['severity']:<8}"
    top = reason(record["contributions"][0])
    return f"{time}  row {record['offset']:>4}  score {record['score']:3.0f}  {severity}  {top}"


class Progress:
    """A bar that redraws itself on a terminal, and a line every tenth of the way elsewhere.

    Parameters
    ----------
    out
        Where lines go.
    bar
        Where the bar goes.
    rows
        Length of the whole way.
    """

    def __init__(self, out: TextIO, bar: TextIO, rows: int) -> None:
        self._out = out
        self._bar = bar
        self._rows = rows
        self._terminal = bar.isatty()
        self._steps = 0
        self._text = ""

    def update(self, sent: int, seen: int, version: str) -> None:
        """Show how far sending and scoring have come, and which model serves."""
        filled = BAR_WIDTH * seen // self._rows
        bar = "█" * filled + "░" * (BAR_WIDTH - filled)
        self._text = f"{bar} sent {sent:>4}  seen {seen:>4} of {self._rows}  model {version}"
        if self._terminal:
            self._bar.write(f"\r\x1b[K{self._text}")
        elif seen * PLAIN_STEPS // self._rows > self._steps:
            self._steps = seen * PLAIN_STEPS // self._rows
            self._bar.write(f"{self._text}\n")
        self._bar.flush()

    def note(self, text: str) -> None:
        """Show a line in the place of the bar; elsewhere than on a terminal, print it."""
        self._bar.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        self._bar.flush()

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        self.clear()
        self._out.write(f"{text}\n")
        self._out.flush()
        if self._terminal:
            self._bar.write(self._text)
            self._bar.flush()

    def lines(self, texts: Iterable[str]) -> None:
        """Print lines above the bar."""
        for text in texts:
            self.line(text)

    def clear(self) -> None:
        """Take the bar away."""
        if self._terminal:
            self._bar.write("\r\x1b[K")
            self._bar.flush()


def some(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    rest = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" +{rest}" if rest > 0 else "")


def table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Lay rows out in columns as wide as their widest cell."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def events(outcomes: Sequence[Outcome]) -> Iterable[str]:
    """Lay out what became of every labelled event."""
    head = ("event", "rows", "found", "operators named", "we named")
    yield ""
    yield from table([head, *(_event(number, outcome) for number, outcome in enumerate(outcomes, 1))])


def _event(number: int, outcome: Outcome) -> tuple[str, ...]:
    event = outcome.event
    found, named = "missed", ""
    if outcome.first is not None:
        found = f"after {outcome.delay} row{'s' if outcome.delay != 1 else ''}" if outcome.delay else "at once"
        named = ", ".join(outcome.first.features)
    return str(number), f"{event.start}–{event.end - 1} ({len(event)})", found, some(event.causes), named


def verdict(result: Verdict, target: float) -> Iterable[str]:
    """Say how good the flags were, beside what chance would have done."""
    found, by_chance = result.found, result.expected_at_random
    named = sum(outcome.cause_named for outcome in result.outcomes)
    inside, flagged = result.flagged_in_events, result.flagged
    alarms = f"{result.false_alarms_per_day:.1f} incidents a day"
    yield ""
    yield f"found        {found} of {len(result.outcomes)} events; as many flags at random would find {by_chance:.1f}"
    yield f"causes       {named} of {found} found events have a cause that operators named among our first three"
    yield f"precision    {result.precision:.2f}: {inside} of {flagged} flagged rows lie in labelled events"
    yield f"flag rate    {result.normal_flag_rate:.4f} on labelled-normal rows; the target rate is {target:g}"
    yield f"false alarms {alarms} of stream time ({result.false_alarms} in {result.days:.2f} days)"


def running(ledger: Ledger, metrics: Metrics, seconds: float) -> Iterable[str]:
    """Say where every row went, how the model renewed itself, and how fast."""
    lost, fates = ledger.lost, f"{ledger.scored} scored + {ledger.unscored} unscored + {ledger.rejected} rejected"
    promoted = metrics.total("refits_total", outcome="promoted")
    refused = metrics.total("refits_total", outcome="refused")
    reasons = ", ".join(f"{count:g} {name}" for name, count in metrics.by("refits_refused_total", "reason").items())
    busy = sum(metrics.total("stage_duration_seconds_sum", stage=stage) for stage in STAGES if stage != "poll")
    pace = (
        f"worked for {busy:.1f} s, learning included: {ledger.rows / busy:.0f} rows a second" if busy else "is untimed"
    )
    yield f"rows         {ledger.rows} = {fates}; lost {lost}; committed {ledger.committed}"
    yield f"refits       {promoted:g} promoted, {refused:g} refused{reasons and f' ({reasons})'}"
    yield f"speed        replayed in {seconds:.0f} s; the daemon {pace}"


def opening(stream: LabelledStream, servers: str, source: str, sink: str, config: Path) -> Iterable[str]:
    """Say what is about to happen."""
    columns, events_ahead = len(stream.fields), len(stream.events)
    yield f"stream   a real server, {columns} metrics, one row a minute: {stream.warm} rows to learn from,"
    yield f"         then {stream.judged} with {events_ahead} labelled faults"
    yield f"broker   {servers}: {source} → {sink}"
    yield f"daemon   streamgmm run -c {config}"
    yield ""
