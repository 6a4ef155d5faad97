"""The values that are passed from source to sink. Blocks of records are arrays, not one Python object per record.

RecordBatch (bytes) → FeatureBatch (fields) → ScoredBatch (scores) → OutputRecord (bytes).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamgmm.errors import DetectorError

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]
Json: TypeAlias = Any
Headers: TypeAlias = Sequence[tuple[str, bytes | None]]

RejectReason: TypeAlias = Literal["decode", "schema", "dimension", "non_finite", "oversize"]
REJECT_REASONS: tuple[RejectReason, ...] = ("decode", "schema", "dimension", "non_finite", "oversize")
UnscoredReason: TypeAlias = Literal["warming_up", "missing", "tombstone"]
UNSCORED_REASONS: tuple[UnscoredReason, ...] = ("warming_up", "missing", "tombstone")
# What an envelope may hold in place of a row. Debezium: its own records, statements and messages, and MongoDB's updates
# without the document; Telegraf: a metric that has none of the declared fields.
WithoutRow: TypeAlias = Literal[
    "heartbeat", "truncate", "message", "transaction", "schema_change", "no_document", "other_measurement"
]
WITHOUT_ROW: tuple[WithoutRow, ...] = get_args(WithoutRow)
# ScoredBatch.status is an index into this table.
STATUSES: tuple[str, ...] = ("scored", *UNSCORED_REASONS)
# `notice`: the p-value of the flagged row is above the target rate, because the adaptive level had risen above it.
SEVERITIES = ("notice", "warning", "critical")
CRITICAL_SCORE = 50.0
# Fields of a ScoredBatch that contain row indices.
ROW_LISTS = ("withdrawn", "opened", "ended")


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Position(NamedTuple):
    """The next row to read from a partition. `row` rows of the record at `offset` are already processed.

    Attributes
    ----------
    identity
        Identity of the topic (its id) or of the file. A new topic or file can have the same name. Empty if unknown.
    """

    offset: int
    row: int = 0
    identity: str = ""


class Rebalance(NamedTuple):
    """One change of the assignment since the last poll."""

    event: Literal["assigned", "revoked", "lost"]
    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class ByteColumn:
    """A column of byte strings as slices of one buffer.

    Attributes
    ----------
    buffer : ndarray of uint8
        Shared by all values. A value that is kept longer than its batch must be copied (`column[i]` copies).
    start, length : (n,) int64
        Slice of each value. A length of -1 means null.
    """

    buffer: NDArray[np.uint8]
    start: Ints
    length: Ints

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, index: int) -> bytes | None:
        length = int(self.length[index])
        if length < 0:
            return None
        start = int(self.start[index])
        return self.buffer[start : start + length].tobytes()

    def take(self, indices: Ints) -> ByteColumn:
        """Return the values at these indices (m,). They share the buffer."""
        return ByteColumn(self.buffer, self.start[indices], self.length[indices])

    @classmethod
    def nulls(cls, n: int) -> ByteColumn:
        """Return n nulls."""
        return cls(np.empty(0, dtype=np.uint8), np.zeros(n, dtype=np.int64), np.full(n, -1, dtype=np.int64))

    @classmethod
    def from_values(cls, values: Sequence[bytes | None]) -> ByteColumn:
        """Join byte strings (None for null) into one buffer."""
        length = np.array([-1 if v is None else len(v) for v in values], dtype=np.int64)
        size = np.maximum(length, 0)
        start = np.cumsum(size) - size
        joined = b"".join(v for v in values if v is not None)
        return cls(np.frombuffer(joined, dtype=np.uint8), start, length)


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """The records of one poll, in stream order. Records of a partition keep their order.

    Attributes
    ----------
    partitions
        The partitions with records in this batch. `partition` is an index into it.
    partition : (n,) int64
    offset : (n,) int64
    timestamp : (n,) int64
        Record timestamp, milliseconds since the epoch; -1 if there is none.
    value, key
        Byte columns of length n.
    headers
        n sequences of (name, value); empty for a record without headers.
    next_offsets
        Per partition, the offset to commit after all records of the batch are flushed. It can be larger than the last
        offset + 1 (transaction markers, compacted gaps).
    more
        Partitions that are known to have more records. Rows later than their last record here may have to wait.
    """

    partitions: tuple[TopicPartition, ...]
    partition: Ints
    offset: Ints
    timestamp: Ints
    value: ByteColumn
    key: ByteColumn
    headers: Sequence[Headers]
    next_offsets: Mapping[TopicPartition, int]
    more: Collection[TopicPartition] = ()

    def __len__(self) -> int:
        return len(self.offset)

    def topic_partition(self, record: int) -> TopicPartition:
        """Return the partition that a record came from."""
        return self.partitions[int(self.partition[record])]

    @classmethod
    def empty(cls) -> RecordBatch:
        """Return a batch without records."""
        none = np.empty(0, dtype=np.int64)
        column = ByteColumn.from_values([])
        return cls((), none, none, none, column, column, (), {})


@dataclass(frozen=True, slots=True)
class Reject:
    """One record, or one vector of a record, that cannot be scored. It becomes a dead letter.

    Attributes
    ----------
    record
        Index into the RecordBatch.
    row
        Row number inside the record, or -1 if the whole record is rejected.
    reason, detail
        One of REJECT_REASONS, and a sentence with the place.
    """

    record: int
    row: int
    reason: RejectReason
    detail: str


class Passed(NamedTuple):
    """A part of a record, by its index into the RecordBatch, that is no row and nothing to reject."""

    record: int
    kind: WithoutRow


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """Decoded vectors, one per row. A record may contain several.

    Attributes
    ----------
    X : (n, n_fields) float64, C-contiguous
        NaN is missing. Values are never infinite.
    record : (n,) int64
        Index of each row's record in the RecordBatch; not decreasing.
    row : (n,) int64
        Row number inside its record.
    event_time : (n,) float64
        Seconds since the epoch; NaN if neither the payload nor the record has a time.
    rejects
        In stream order.
    tombstones : (m,) int64
        Indices of records with a null value, or with an envelope of a deleted row.
    passed
        Other parts of records that hold no row; in stream order.
    complete
        True if it is known that no cell is missing. False if it is not known.
    """

    X: Floats
    record: Ints
    row: Ints
    event_time: Floats
    rejects: tuple[Reject, ...] = ()
    tombstones: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    passed: tuple[Passed, ...] = ()
    complete: bool = False

    def __len__(self) -> int:
        return len(self.X)


class Version(NamedTuple):
    """Number of promotions, and number of refreshes since the last promotion."""

    promotion: int = 0
    refresh: int = 0

    def __str__(self) -> str:
        return f"{self.promotion}.{self.refresh}"


@dataclass(frozen=True, slots=True)
class Contribution:
    """The contribution of one feature to an anomaly.

    `surprise` (nats) is −log p(x_j | the others), averaged over members. `expected` and `stddev` are conditional on the
    others too. `share` is the part of the squared Mahalanobis distance from the nearest component; it can be negative.
    `usual` (nats) is the mean surprise of this feature.
    """

    feature: str
    surprise: float
    share: float
    observed: float
    expected: float
    stddev: float
    usual: float

    @property
    def excess(self) -> float:
        """The surprise minus the usual surprise, nats. It does not depend on the unit of the feature."""
        return self.surprise - self.usual


@dataclass(frozen=True, slots=True)
class Explanation:
    """Explanation of one row. Contributions are ordered by surprise, largest first."""

    member: str
    component: int
    responsibilities: tuple[float, ...]
    distance2: float
    contributions: tuple[Contribution, ...]


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One flagged row of a ScoredBatch."""

    index: int
    severity: str
    incident: str
    provisional: bool
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class FlaggedRow:
    """A flagged row as stored with its incident. `time` is in seconds (NaN: unknown), `version` is text."""

    id: str
    key: bytes | None
    time: float
    log_density: float
    p_value: float
    score: float
    version: str
    contributions: tuple[Contribution, ...]
    severity: str = "warning"


@dataclass(frozen=True, slots=True)
class IncidentSummary:
    """Summary of an incident.

    Attributes
    ----------
    first, key
        Id and key of the row that opened it.
    opened, last : float
        Event times (s) of the first and the latest flagged row; NaN if unknown.
    rows : int
        Number of flagged rows.
    worst
        The most improbable row.
    surprise
        Feature → excess surprise (nats), summed over the rows.
    provisional
        Whether it opened while the calibration had too few scores.
    """

    id: str
    first: str
    key: bytes | None
    opened: float
    last: float
    rows: int
    worst: FlaggedRow
    surprise: Mapping[str, float]
    provisional: bool

    def leading(self, most: int) -> list[tuple[str, float]]:
        """Return the features with the largest excess surprise, and their sums, largest first."""
        found = sorted(self.surprise.items(), key=lambda item: -item[1])
        return [(name, nats) for name, nats in found[:most] if nats > 0.0]


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """The results of n consecutive rows. Rows that were not scored have NaN and False.

    Attributes
    ----------
    log_density : (n,) float64, nats
    p_value : (n,) float64
    score : (n,) float64
        0–100: min(100, −12.5 · log10 p).
    is_anomaly : (n,) bool
    severity : (n,) int64
        Index into SEVERITIES; −1 for rows that are not flagged.
    level : (n,) float64
        Limit of p-values: a row at or below it is flagged. NaN with `detection.log_density_below`.
    threshold : (n,) float64
        Limit of log-densities, nats: a row below it is flagged.
    version : (n, 2) int64
        Promotion and refresh of the detector that scored the row.
    status : (n,) int64
        Index into STATUSES.
    anomalies
        One per flagged row, in order; empty if explanations are disabled.
    withdrawn
        Rows whose flag was withdrawn by a rule (`detection.fields`).
    opened, ended
        Rows that opened an incident, and rows that closed the running one. A row closes an incident before it opens
        another.
    """

    log_density: Floats
    p_value: Floats
    score: Floats
    is_anomaly: Bools
    severity: Ints
    level: Floats
    threshold: Floats
    version: Ints
    status: Ints
    anomalies: tuple[Anomaly, ...] = ()
    withdrawn: tuple[int, ...] = ()
    opened: tuple[int, ...] = ()
    ended: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.log_density)

    @classmethod
    def concatenate(cls, parts: Sequence[ScoredBatch]) -> ScoredBatch:
        """Join consecutive parts. Indices of anomalies are adjusted."""
        starts = np.cumsum([0, *(len(p) for p in parts)])
        moved = list(zip(starts[:-1].tolist(), parts, strict=True))
        anomalies = (replace(a, index=a.index + start) for start, p in moved for a in p.anomalies)
        rows: dict[str, Any] = {n: tuple(i + s for s, p in moved for i in getattr(p, n)) for n in ROW_LISTS}
        names = ("log_density", "p_value", "score", "is_anomaly", "severity", "level", "threshold", "version", "status")
        columns: dict[str, Any] = {n: np.concatenate([getattr(p, n) for p in parts]) for n in names}
        return cls(**columns, anomalies=tuple(anomalies), **rows)


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """One message for a sink. `topic`, if given, replaces the topic of the sink (for dead letters)."""

    value: bytes
    key: bytes | None = None
    headers: Headers = ()
    topic: str | None = None
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """An event for the log, the metrics and /status.

    `kind` is one of EVENTS. `labels` are the labels of the metric (closed sets). `fields` are details for the log.
    """

    kind: str
    labels: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Json] = field(default_factory=dict)


DRIFT_DETECTORS = ("martingale",)
# Reasons why a position has jumped: a damaged batch, records deleted before they were read, records lost by the
# brokers, a new topic or file of the same name, offsets set or deleted by an operator.
MOVES = ("corrupt", "retention", "truncated", "recreated", "group")
# Reasons why a partition cannot be read: no leader, a leader that does not answer, a damaged batch, an open
# transaction, a deleted topic.
WAITING = ("leader", "silent", "damaged", "transaction", "deleted")
# kind → label names. `refit` outcomes: promoted, refused, failed, stale.
EVENTS: Mapping[str, tuple[str, ...]] = {
    "refresh": ("member",),
    "refresh_failed": ("member",),
    "refit_started": (),
    "refit_fitted": ("member",),
    "refit": ("outcome", "member"),
    "refit_refused": ("reason",),
    "drift": ("detector",),
    "thinned": (),
    "snapshot": ("outcome",),
    "rebalance": ("event",),
    "commit": ("outcome",),
    "sink_error": ("sink", "reason"),
    "sink_recovered": ("sink",),
    "output_cut": ("sink", "outcome"),
    "not_learnt": (),
    "position_moved": ("reason",),
}


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """Status of one member of the serving detector, for metrics and /status."""

    name: str
    trained_at: float
    weights: tuple[float, ...]
    condition_number_max: float
    window_rows: int
    window_span: float


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """Status of the engine. It is immutable, so other threads may read it."""

    version: Version
    state: Literal["warming_up", "serving"]
    rows_seen: int
    rows_needed: int
    threshold: float
    level: float
    target_rate: float
    thinning: float  # share of rows that enter the window
    stretch: float
    refit_in_progress: bool
    shadow_log_density: Mapping[str, float]
    members: tuple[MemberStatus, ...]


class Contact(NamedTuple):
    """State of the connection to the brokers of the source.

    Attributes
    ----------
    answered : float
        Time of their last answer, seconds since the epoch; NaN for a source without brokers.
    lost
        Whether they have not answered for so long that they count as silent.
    """

    answered: float = float("nan")
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """The results of one turn of the loop. Observers are called with it.

    `scored` + sum(`unscored`) + sum(`rejected`) is the number of rows. `passed` counts events without a row. Rows that
    a restart learns again are only in `replayed`, because they were counted before. Partitions in `ahead` wait because
    their next rows are later than those of others.
    """

    consumed: Mapping[str, int] = field(default_factory=dict)
    scored: int = 0
    unscored: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    passed: Mapping[str, int] = field(default_factory=dict)
    replayed: int = 0
    anomalies: Mapping[str, int] = field(default_factory=dict)
    withdrawn: int = 0
    incidents: int = 0
    held_back: Mapping[str, int] = field(default_factory=dict)
    p_values: Floats = field(default_factory=lambda: np.empty(0))
    latencies: Floats = field(default_factory=lambda: np.empty(0))
    last_event_time: float = float("nan")
    missing: Mapping[str, int] = field(default_factory=dict)
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    lag: Mapping[TopicPartition, int] = field(default_factory=dict)
    assigned: tuple[TopicPartition, ...] = ()
    ahead: frozenset[TopicPartition] = frozenset()
    next_offsets: Mapping[TopicPartition, int] = field(default_factory=dict)
    sink_records: Mapping[str, int] = field(default_factory=dict)
    waiting: Mapping[TopicPartition, str] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    engine: EngineStatus | None = None
    contact: Contact = field(default_factory=Contact)


STAGES = ("poll", "decode", "features", "score", "render", "deliver", "commit", "snapshot")


def as_features(X: ArrayLike, n_features: int | None = None) -> Floats:
    """Return X as kernels need it: 2-D, float64, native, C-contiguous, without ±Inf. NaN is allowed.

    Raises
    ------
    DetectorError
        The number of dimensions or features is wrong, or a value is infinite.
    """
    array = np.ascontiguousarray(X, dtype=np.float64)
    if array.ndim != 2:
        raise DetectorError(
            f"X must be 2-D (rows, features), got {array.ndim}-D", hint="reshape a single row to (1, -1)"
        )
    if n_features is not None and array.shape[1] != n_features:
        raise DetectorError(f"X has {array.shape[1]} features, but {n_features} are expected")
    if np.isinf(array).any():
        raise DetectorError("X contains ±Inf", hint="remove these rows, or set missing values to NaN")
    return array
