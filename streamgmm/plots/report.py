"""A backtest on one page of HTML that opens anywhere: no script, no network, no plotting library."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.engine.incidents import summarised
from streamgmm.plots.labels import auroc, average_precision, events, events_found
from streamgmm.plots.svg import Chart, moment
from streamgmm.records import FlaggedRow, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from streamgmm.records import Event, IncidentSummary, ScoredBatch

    Floats = NDArray[np.float64]

BINS, SEGMENTS, P_BINS = 480, 40, 20
MOST_DOTS, MOST_ROWS = 2000, 100
# Of the score panel: how many times as far below the median as the top is above it.
FARTHEST = 6.0
RATES = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0001)
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#222;max-width:1000px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}table{border-collapse:collapse;margin:.6em 0}
td,th{padding:.2em .8em .2em 0;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}p.note{color:#666}svg{width:100%;height:auto}
.scores{fill:#9bb8d3}.threshold{fill:none;stroke:#b3261e;stroke-width:1.2}.flag{fill:#b3261e}
.curve{fill:none;stroke:#2b5c8a;stroke-width:1.5}.aim{fill:none;stroke:#888;stroke-dasharray:4 3}.bars{fill:#9bb8d3}
.label{fill:#f6d9a8}.promoted{stroke:#bbb;stroke-width:.7}.drift{stroke:#7a3db8;stroke-width:1.5;stroke-dasharray:3 2}
.axis{fill:none;stroke:#444}.tick{font-size:10px;text-anchor:middle;fill:#444}.tick.y{text-anchor:end}
.name{font-size:11px;text-anchor:middle;fill:#444}
"""


@dataclass(frozen=True, slots=True)
class Run:
    """A backtest.

    Attributes
    ----------
    events
        (rows seen when it was told, event).
    t, y
        Event times (n,) in seconds, and labels (n,), other than 0 where a row is faulty, if there are any.
    """

    title: str
    scored: ScoredBatch
    events: Sequence[tuple[int, Event]]
    target_rate: float
    t: Floats | None = None
    y: NDArray[np.int64] | None = None


def report(run: Run) -> str:
    """Return the page."""
    sections = [
        ("", _summary(run)),
        ("Scores", _timeline(run)),
        ("Calibration", _calibration(run)),
        ("Rate of flags", _rate(run)),
        ("Incidents", _incidents(run)),
        ("Models", _models(run)),
        *([("Labels", _labels(run))] if run.y is not None else []),
    ]
    body = "".join((f"<h2>{title}</h2>" if title else "") + text for title, text in sections)
    title = escape(run.title)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{STYLE}</style></head>'
        f"<body><h1>{title}</h1>{body}</body></html>\n"
    )


def _summary(run: Run) -> str:
    scored = _scored(run)
    n, flagged = int(scored.sum()), int(run.scored.is_anomaly.sum())
    facts: list[tuple[str, object]] = [
        ("rows", len(run.scored)),
        ("scored", n),
        ("flagged", f"{flagged} ({flagged / n:.3%}; target {run.target_rate:.3%})" if n else flagged),
        ("incidents", len(run.scored.opened)),
        ("flags taken back by rules", len(run.scored.withdrawn)),
    ]
    return _table((), facts)


def _timeline(run: Run) -> str:
    rows = np.flatnonzero(_scored(run))
    if not len(rows):
        return _note("Nothing was scored.")
    density, threshold = run.scored.log_density[rows], run.scored.threshold[rows]
    axis = _Axis.of(run)
    low, top = _range(density, threshold[np.isfinite(threshold)])
    chart = axis.chart((low, top), "log-density (nats)")
    _shade_labels(chart, run, axis)
    parts = np.array_split(np.arange(len(rows)), min(BINS, len(rows)))
    at = axis.at(np.array([rows[part[0]] for part in parts]))
    lowest, highest = (np.array([f(density[part]) for part in parts]) for f in (np.min, np.max))
    chart.band(at, lowest, highest, "scores")
    chart.line(at, np.array([threshold[part[0]] for part in parts]), "threshold")
    for row, event in run.events:
        if event.kind == "refit" and event.labels.get("outcome") == "promoted":
            chart.upright(axis.of_row(row), "promoted", f"promoted, by row {row}")
        elif event.kind.startswith("drift"):
            chart.upright(axis.of_row(row), "drift", f"drift, by row {row}")
    flagged = np.flatnonzero(run.scored.is_anomaly)
    worst = flagged[np.argsort(run.scored.p_value[flagged], kind="stable")[:MOST_DOTS]]
    chart.dots(axis.at(worst), run.scored.log_density[worst], "flag")
    return str(chart) + _note(
        "Blue: the range of scores. Red line: the threshold. Red dots: flagged rows; what is far below stands at the "
        "bottom. Grey: promotions of a model. Violet: drift alarms. Yellow: rows labelled faulty."
    )


def _range(density: Floats, threshold: Floats) -> tuple[float, float]:
    """Return the scores to show: the bulk in the upper half, however far the extremes of scores and threshold lie."""
    finite = density[np.isfinite(density)]
    bottom, middle, top = np.quantile(finite if len(finite) else np.zeros(1), [0.005, 0.5, 0.995]).tolist()
    # A threshold that is far off for a while, in the first calibration or after a wild row, must not set the scale.
    usual = float(np.quantile(threshold, 0.05)) if len(threshold) else bottom
    lowest = max(min(usual, bottom), middle - FARTHEST * max(top - middle, 1e-9))
    return lowest - (top - lowest), top


def _shade_labels(chart: Chart, run: Run, axis: _Axis) -> None:
    if run.y is not None:
        for start, stop in zip(*events(run.y != 0), strict=True):
            chart.bar(axis.of_row(int(start)), axis.of_row(int(stop)), chart.y[1], "label")


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where rows stand: at their times, where every row has one and they do not run backwards, or at their numbers."""

    places: Floats
    is_time: bool

    @classmethod
    def of(cls, run: Run) -> _Axis:
        t = run.t
        if t is not None and len(t) > 1 and np.isfinite(t).all() and (np.diff(t) >= 0.0).all() and t[-1] > t[0]:
            return cls(t, is_time=True)
        return cls(np.arange(len(run.scored) + 1, dtype=np.float64), is_time=False)

    def at(self, rows: NDArray[np.int64]) -> Floats:
        return self.places[np.minimum(rows, len(self.places) - 1)]

    def of_row(self, row: int) -> float:
        return float(self.places[min(row, len(self.places) - 1)])

    def chart(self, y: tuple[float, float], y_label: str) -> Chart:
        x = (float(self.places[0]), float(self.places[-1]))
        return Chart(x, y, "time (UTC)" if self.is_time else "row", y_label, self.is_time)


def _calibration(run: Run) -> str:
    p = run.scored.p_value[_normal(run)]
    if not len(p):
        return _note("Nothing was scored.")
    counts, edges = np.histogram(p, bins=P_BINS, range=(0.0, 1.0))
    shares = counts / len(p) * P_BINS
    chart = Chart((0.0, 1.0), (0.0, max(2.0, float(shares.max()))), "p-value", "rows over what is uniform")
    for share, start, stop in zip(shares, edges[:-1], edges[1:], strict=True):
        chart.bar(float(start), float(stop), float(share), "bars")
    chart.line(np.array([0.0, 1.0]), np.ones(2), "aim")
    rates = sorted({*RATES, run.target_rate}, reverse=True)
    found = [(f"{rate:g}", f"{(p <= rate).mean():.3g}", f"{(p <= rate).mean() / rate:.2f}") for rate in rates]
    kind = "scored rows" if run.y is None else "scored rows that no label calls faulty"
    return (
        str(chart)
        + _note(f"p-values of {kind}. Level bars are what they should be; a high first bar means more improbable rows.")
        + _table(("rate", "share of rows at or below it", "share / rate"), found)
    )


def _rate(run: Run) -> str:
    rows = np.flatnonzero(_scored(run))
    if not len(rows):
        return _note("Nothing was scored.")
    parts = np.array_split(rows, min(SEGMENTS, len(rows)))
    share = np.array([run.scored.is_anomaly[part].mean() for part in parts])
    top = max(3.0 * run.target_rate, float(share.max()))
    axis = _Axis.of(run)
    chart = axis.chart((0.0, top), "share of rows flagged")
    _shade_labels(chart, run, axis)
    chart.line(axis.at(np.array([part[len(part) // 2] for part in parts])), share, "curve")
    chart.line(np.array(chart.x), np.full(2, run.target_rate), "aim")
    return str(chart) + _note(f"In {len(parts)} stretches of equal length. Dashed: the target rate.")


def _incidents(run: Run) -> str:
    found = sorted(incidents(run), key=lambda i: (i.worst.p_value, i.worst.log_density))
    if not found:
        return _note("None.")
    columns = ("opened at row", "time (UTC)", "lasted", "rows", "worst row", "score", "p-value", "what led")
    more = _note(f"The worst {MOST_ROWS} of {len(found)}.") if len(found) > MOST_ROWS else ""
    return _table(columns, [_incident(run, i) for i in found[:MOST_ROWS]]) + more


def _incident(run: Run, incident: IncidentSummary) -> tuple[object, ...]:
    led = ", ".join(f"{name} (+{nats:.0f} nats)" for name, nats in incident.leading(3))
    lasted = incident.last - incident.opened
    return (
        int(incident.first), moment(incident.opened), "" if np.isnan(lasted) else f"{lasted:.0f} s", incident.rows,
        int(incident.worst.id), f"{incident.worst.score:.0f}", f"{incident.worst.p_value:.2g}",
        led + (" (faulty)" if run.y is not None and run.y[int(incident.worst.id)] else ""),
    )  # fmt: skip


def incidents(run: Run) -> list[IncidentSummary]:
    """Return the incidents of a run, in order; rows are known by their numbers."""
    found: dict[str, IncidentSummary] = {}
    scored = run.scored
    for anomaly in scored.anomalies:
        i = anomaly.index
        row = FlaggedRow(
            id=str(i),
            key=None,
            time=float("nan") if run.t is None else float(run.t[i]),
            log_density=float(scored.log_density[i]),
            p_value=float(scored.p_value[i]),
            score=float(scored.score[i]),
            version=str(Version(*scored.version[i].tolist())),
            contributions=anomaly.explanation.contributions,
            severity=anomaly.severity,
        )
        found[anomaly.incident] = summarised(found.get(anomaly.incident), anomaly, row)
    return list(found.values())


def _models(run: Run) -> str:
    counts: Counter[tuple[str, str]] = Counter()
    for _, event in run.events:
        counts[event.kind, ", ".join(str(v) for v in event.labels.values())] += 1
    told = [(kind.replace("_", " "), of, n) for (kind, of), n in sorted(counts.items())]
    version = run.scored.version[:, 0]
    starts = np.flatnonzero(np.diff(version, prepend=0))
    ends = np.append(starts, len(version))[1:]
    served = [(f"{version[a]}", int(a), int(b - a)) for a, b in zip(starts, ends, strict=True)]
    more = _note(f"The last {MOST_ROWS} of {len(served)} versions.") if len(served) > MOST_ROWS else ""
    return (
        _table(("event", "of", "times"), told)
        + _table(("version", "served from row", "rows"), served[-MOST_ROWS:])
        + more
    )


def _labels(run: Run) -> str:
    assert run.y is not None  # noqa: S101 - the caller asks for labels only where there are any
    rows = _scored(run)
    faulty, flagged = run.y[rows] != 0, run.scored.is_anomaly[rows]
    if not faulty.any() or faulty.all():
        return _note("The scored rows are all of one kind.")
    score = -run.scored.log_density[rows]
    found, there = events_found(faulty, flagged)
    facts: list[tuple[str, object]] = [
        ("faulty rows", f"{faulty.sum()} of {len(faulty)} ({faulty.mean():.2%})"),
        ("AUROC", f"{auroc(faulty, score):.3f}"),
        ("average precision", f"{average_precision(faulty, score):.3f}"),
        ("faulty stretches with a flag", f"{found} of {there}"),
        ("flags that are faulty rows", f"{faulty[flagged].mean():.1%}" if flagged.any() else "no flags"),
        ("share of normal rows flagged", f"{flagged[~faulty].mean():.3%}"),
    ]
    return _table((), facts)


def _scored(run: Run) -> NDArray[np.bool_]:
    return np.asarray(run.scored.status == 0)


def _normal(run: Run) -> NDArray[np.bool_]:
    return _scored(run) if run.y is None else _scored(run) & (run.y == 0)


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    lines = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return f"<table>{f'<tr>{head}</tr>' if head else ''}{lines}</table>"


def _cell(value: object) -> str:
    kind = ' class="n"' if isinstance(value, int) else ""
    return f"<td{kind}>{escape(str(value))}</td>"
