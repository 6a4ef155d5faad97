"""One turn of the loop: what it reports, when it saves, when it ends."""

from contextlib import contextmanager

import pytest
from rigs import PARTITIONS, Rig, logs, rows

from streamgmm.records import EVENTS, STAGES
from streamgmm.sources.memory import MemoryLog


@pytest.fixture(name="X")
def stream(rng):
    return rows(rng, 500)


def test_a_turn_without_records_still_commits_and_reports():
    rig = Rig(MemoryLog({tp: [] for tp in PARTITIONS}))
    assert not rig.loop.turn()
    (report,) = rig.reports
    assert report.assigned == PARTITIONS
    assert report.engine.state == "warming_up"
    assert set(report.stage_seconds) <= set(STAGES)


def test_every_stage_is_timed_and_marked_as_busy(X):
    rig, marks = Rig(logs(X)), []

    @contextmanager
    def busy(name):
        marks.append(name)
        yield

    rig.loop.busy = busy
    rig.run()
    assert set(marks) == set(STAGES)
    timed = set().union(*(r.stage_seconds for r in rig.reports))
    assert timed == set(STAGES)


def test_events_are_reported_once_and_are_of_the_closed_set(X):
    rig = Rig(logs(X)).run()
    events = [e for r in rig.reports for e in r.events]
    assert {"rebalance", "commit", "snapshot", "refit_started", "refit", "refresh"} <= {e.kind for e in events}
    assert all(set(e.labels) == set(EVENTS[e.kind]) for e in events)
    assert sum(e.kind == "rebalance" for e in events) == 1
    promoted = [e.fields["version"] for e in events if e.labels.get("outcome") == "promoted"]
    assert promoted == sorted(set(promoted))


def test_what_a_promotion_takes_counts_as_learning(X):
    rig, spent = Rig(logs(X)), []

    @contextmanager
    def spending():
        saves = len(rig.snapshots)
        yield
        spent.append(len(rig.snapshots) - saves)

    rig.loop.spending = spending
    rig.run()
    events = [e for r in rig.reports for e in r.events]
    promotions = [e for e in events if e.labels.get("outcome") == "promoted"]
    assert spent == [1] * len({e.fields["version"] for e in promotions})


def test_positions_and_lag_are_reported(X):
    rig = Rig(logs(X), (50,)).run()
    last = rig.reports[-1]
    assert last.next_offsets == {tp: rig.log.end(tp) for tp in PARTITIONS}
    assert last.lag == dict.fromkeys(PARTITIONS, 0)
    lags = [sum(r.lag.values()) for r in rig.reports]
    assert lags == sorted(lags, reverse=True)


def test_it_saves_at_the_interval_and_only_when_something_was_learnt(X):
    """By a clock that stands still but for what the test adds: 10 seconds a turn, and a save every 25."""
    rig, time = Rig(logs(X[:150]), (10,), save_interval=25.0), [0.0]
    rig.loop.now = lambda: time[0]
    saved_at = []
    while rig.loop.turn():
        time[0] += 10.0
        if len(rig.snapshots) > len(saved_at):
            saved_at.append(time[0])
    assert saved_at == [40.0, 70.0, 100.0]
    for _ in range(10):
        time[0] += 10.0
        rig.loop.turn()
    assert len(rig.snapshots) == len(saved_at) + 1, "the last rows are saved, and a quiet stream once only"


def test_a_save_that_failed_is_reported_and_tried_again_later(X):
    rig = Rig(logs(X[:100]), (10,))
    rig.saves = False
    rig.run()
    assert {e.labels["outcome"] for e in rig.events("snapshot")} == {"failed"}
    rig.saves = True
    assert rig.loop.save()


def test_it_stops_when_asked(X):
    rig = Rig(logs(X), (10,))
    asked = iter([False, False, True])
    rig.loop.run(lambda: next(asked))
    assert len(rig.scores) < 60


def test_a_snapshot_inside_a_batch_holds_the_derived_columns_state_of_its_last_row(X):
    """The difference of the row after a restart is taken from the row before, also when a promotion cut the batch."""
    whole = Rig(logs(X), (10_000,), save_interval=1e9).run()
    (snapshot, committed), *_ = whole.snapshots
    assert any(offset for _, _, offset, *_ in snapshot.manifest["covered"])
    log = logs(X)
    log.committed.update(committed)
    again = Rig(log, (33,), whole.restored(snapshot)).run()
    assert again.scores == {where: whole.scores[where] for where in again.scores}
    assert again.scores


def test_turns_of_few_rows_keep_their_distance_and_full_or_quiet_ones_do_not(rng):
    """By a clock that only sleeping and the test move: 1 ms a turn."""
    rig, time, slept = Rig(logs(rows(rng, 3000)), (10, 10, 2000, 10)), [0.0], []

    def sleep(seconds):
        slept.append(round(1e3 * seconds, 6))
        time[0] += seconds

    rig.loop.now, rig.loop.sleep, rig.loop.gather = (lambda: time[0]), sleep, 0.005
    waits = []
    for _ in range(5):
        before = len(slept)
        assert rig.loop.turn()
        waits.append(slept[before:])
        time[0] += 0.001
    assert waits == [[], [4.0], [4.0], [], [4.0]]
