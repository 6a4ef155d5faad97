from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest

from streamgmm.records import Contact, EngineStatus, Event, Report, TopicPartition, Version
from streamgmm.supervisor import Stuck
from streamgmm.telemetry.board import FORMAT, RECENT_REFITS, Board
from streamgmm.telemetry.observer import Telemetry

P0 = TopicPartition("vectors", 0)
ENGINE = EngineStatus(Version(2, 5), "serving", 10, 0, float("nan"), 0.01, 0.01, 1.0, 1.0, False, {}, ())


@pytest.fixture
def board():
    sinks = {"anomalies": "topic pages"}
    return Board(version="1.2.3", config={"source": {"topic": "vectors"}}, sinks=sinks, clock=lambda: 7.0)


def test_status_is_json_with_a_format_number(board):
    board.observe(Report(engine=ENGINE, assigned=(P0,), lag={P0: 4}, next_offsets={P0: 12}, scored=3))
    status = msgspec.json.decode(msgspec.json.encode(board.status()))
    assert status["format"] == FORMAT
    assert status["version"] == "1.2.3"
    assert status["config"] == {"source": {"topic": "vectors"}}
    assert status["engine"]["version"] == "2.5"
    assert status["engine"]["threshold"] is None  # NaN is no JSON
    assert status["last_event_time"] is None
    assert status["partitions"] == [{"topic": "vectors", "partition": 0, "next_offset": 12, "lag": 4}]
    assert status["rows"] == {"scored": 3, "unscored": 0, "rejected": 0, "replayed": 0, "anomalies": 0}


def test_rows_add_up_and_an_idle_turn_keeps_the_last_time(board):
    board.observe(Report(scored=3, rejected={"decode": 1}, last_event_time=1e12))
    board.observe(Report(scored=2, last_event_time=50.0))
    board.observe(Report(unscored={"missing": 4}))
    status = board.status()
    assert (status["rows"]["scored"], status["rows"]["rejected"], status["rows"]["unscored"]) == (5, 1, 4)
    assert status["last_event_time"] == 50


def test_last_refits_are_kept_and_bounded(board):
    for i in range(RECENT_REFITS + 5):
        board.observe(Report(events=(Event("refit", {"outcome": "promoted", "member": "single"}, {"job": i}),)))
    refits = board.status()["refits"]
    assert len(refits) == RECENT_REFITS
    assert refits[-1] == {
        "time": 7.0,
        "kind": "refit",
        "outcome": "promoted",
        "member": "single",
        "job": RECENT_REFITS + 4,
    }


def test_sinks_count_records_and_keep_their_last_error(board):
    error = Event("sink_error", {"sink": "anomalies", "reason": "timeout"})
    board.observe(Report(sink_records={"anomalies": 5, "unknown": 1}, events=(error,)))
    sink = board.status()["sinks"]["anomalies"]
    assert (sink["records"], sink["errors"], sink["last_error"]["reason"]) == (5, 1, "timeout")
    assert list(board.status()["sinks"]) == ["anomalies"]


def test_brokers_that_do_not_answer_are_told_once_and_keep_it_from_being_ready_but_not_from_living(board, caplog):
    caplog.set_level("INFO")
    telemetry = Telemetry(SimpleNamespace(observe=lambda _: None), board)
    board.warm()
    telemetry.observe(Report(assigned=(P0,), contact=Contact(5.0)))
    assert board.health().ready
    for _ in range(3):
        telemetry.observe(Report(assigned=(P0,), contact=Contact(5.0, lost=True)))
    health = board.health()
    assert (health.live, health.ready) == (True, False)
    assert health.reasons == ("Kafka has not answered since 1970-01-01T00:00:05Z",)
    assert board.status()["last_answer"] == 5.0
    for _ in range(3):
        telemetry.observe(Report(assigned=(P0,), contact=Contact(65.0)))
    assert board.health().ready
    assert [record.getMessage() for record in caplog.records] == [
        "Kafka has not answered since 1970-01-01T00:00:05Z; requests are repeated, and no record is lost",
        "Kafka answers again; it was silent for 60 s",
    ]


def test_a_stuck_sink_is_not_ready_and_named_with_its_place_until_it_recovers(board):
    board.warm()
    board.observe(Report(assigned=(P0,)))
    board.observe(Report(events=(Event("sink_error", {"sink": "anomalies", "reason": "timeout"}),)))
    health = board.health()
    assert (health.live, health.ready) == (True, False)
    assert health.reasons == ("sink anomalies (topic pages) has not taken its records since 1970-01-01T00:00:07Z",)
    board.observe(Report())
    assert not board.health().ready
    board.observe(Report(events=(Event("sink_recovered", {"sink": "anomalies"}),)))
    assert board.health().ready
    assert board.status()["sinks"]["anomalies"]["to"] == "topic pages"


def test_a_published_picture_never_changes(board):
    board.observe(Report(sink_records={"anomalies": 5}))
    before = board.status()
    board.observe(Report(sink_records={"anomalies": 5}, scored=1))
    assert before["sinks"]["anomalies"]["records"] == 5
    assert before["rows"]["scored"] == 0


def test_ready_takes_warm_kernels_and_an_assignment_and_survives_a_broker_that_is_away(board):
    assert not board.health().ready
    board.warm()
    assert not board.health().ready
    board.observe(Report(assigned=(P0,)))
    assert board.health().ready
    board.observe(Report(assigned=(), events=(Event("rebalance", {"event": "lost"}),)))
    assert board.health().ready
    board.stopping()
    assert not board.health().ready
    assert board.health().live


def test_a_standby_without_a_partition_is_ready(board):
    board.warm()
    board.observe(Report(events=(Event("rebalance", {"event": "assigned"}),)))
    assert board.health().ready


def test_what_is_stuck_is_asked_for_at_the_moment():
    stuck = []
    board = Board(version="1", config={}, sinks={}, stuck=lambda: stuck)
    assert board.health().live
    stuck.append(Stuck("poll", 130.0, "x"))
    assert not board.health().live
