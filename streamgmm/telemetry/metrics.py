"""From Reports to metrics: one update per report, and nothing else feeds them."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.records import WAITING
from streamgmm.telemetry.catalogue import CATALOGUE, MAX_COMPONENTS, MAX_FEATURES, MAX_PARTITIONS, OTHER
from streamgmm.telemetry.series import Series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from prometheus_client import CollectorRegistry

    from streamgmm.records import EngineStatus, Event, Report, TopicPartition
    from streamgmm.telemetry.catalogue import Metric

# event kind → the counter that it adds one to, with the labels that the counter has
COUNTED = {
    "refresh": ("refreshes_total", ("member",)),
    "refresh_failed": ("refreshes_failed_total", ("member",)),
    "refit": ("refits_total", ("member", "outcome")),
    "refit_refused": ("refits_refused_total", ("reason",)),
    "drift": ("drift_alarms_total", ("detector",)),
    "snapshot": ("snapshot_saves_total", ("outcome",)),
    "rebalance": ("consumer_rebalances_total", ("event",)),
    "commit": ("offset_commits_total", ("outcome",)),
    "sink_error": ("sink_errors_total", ("sink", "reason")),
}


class Metrics:
    """Everything in the catalogue, registered and standing at 0.

    Parameters
    ----------
    registry
        Where a scrape reads from.
    target_rate
        Share of rows to flag; also a bucket bound of `p_value`.
    topics, sinks, members, fields
        The label sets that the configuration fixes.
    version_info
        What is running: version, python, numpy, numba.
    ready
        Asked at each scrape.
    clock
        Time of day, seconds.
    """

    def __init__(
        self,
        *,
        registry: CollectorRegistry,
        target_rate: float,
        topics: Sequence[str],
        sinks: Sequence[str],
        members: Sequence[str],
        fields: Sequence[str],
        version_info: Mapping[str, str],
        ready: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        features = (*fields[:MAX_FEATURES], OTHER) if len(fields) > MAX_FEATURES else fields
        sets = {"topic": topics, "sink": sinks, "member": members, "feature": features}
        sets |= {name: (value,) for name, value in version_info.items()}
        self._series = Series(_with_target(target_rate), sets, {"ready": ready})
        self._clock = clock
        self._moved: dict[TopicPartition, tuple[int, float]] = {}
        self._series.set("target_rate", target_rate)
        self._series.set("build_info", 1.0, *(version_info[n] for n in ("version", "python", "numpy", "numba")))
        registry.register(self._series)

    def observe(self, report: Report) -> None:
        """Count one report: all of it, or (for a scrape at this moment) none of it."""
        with self._series.lock:
            self._rows(report)
            self._partitions(report)
            for event in report.events:
                self._event(event)
            if report.engine is not None:
                self._engine(report.engine)

    def set_kernel_signatures(self, n: int) -> None:
        """Say how many kernel signatures are compiled."""
        with self._series.lock:
            self._series.set("kernel_signatures", float(n))

    def set_block_hook(self, *, active: bool) -> None:
        """Say whether fetches are read as whole blocks."""
        with self._series.lock:
            self._series.set("block_hook_active", float(active))

    def _rows(self, report: Report) -> None:
        series = self._series
        series.add("rows_scored_total", report.scored)
        series.add("rows_replayed_total", report.replayed)
        series.add("flags_withdrawn_total", report.withdrawn)
        series.add("incidents_total", report.incidents)
        for name, counts in (
            ("records_consumed_total", report.consumed),
            ("rows_unscored_total", report.unscored),
            ("rows_rejected_total", report.rejected),
            ("events_without_row_total", report.passed),
            ("anomalies_total", report.anomalies),
            ("feature_missing_total", report.missing),
            ("sink_records_total", report.sink_records),
            ("sink_held_back_total", report.held_back),
        ):
            for label, n in counts.items():
                series.add(name, n, label)
        rows = report.scored + report.replayed + sum(report.unscored.values()) + sum(report.rejected.values())
        if rows:
            series.observe("batch_rows", float(rows))
        series.observe("p_value", report.p_values)
        series.observe("end_to_end_latency_seconds", np.maximum(report.latencies, 0.0))
        for stage, seconds in report.stage_seconds.items():
            series.observe("stage_duration_seconds", seconds, stage)
        if not math.isnan(report.last_event_time):  # the latest, not the highest: one wild timestamp must not stay
            series.set("last_record_timestamp_seconds", report.last_event_time)

    def _partitions(self, report: Report) -> None:
        """Show what is assigned now; what was revoked is gone with the replacement."""
        now, answered = self._clock(), report.contact.answered
        # A partition without lag stands well as long as its brokers say so.
        known = now if math.isnan(answered) else min(now, answered)
        lag = {tp: report.lag.get(tp, 0) for tp in report.assigned}
        moved = {}
        for tp, waiting in lag.items():
            offset = report.next_offsets.get(tp, -1)
            before, since = self._moved.get(tp, (offset, now))
            silent = report.waiting.get(tp) == "silent"  # what waits there is not known
            stands = (waiting > 0 or silent) and offset == before and tp not in report.ahead
            moved[tp] = (offset, now if offset != before else since if stands else max(since, known))
        self._moved = moved
        progress = {tp: since for tp, (_, since) in moved.items()}
        if not math.isnan(answered):
            self._series.set("source_last_answer_timestamp_seconds", answered)
        self._series.set("consumer_assigned_partitions", len(report.assigned))
        for reason in WAITING:
            waiting_now = sum(why == reason for why in report.waiting.values())
            self._series.set("consumer_waiting_partitions", waiting_now, reason)
        self._series.replace("consumer_lag_records", _by_partition(lag, {"sum": sum, "max": max}))
        self._series.replace("partition_progress_timestamp_seconds", _by_partition(progress, {"oldest": min}))

    def _event(self, event: Event) -> None:
        if event.kind in COUNTED:
            name, labels = COUNTED[event.kind]
            self._series.add(name, 1.0, *(event.labels.get(label, "") for label in labels))
        if event.kind == "snapshot" and event.labels.get("outcome") == "ok":
            self._series.set("snapshot_last_success_timestamp_seconds", self._clock())
        if event.kind in ("sink_error", "sink_recovered"):
            self._series.set("sink_stuck", float(event.kind == "sink_error"), event.labels.get("sink", ""))
        if event.kind == "output_cut":
            name = "sink_truncated_total" if event.labels["outcome"] == "truncated" else "sink_passed_total"
            self._series.add(name, float(event.fields["records"]), event.labels["sink"])
        if event.kind == "not_learnt":
            self._series.add("records_not_learnt_total", float(event.fields["records"]))
        if event.kind == "position_moved":
            self._series.add("records_skipped_total", float(event.fields["records"]), event.labels["reason"])
        if event.kind == "refit_fitted":
            seconds = float(event.fields["seconds"])
            self._series.observe("refit_duration_seconds", seconds, event.labels.get("member", ""))

    def _engine(self, engine: EngineStatus) -> None:
        series = self._series
        series.set("model_version", engine.version.promotion)
        series.set("learning_thinning", engine.thinning)
        series.set("learning_stretch", engine.stretch)
        for which, value in engine.shadow_log_density.items():
            series.set("shadow_log_density", value, which)
        for member in engine.members:
            series.set("model_trained_timestamp_seconds", member.trained_at, member.name)
            series.set("model_components", len(member.weights), member.name)
            series.set("model_condition_number_max", member.condition_number_max, member.name)
            series.set("window_rows", member.window_rows, member.name)
            series.set("window_span_seconds", member.window_span, member.name)
        weights: dict[tuple[str, ...], float] = {
            (m.name, str(i)): w for m in engine.members for i, w in enumerate(m.weights[:MAX_COMPONENTS])
        }
        series.replace("model_component_weight", weights)


def _with_target(target_rate: float) -> tuple[Metric, ...]:
    return tuple(
        dataclasses.replace(m, buckets=(*m.buckets, target_rate)) if m.name == "p_value" else m for m in CATALOGUE
    )


def _by_partition(
    values: Mapping[TopicPartition, float], together: Mapping[str, Callable[[Iterable[float]], float]]
) -> dict[tuple[str, ...], float]:
    """Return one series per partition, or, above MAX_PARTITIONS of a topic, one per way to put them together."""
    topics: dict[str, dict[int, float]] = defaultdict(dict)
    for tp, value in values.items():
        topics[tp.topic][tp.partition] = value
    series: dict[tuple[str, ...], float] = {}
    for topic, partitions in topics.items():
        if len(partitions) > MAX_PARTITIONS:
            series |= {(topic, name): float(f(partitions.values())) for name, f in together.items()}
        else:
            series |= {(topic, str(p)): float(v) for p, v in partitions.items()}
    return series
