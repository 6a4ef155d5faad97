"""A backtest's page: whole, quiet towards the network, and right in its numbers."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from streamgmm import StreamDetector
from streamgmm.cli.backtest import processed
from streamgmm.offline.tables import Table
from streamgmm.plots.labels import auroc, average_precision, events_found
from streamgmm.plots.report import Run, incidents, report
from streamgmm.plots.svg import Chart

FIELDS = ("a", "<b & b>")
SECTIONS = ["Scores", "Calibration", "Rate of flags", "Incidents", "Models", "Labels"]


@pytest.fixture(scope="module")
def run():
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(3000, 2)), np.zeros(3000, dtype=np.int64)
    for start in (1500, 2200, 2800):
        X[start : start + 5, 1] += 12.0
        y[start : start + 5] = 1
    t = 1.7e9 + 60.0 * np.arange(3000)
    config = {"model": {"committee": "single"}, "detection": {"target_rate": 0.01}}
    detector = StreamDetector.from_config(config, fields=FIELDS)
    scored, events = processed(detector, Table(X, FIELDS, t, y), 250)
    return Run("Backtest of <x>", scored, events, 0.01, t, y)


VOID = {"meta", "circle", "rect", "path", "polyline", "polygon"}


class Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.text, self.headings = [], [], []

    def handle_starttag(self, tag, attrs):
        assert not {name for name, _ in attrs} & {"src", "href", "onload"}
        assert tag not in {"script", "link", "img", "iframe"}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)


def parsed(page):
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    return parser


def test_the_page_is_whole_and_asks_nobody_for_anything(run):
    page = report(run)
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert parsed(page).headings == SECTIONS
    assert "<b & b>" not in page
    assert "nan" not in re.sub(r"<style>.*?</style>", "", page).replace("nance", "")


def panel(page, heading):
    return page.split(f"<h2>{heading}</h2>")[1].split("</svg>")[0]


def test_rows_stand_at_their_times_where_there_are_any(run):
    for heading in ("Scores", "Rate of flags"):
        drawn = panel(report(run), heading)
        assert "time (UTC)" in drawn
        assert ">2023-11-14 22:13<" in drawn
        assert ">2023-11-17 00:12<" in drawn
    backwards = run.t.copy()
    backwards[100] = 0.0
    for t in (None, backwards, np.full(3000, np.nan), np.full(3000, 5.0)):
        drawn = panel(report(replace(run, t=t)), "Scores")
        assert ">row<" in drawn
        assert ">3000<" in drawn


def test_a_gap_in_time_is_a_gap_on_the_page(run):
    t = run.t.copy()
    t[1500:] += 86400.0 * 30
    dots = re.findall(r'class="flag" cx="([0-9.]+)"', panel(report(replace(run, t=t)), "Scores"))
    assert all(float(x) < 200.0 or float(x) > 800.0 for x in dots)


@pytest.mark.parametrize("far", [-1e4, -1e300, -np.inf])
def test_extremes_do_not_squash_the_scores(run, far):
    scored = replace(run.scored, log_density=run.scored.log_density.copy(), threshold=run.scored.threshold.copy())
    scored.log_density[2000:2030] = far
    scored.threshold[1200:1220] = far
    scored.threshold[2030:2600] = far / 2
    drawn = panel(report(replace(run, scored=scored)), "Scores")
    points = re.search(r'class="scores" points="([^"]*)"', drawn)[1].split()
    heights = [float(point.split(",")[1]) for point in points]
    assert np.quantile(heights, 0.75) - np.quantile(heights, 0.25) > 20.0


def test_it_says_what_was_found(run):
    text = " | ".join(parsed(report(run)).text)
    flagged = int(run.scored.is_anomaly.sum())
    assert f"flagged | {flagged} (" in text
    assert "<b & b>" in text
    assert "faulty stretches with a flag | 3 of 3" in text
    assert report(run).count('<circle class="flag"') == flagged
    found = incidents(run)
    assert len(found) == len(run.scored.opened)
    assert sum(i.rows for i in found) == flagged
    assert {1500, 2200, 2800} <= {int(i.first) for i in found}
    worst = min(found, key=lambda i: (i.worst.p_value, i.worst.log_density))
    assert worst.leading(1)[0][0] == "<b & b>"


def test_promotions_stand_where_they_happened(run):
    promoted = [row for row, event in run.events if event.labels.get("outcome") == "promoted"]
    assert promoted
    assert report(run).count('class="promoted"') == len(promoted)


def test_blocks_change_nothing(rng):
    X = rng.normal(size=(1500, 2))
    config = {"model": {"committee": "single"}}
    one, _ = processed(StreamDetector.from_config(config, fields=FIELDS), Table(X, FIELDS), 1500)
    other, _ = processed(StreamDetector.from_config(config, fields=FIELDS), Table(X, FIELDS), 70)
    np.testing.assert_array_equal(one.log_density, other.log_density)
    assert (one.opened, one.ended, len(one.anomalies)) == (other.opened, other.ended, len(other.anomalies))


@pytest.mark.parametrize("n", [0, 5])
def test_nothing_scored_is_a_page_too(n):
    detector = StreamDetector.from_config({"model": {"committee": "single"}}, fields=FIELDS)
    scored, events = processed(detector, Table(np.zeros((n, 2)), FIELDS), 100)
    assert parsed(report(Run("x", scored, events, 0.001))).headings == SECTIONS[:-1]
    labels = np.zeros(n, dtype=np.int64)
    assert parsed(report(Run("x", scored, events, 0.001, y=labels))).headings == SECTIONS


def test_label_figures_are_those_of_the_definitions(rng):
    faulty = rng.random(300) < 0.2
    score = np.round(rng.normal(size=300) + faulty, 1)
    above = np.mean([(a > b) + 0.5 * (a == b) for a in score[faulty] for b in score[~faulty]])
    assert auroc(faulty, score) == pytest.approx(above)
    steps = [
        ((score >= s) & faulty).sum() / (score >= s).sum() * ((score == s) & faulty).sum() for s in np.unique(score)
    ]
    assert average_precision(faulty, score) == pytest.approx(sum(steps) / faulty.sum())
    assert np.isnan(auroc(np.zeros(3, dtype=bool), np.zeros(3)))
    runs = np.array([1, 1, 0, 1, 0, 0, 1], dtype=bool)
    assert events_found(runs, np.array([0, 1, 1, 0, 1, 0, 1], dtype=bool)) == (2, 3)


def test_what_lies_outside_is_drawn_at_the_edge():
    chart = Chart((0.0, 10.0), (0.0, 1.0), "<x>", "y")
    chart.dots(np.array([5.0, -3.0]), np.array([1e300, -np.inf]), "flag")
    chart.line(np.arange(3.0), np.array([np.nan] * 3), "curve")
    text = str(chart)
    assert 'cx="506.0" cy="10.0"' in text
    assert 'cx="64.0" cy="186.0"' in text
    assert "polyline" not in text
    assert "&lt;x&gt;" in text
