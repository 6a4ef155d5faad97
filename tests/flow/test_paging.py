"""Incidents through the whole loop: the same records whatever the blocks and restarts, and never behind a commit."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from rigs import SETTINGS, Rig, logs, rows

from streamgmm.paging import Feed

SHORT = replace(SETTINGS, incident_seconds=2.0, incident_rows=15)
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "incident.schema.json").read_text())


@pytest.fixture(name="X")
def stream(rng):
    return rows(rng, 2400)


def paged(log, sizes=(500,), restored=None, interval=0.0, emit="incidents", **options):
    return Rig(
        log, sizes, restored, settings=SHORT, sinks=("pager",), feeds=(Feed("pager", emit, interval),), **options
    )


def values(rig):
    return [r.value for r in rig.sink.records]


@pytest.mark.parametrize("times", [False, True], ids=["untimed", "timed"])
def test_every_incident_opens_once_and_closes_once(X, times):
    anomalies = Rig(logs(X, times=times), settings=SHORT).run().anomalies()
    pages = paged(logs(X, times=times)).run().anomalies()
    for page in pages:
        jsonschema.validate(page, SCHEMA)
    rows_of = Counter(a["incident"] for a in anomalies)
    opened = [p["incident"] for p in pages if p["state"] == "open"]
    assert opened == list(rows_of)
    assert len(opened) > 5
    closed = [p for p in pages if p["state"] == "closed"]
    assert [p["incident"] for p in closed] == opened[: len(closed)]
    assert len(opened) - len(closed) <= 1
    for page in closed:
        mine = [a for a in anomalies if a["incident"] == page["incident"]]
        assert (page["rows"], page["id"]) == (len(mine), mine[0]["id"])
        assert page["worst"]["p_value"] == min(a["p_value"] for a in mine)
        assert (
            page["worst"]["contributions"] == next(a for a in mine if a["id"] == page["worst"]["id"])["contributions"]
        )


@pytest.mark.parametrize(("emit", "interval"), [("incidents", 0.0), ("incidents", 9.0), ("anomalies", 9.0)])
def test_blocks_and_restarts_change_nothing(X, emit, interval):
    whole = paged(logs(X, times=True), (37, 250, 8), emit=emit, interval=interval).run()
    assert values(paged(logs(X, times=True), (10_000,), emit=emit, interval=interval).run()) == values(whole)
    assert values(whole)
    for snapshot, committed in whole.snapshots[::5]:
        log = logs(X, times=True)
        log.committed.update(committed)
        again = paged(log, (61, 5), whole.restored(snapshot), emit=emit, interval=interval).run()
        assert values(again) == values(whole)[len(values(whole)) - len(values(again)) :]


def test_what_is_held_back_is_counted_and_told(X):
    plain = paged(logs(X, times=True)).run().anomalies()
    rig = paged(logs(X, times=True), interval=20.0).run()
    pages = rig.anomalies()
    held = sum(r.held_back.get("pager", 0) for r in rig.reports)
    assert held > 0
    openings = [p for p in pages if p["state"] == "open"]
    assert len(openings) < sum(p["state"] == "open" for p in plain)
    assert 0 < sum(p["suppressed"] for p in pages) <= held


def test_no_commit_passes_a_page_that_is_not_durable(X):
    rig = paged(logs(X), (40,))
    commit, seen = rig.log.commit, []

    def checked(offsets):
        assert not rig.sink.pending
        seen.append(offsets)
        return commit(offsets)

    rig.log.commit = checked
    rig.run()
    assert seen
    assert rig.sink.records


def test_an_older_snapshot_is_caught_up_in_silence(X):
    whole = paged(logs(X), (100,)).run()
    snapshot, _ = whole.snapshots[len(whole.snapshots) // 3]
    log = logs(X)
    log.committed.update(whole.log.committed)
    again = paged(log, (100,), whole.restored(snapshot)).run()
    assert not again.sink.records
    assert again.pages.state()["state"].tobytes() == whole.pages.state()["state"].tobytes()
