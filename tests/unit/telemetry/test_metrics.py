from __future__ import annotations

import threading

import numpy as np
import pytest

from streamgmm.records import (
    EVENTS,
    REJECT_REASONS,
    STAGES,
    UNSCORED_REASONS,
    Contact,
    EngineStatus,
    Event,
    MemberStatus,
    Report,
    TopicPartition,
    Version,
)
from streamgmm.telemetry.catalogue import CATALOGUE, MAX_COMPONENTS, MAX_FEATURES, MAX_PARTITIONS, PREFIX
from streamgmm.telemetry.metrics import COUNTED

P0, P1 = TopicPartition("vectors", 0), TopicPartition("vectors", 1)


def engine(**changes):
    member = MemberStatus("single", 1234.0, (0.25, 0.75), 17.0, 900, 450.0)
    values = {
        "version": Version(3, 7),
        "state": "serving",
        "rows_seen": 10,
        "rows_needed": 0,
        "threshold": -9.0,
        "level": 0.004,
        "target_rate": 0.002,
        "thinning": 0.5,
        "stretch": 2.0,
        "refit_in_progress": False,
        "shadow_log_density": {"candidate": -2.0, "incumbent": -3.0},
        "members": (member,),
    }
    return EngineStatus(**(values | changes))


def test_every_closed_series_stands_at_the_start(scrape):
    expected = {
        "rows_unscored_total": len(UNSCORED_REASONS),
        "rows_rejected_total": len(REJECT_REASONS),
        "anomalies_total": 3,
        "refits_total": 4,
        "refits_refused_total": 10,
        "snapshot_saves_total": 2,
        "stage_duration_seconds_count": len(STAGES),
        "records_consumed_total": 1,
        "sink_records_total": 2,
        "feature_missing_total": 2,
    }
    assert {name: len(scrape.series(name)) for name in expected} == expected
    assert set(scrape.series("rows_rejected_total").values()) == {0.0}


def test_every_metric_of_the_catalogue_is_exposed_with_its_type_and_help(scrape):
    text = scrape.text()
    for metric in CATALOGUE:
        family = (PREFIX + metric.name).removesuffix("_total") if metric.type == "counter" else PREFIX + metric.name
        assert f"# TYPE {PREFIX}{metric.name} {metric.type}\n" in text or f"# TYPE {family} {metric.type}\n" in text
        assert f"# HELP {PREFIX}{metric.name} " in text or f"# HELP {family} " in text
    assert "_created" not in text


def test_every_event_with_a_counter_has_the_counters_labels():
    labels = {m.name: {la.name for la in m.labels} for m in CATALOGUE}
    for kind, (name, names) in COUNTED.items():
        assert labels[name] == set(names) == set(EVENTS[kind])


def test_a_report_adds_up(scrape):
    report = Report(
        consumed={"vectors": 10},
        scored=4,
        unscored={"missing": 2},
        rejected={"decode": 3, "schema": 1},
        replayed=5,
        anomalies={"warning": 1},
        missing={"load": 2},
        stage_seconds={"score": 0.2},
        sink_records={"anomalies": 1},
        last_event_time=99.0,
    )
    for _ in range(2):
        scrape.metrics.observe(report)
    assert scrape.value("records_consumed_total", topic="vectors") == 20
    assert scrape.value("rows_scored_total") == 8
    assert scrape.value("rows_unscored_total", reason="missing") == 4
    assert scrape.value("rows_rejected_total", reason="decode") == 6
    assert scrape.value("rows_replayed_total") == 10
    assert scrape.value("anomalies_total", severity="warning") == 2
    assert scrape.value("feature_missing_total", feature="load") == 4
    assert scrape.value("sink_records_total", sink="anomalies") == 2
    assert scrape.value("last_record_timestamp_seconds") == 99
    assert scrape.value("batch_rows_sum") == 30
    assert scrape.value("stage_duration_seconds_sum", stage="score") == pytest.approx(0.4)


def test_an_idle_turn_counts_no_rows_and_keeps_the_last_moment(scrape):
    scrape.metrics.observe(Report(scored=1, last_event_time=1e12))
    scrape.metrics.observe(Report(last_event_time=99.0))
    scrape.metrics.observe(Report())
    assert scrape.value("batch_rows_count") == 1
    assert scrape.value("last_record_timestamp_seconds") == 99


def test_the_share_of_p_values_at_the_target_rate_can_be_read_off(scrape):
    scrape.metrics.observe(Report(p_values=np.array([0.002, 0.0019, 0.0021, 1e-9, 1.0, np.nan])))
    assert scrape.value("p_value_bucket", le="0.002") == 3
    assert scrape.value("p_value_bucket", le="1e-06") == 1
    assert scrape.value("p_value_bucket", le="1.0") == scrape.value("p_value_count") == 5
    assert scrape.value("p_value_sum") == pytest.approx(1.006 + 1e-9)


def test_histograms_agree_with_a_count_one_by_one(scrape, rng):
    latencies = rng.exponential(5.0, size=1000)
    scrape.metrics.observe(Report(latencies=latencies))
    buckets = scrape.series("end_to_end_latency_seconds_bucket")
    assert len(buckets) > 10
    for labels, count in buckets.items():
        assert count == sum(value <= float(dict(labels)["le"]) for value in latencies)


def test_an_event_time_in_the_future_is_no_negative_latency(scrape):
    scrape.metrics.observe(Report(latencies=np.array([-100.0])))
    assert scrape.value("end_to_end_latency_seconds_sum") == 0


def test_events_are_counted_under_their_labels(scrape):
    events = (
        Event("refresh", {"member": "single"}),
        Event("refit", {"outcome": "promoted", "member": "single"}),
        Event("refit_fitted", {"member": "single"}, {"seconds": 0.3}),
        Event("refit_refused", {"reason": "shadow_density"}),
        Event("rebalance", {"event": "lost"}),
        Event("commit", {"outcome": "refused"}),
        Event("sink_error", {"sink": "anomalies", "reason": "timeout"}),
        Event("snapshot", {"outcome": "ok"}),
        Event("not_learnt", {}, {"records": 12}),
    )
    scrape.metrics.observe(Report(events=events))
    assert scrape.value("refreshes_total", member="single") == 1
    assert scrape.value("refits_total", member="single", outcome="promoted") == 1
    assert scrape.value("refits_refused_total", reason="shadow_density") == 1
    assert scrape.value("refit_duration_seconds_sum", member="single") == 0.3
    assert scrape.value("consumer_rebalances_total", event="lost") == 1
    assert scrape.value("offset_commits_total", outcome="refused") == 1
    assert scrape.value("sink_errors_total", sink="anomalies", reason="timeout") == 1
    assert scrape.value("sink_stuck", sink="anomalies") == 1
    assert scrape.value("sink_stuck", sink="dead-letters") == 0
    scrape.metrics.observe(Report(events=(Event("sink_recovered", {"sink": "anomalies"}),)))
    assert scrape.value("sink_stuck", sink="anomalies") == 0
    assert scrape.value("snapshot_last_success_timestamp_seconds") == scrape.now
    assert scrape.value("records_not_learnt_total") == 12


def test_a_failed_snapshot_moves_no_success(scrape):
    scrape.metrics.observe(Report(events=(Event("snapshot", {"outcome": "failed"}),)))
    assert scrape.value("snapshot_last_success_timestamp_seconds") == 0
    assert scrape.value("snapshot_saves_total", outcome="failed") == 1


def test_label_sets_never_grow(scrape, caplog):
    before = len(scrape.samples())
    events = (
        Event("sink_error", {"sink": "anomalies", "reason": "the broker said: no"}),
        Event("refit_refused", {"reason": "a new one"}),
        Event("refit", {"member": "single"}),
    )
    scrape.metrics.observe(Report(events=events, rejected={"hostile": 1}))
    assert len(scrape.samples()) == before
    assert scrape.value("sink_errors_total", sink="anomalies", reason="_other") == 1
    assert len(caplog.records) == 3


def test_the_engine_is_shown(scrape):
    scrape.metrics.observe(Report(engine=engine()))
    assert scrape.value("model_version") == 3
    assert scrape.value("model_components", member="single") == 2
    assert scrape.value("model_component_weight", member="single", component="1") == 0.75
    assert scrape.value("model_trained_timestamp_seconds", member="single") == 1234
    assert scrape.value("model_condition_number_max", member="single") == 17
    assert scrape.value("window_rows", member="single") == 900
    assert scrape.value("learning_thinning") == 0.5
    assert scrape.value("learning_stretch") == 2.0
    assert scrape.value("shadow_log_density", which="candidate") == -2


def test_components_that_are_gone_leave(scrape):
    scrape.metrics.observe(Report(engine=engine()))
    one = MemberStatus("single", 1.0, (1.0,), 1.0, 1, 1.0)
    scrape.metrics.observe(Report(engine=engine(members=(one,))))
    assert len(scrape.series("model_component_weight")) == 1


def test_series_of_revoked_partitions_leave(scrape):
    scrape.metrics.observe(Report(assigned=(P0, P1), lag={P0: 5, P1: 6}, next_offsets={P0: 1, P1: 1}))
    assert scrape.value("consumer_lag_records", topic="vectors", partition="1") == 6
    scrape.metrics.observe(Report(assigned=(P0,), lag={P0: 5, P1: 6}, next_offsets={P0: 1}))
    assert len(scrape.series("consumer_lag_records")) == 1
    assert len(scrape.series("partition_progress_timestamp_seconds")) == 1
    assert scrape.value("consumer_assigned_partitions") == 1


def test_progress_is_when_the_offset_moved_or_nothing_waited(scrape):
    def observe(at, offset, lag):
        scrape.now = at
        scrape.metrics.observe(Report(assigned=(P0,), lag={P0: lag}, next_offsets={P0: offset}))
        return scrape.value("partition_progress_timestamp_seconds", topic="vectors", partition="0")

    assert observe(100.0, 5, 3) == 100
    assert observe(110.0, 5, 3) == 100
    assert observe(120.0, 6, 3) == 120
    assert observe(130.0, 6, 0) == 130
    assert observe(140.0, 6, 1) == 130


def test_many_partitions_are_put_together(scrape):
    many = [TopicPartition("vectors", p) for p in range(MAX_PARTITIONS + 1)]
    scrape.metrics.observe(Report(assigned=tuple(many), lag={tp: tp.partition for tp in many}))
    partitions = {dict(labels)["partition"]: v for labels, v in scrape.series("consumer_lag_records").items()}
    assert partitions == {"sum": MAX_PARTITIONS * (MAX_PARTITIONS + 1) / 2, "max": MAX_PARTITIONS}
    assert [dict(la)["partition"] for la in scrape.series("partition_progress_timestamp_seconds")] == ["oldest"]


def test_the_number_of_series_is_bounded(make_scrape):
    members = ["slow", "fast", "marginals", "temporal"]
    fields = [f"x{i}" for i in range(1000)]
    scrape = make_scrape(members=members, fields=fields)
    many = tuple(TopicPartition("vectors", p) for p in range(256))
    status = engine(members=tuple(MemberStatus(m, 1.0, (0.01,) * 100, 1.0, 1, 1.0) for m in members))
    scrape.metrics.observe(Report(assigned=many, lag=dict.fromkeys(many, 1), engine=status, missing={"x999": 3}))
    assert len(scrape.series("feature_missing_total")) == MAX_FEATURES + 1
    assert scrape.value("feature_missing_total", feature="_other") == 3
    assert len(scrape.series("model_component_weight")) == len(members) * MAX_COMPONENTS
    assert len(scrape.samples()) < 800


def test_ready_is_asked_for_at_the_scrape(scrape):
    assert scrape.value("ready") == 0
    scrape.ready = True
    assert scrape.value("ready") == 1


def test_what_is_told_once(scrape):
    scrape.metrics.set_kernel_signatures(14)
    assert scrape.value("block_hook_active") == 0
    scrape.metrics.set_block_hook(active=True)
    assert scrape.value("block_hook_active") == 1
    assert scrape.value("kernel_signatures") == 14
    assert scrape.value("target_rate") == 0.002
    assert scrape.value("build_info", version="1.2.3", python="3.11", numpy="2", numba="0.6") == 1


def test_a_scrape_sees_whole_reports(scrape):
    """While one thread counts reports, a scrape never sees the rows of one without the rest of it."""
    report = Report(scored=3, rejected={"decode": 1}, consumed={"vectors": 4})
    stop = threading.Event()

    def count():
        while not stop.is_set():
            scrape.metrics.observe(report)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        for _ in range(20):
            samples = scrape.samples()
            rows = samples["streamgmm_rows_scored_total", ()]
            consumed = samples["streamgmm_records_consumed_total", (("topic", "vectors"),)]
            assert rows * 4 == consumed * 3
    finally:
        stop.set()
        thread.join()


def test_progress_ages_with_a_broker_that_does_not_answer_though_nothing_is_known_to_wait(scrape):
    tp, start = TopicPartition("vectors", 0), scrape.now

    def observe(answered, lag=0):
        contact = Contact(answered, lost=False)
        report = Report(assigned=(tp,), lag={tp: lag}, next_offsets={tp: 5}, contact=contact)
        scrape.metrics.observe(report)

    progress = "partition_progress_timestamp_seconds"
    observe(start)
    scrape.now += 1000.0
    observe(start + 10.0)
    assert scrape.value(progress, topic="vectors", partition="0") == start + 10.0
    assert scrape.value("source_last_answer_timestamp_seconds") == start + 10.0
    observe(start + 1000.0)
    assert scrape.value(progress, topic="vectors", partition="0") == start + 1000.0
    observe(start + 2000.0, lag=3)
    assert scrape.value(progress, topic="vectors", partition="0") == start + 1000.0


def test_progress_ages_where_one_broker_of_several_does_not_answer(scrape):
    tps, start = (TopicPartition("vectors", 0), TopicPartition("vectors", 1)), scrape.now
    for _ in range(3):
        scrape.now += 100.0
        report = Report(
            assigned=tps,
            lag=dict.fromkeys(tps, 0),
            next_offsets=dict.fromkeys(tps, 5),
            contact=Contact(scrape.now),
            waiting={tps[0]: "silent"},
        )
        scrape.metrics.observe(report)
    progress = "partition_progress_timestamp_seconds"
    assert scrape.value(progress, topic="vectors", partition="0") == start + 100.0
    assert scrape.value(progress, topic="vectors", partition="1") == start + 300.0


def test_a_source_without_brokers_has_no_answer_and_progresses(scrape):
    tp, start = TopicPartition("vectors", 0), scrape.now
    scrape.metrics.observe(Report(assigned=(tp,), next_offsets={tp: 5}))
    scrape.now += 100.0
    scrape.metrics.observe(Report(assigned=(tp,), next_offsets={tp: 5}))
    assert scrape.value("source_last_answer_timestamp_seconds") == 0
    assert scrape.value("partition_progress_timestamp_seconds", topic="vectors", partition="0") == start + 100.0
