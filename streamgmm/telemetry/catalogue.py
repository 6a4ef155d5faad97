"""All metrics, as data. Tests compare `docs/metrics.md` and the alert rules with it.

Counters end in `_total` and times in `_timestamp_seconds` (0 = never). A reader subtracts times from `time()`, so ages
also grow while the process hangs. Units are base units. The values of a label are a closed set: listed here, fixed by
the configuration at start, or bounded by a number. Keys, offsets and error texts are never labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streamgmm.records import (
    DRIFT_DETECTORS,
    MOVES,
    REJECT_REASONS,
    SEVERITIES,
    STAGES,
    UNSCORED_REASONS,
    WAITING,
    WITHOUT_ROW,
)

PREFIX = "streamgmm_"
MAX_PARTITIONS = 64  # of one topic; above, `sum` and `max` (`oldest` for moments) stand for all of them
MAX_COMPONENTS = 64
MAX_FEATURES = 128  # the rest is counted together as OTHER
OTHER = "_other"

P_VALUES = (*(float(f"{m}e{e}") for e in range(-6, 0) for m in (1, 3)), 1.0)
LATENCIES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
REFIT_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
BATCH_ROWS = (1.0, 10.0, 100.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 50000.0)


@dataclass(frozen=True, slots=True)
class Label:
    """One label and its values.

    Attributes
    ----------
    values
        The closed set. Empty if it is known only at start; then `of` describes it.
    live
        Whether series are added and removed while the daemon runs (with the assignment, with the detector).
    """

    name: str
    values: tuple[str, ...] = ()
    of: str = ""
    live: bool = False


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: name without the prefix, type, help, labels, and buckets of a histogram."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def live(self) -> bool:
        """Return whether its series are added and removed while the daemon runs."""
        return any(label.live for label in self.labels)


_TOPIC = Label("topic", of="the configured topics")
_SINK = Label("sink", of="the configured sinks, dead letters included")
_MEMBER = Label("member", of="the committee's members")
_FEATURE = Label("feature", of=f"the first {MAX_FEATURES} fields; {OTHER} for the rest")
_COMPONENT = Label("component", of=f"0 to {MAX_COMPONENTS - 1}", live=True)
_PARTITION = Label("partition", of=f"the assigned partitions; sum and max above {MAX_PARTITIONS} in a topic", live=True)
_PROGRESS = Label("partition", of=f"the assigned partitions; oldest above {MAX_PARTITIONS} in a topic", live=True)
REFIT_OUTCOMES = ("promoted", "refused", "failed", "stale")
REFUSALS = (
    "non_finite",
    "not_positive_definite",
    "overflow",
    "no_complete_row",
    "no_fit",
    "dead_component",
    "condition",
    "shadow_density",
    "shadow_flag_rate",
    "deadline",
)

CATALOGUE: tuple[Metric, ...] = (
    Metric(
        "build_info",
        "gauge",
        "Constant 1. The labels are the running versions.",
        tuple(Label(n, of="the installed version") for n in ("version", "python", "numpy", "numba")),
    ),
    Metric("ready", "gauge", "1 while /readyz returns 200."),
    Metric("records_consumed_total", "counter", "Records read from the source.", (_TOPIC,)),
    Metric("rows_scored_total", "counter", "Rows that were scored."),
    Metric(
        "rows_unscored_total",
        "counter",
        "Rows that were not scored, by reason.",
        (Label("reason", UNSCORED_REASONS),),
    ),
    Metric(
        "events_without_row_total",
        "counter",
        "Events inside envelopes that are no rows, by kind; other_measurement = a metric without any declared field.",
        (Label("kind", WITHOUT_ROW),),
    ),
    Metric(
        "rows_rejected_total",
        "counter",
        "Rows that became dead letters, by reason.",
        (Label("reason", REJECT_REASONS),),
    ),
    Metric("rows_replayed_total", "counter", "Rows learnt again after a restart. They were counted before it."),
    Metric("records_not_learnt_total", "counter", "Records that were too far back to be learnt again after a restart."),
    Metric(
        "records_skipped_total",
        "counter",
        "Offsets that were skipped or lost, by reason. group: an operator has set the offset.",
        (Label("reason", MOVES),),
    ),
    Metric(
        "anomalies_total",
        "counter",
        "Flagged rows, by severity. A row has one severity.",
        (Label("severity", SEVERITIES),),
    ),
    Metric("flags_withdrawn_total", "counter", "Rows whose flag was withdrawn by a rule of detection.fields."),
    Metric("incidents_total", "counter", "Incidents that were opened."),
    Metric(
        "p_value",
        "histogram",
        "p-values of scored rows. They do not depend on the level. The target rate is one of the bounds.",
        buckets=P_VALUES,
    ),
    Metric("target_rate", "gauge", "Configured share of rows to flag."),
    Metric(
        "stage_duration_seconds",
        "histogram",
        "Time spent in a stage, per report.",
        (Label("stage", STAGES),),
        STAGE_SECONDS,
    ),
    Metric("batch_rows", "histogram", "Rows per report: scored, unscored, rejected and replayed.", (), BATCH_ROWS),
    Metric(
        "end_to_end_latency_seconds",
        "histogram",
        "Time from the event time of a row to its delivery. 0 for an event time in the future.",
        buckets=LATENCIES,
    ),
    Metric(
        "consumer_lag_records",
        "gauge",
        "Records that are not read yet, or not accepted by every sink yet.",
        (_TOPIC, _PARTITION),
    ),
    Metric(
        "partition_progress_timestamp_seconds",
        "gauge",
        "Time when the next offset last advanced, or when brokers last confirmed that there is nothing to read.",
        (_TOPIC, _PROGRESS),
    ),
    Metric(
        "source_last_answer_timestamp_seconds",
        "gauge",
        "Time of the last answer of the source's brokers to a fetch or an offset request. 0 without brokers.",
    ),
    Metric("consumer_assigned_partitions", "gauge", "Partitions assigned to this process."),
    Metric(
        "consumer_waiting_partitions",
        "gauge",
        "Partitions that cannot be read now, by reason. /status names them.",
        (Label("reason", WAITING),),
    ),
    Metric(
        "consumer_rebalances_total",
        "counter",
        "Changes of the assignment.",
        (Label("event", ("assigned", "revoked", "lost")),),
    ),
    Metric("offset_commits_total", "counter", "Commits of flushed offsets.", (Label("outcome", ("ok", "refused")),)),
    Metric("last_record_timestamp_seconds", "gauge", "Newest event time of the last rows."),
    Metric("model_version", "gauge", "Number of promotions of the serving detector (the number before the dot)."),
    Metric(
        "model_trained_timestamp_seconds",
        "gauge",
        "Event time of the newest row that the member was trained on. Compare it with last_record_timestamp_seconds.",
        (_MEMBER,),
    ),
    Metric("model_components", "gauge", "Mixture components of a member.", (_MEMBER,)),
    Metric("model_component_weight", "gauge", "Mixture weight of a component.", (_MEMBER, _COMPONENT)),
    Metric("model_condition_number_max", "gauge", "Largest condition number of a member's covariances.", (_MEMBER,)),
    Metric("refreshes_total", "counter", "Refreshes of a member (no new version).", (_MEMBER,)),
    Metric("refreshes_failed_total", "counter", "Refreshes that failed and left the member unchanged.", (_MEMBER,)),
    Metric("refits_total", "counter", "Refits by outcome.", (_MEMBER, Label("outcome", REFIT_OUTCOMES))),
    Metric("refits_refused_total", "counter", "Candidates refused, by reason.", (Label("reason", REFUSALS),)),
    Metric("refit_duration_seconds", "histogram", "Duration of the fit of a refit.", (_MEMBER,), REFIT_SECONDS),
    Metric(
        "drift_alarms_total",
        "counter",
        "Lasting changes of the stream that cut the window.",
        (Label("detector", DRIFT_DETECTORS),),
    ),
    Metric("window_rows", "gauge", "Rows in a member's window.", (_MEMBER,)),
    Metric("window_span_seconds", "gauge", "Event time that a member's window spans.", (_MEMBER,)),
    Metric("learning_thinning", "gauge", "Share of rows that enter the window. 1: every row."),
    Metric(
        "learning_stretch", "gauge", "Last refresh interval divided by the scheduled one. Above 1: limits.learning_cpu."
    ),
    Metric(
        "shadow_log_density",
        "gauge",
        "Mean log-density (nats) of the rows by which the last candidate was judged.",
        (Label("which", ("candidate", "incumbent")),),
    ),
    Metric("feature_missing_total", "counter", "Missing values, by field.", (_FEATURE,)),
    Metric("snapshot_last_success_timestamp_seconds", "gauge", "Time when a snapshot was last made durable."),
    Metric("snapshot_saves_total", "counter", "Snapshots by outcome.", (Label("outcome", ("ok", "failed")),)),
    Metric("sink_records_total", "counter", "Records that a sink has accepted.", (_SINK,)),
    Metric("sink_held_back_total", "counter", "Records that were held back by a sink's min_interval.", (_SINK,)),
    Metric(
        "sink_errors_total",
        "counter",
        "Periods of at least ten seconds in which a sink did not accept records. They are kept and sent again.",
        (_SINK, Label("reason", ("timeout", "refused", OTHER))),
    ),
    Metric(
        "sink_truncated_total",
        "counter",
        "Records that were truncated to the size limit. They have a header.",
        (_SINK,),
    ),
    Metric(
        "sink_passed_total",
        "counter",
        "Records that were left out, because even a truncated record is too large.",
        (_SINK,),
    ),
    Metric("sink_stuck", "gauge", "1 while a sink does not accept records and the source is paused.", (_SINK,)),
    Metric("kernel_signatures", "gauge", "Compiled kernel signatures. Constant after the start."),
    Metric(
        "block_hook_active",
        "gauge",
        "1 if fetches are decoded as whole blocks. 0 (slower): source.fetch, or a kafka-python that is not supported.",
    ),
)
