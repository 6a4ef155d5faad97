"""The values that travel from source to sink: whole blocks as arrays, never one Python object per record.

RecordBatch (bytes) → FeatureBatch (fields) → ScoredBatch (what the engine says) → OutputRecord (bytes again).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

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
# ScoredBatch.status indexes this table.
STATUSES: tuple[str, ...] = ("scored", *UNSCORED_REASONS)
# A notice is a flagged row that is not as rare as the target rate asks: the adaptive level had risen above it.
SEVERITIES = ("notice", "warning", "critical")
CRITICAL_SCORE = 50.0
# What a ScoredBatch lists by index.
ROW_LISTS = ("withdrawn", "opened", "ended")


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Position(NamedTuple):
    """The next row to take from a partition: `row` rows of the record at `offset` are already done.

    Attributes
    ----------
    identity
        What the partition belongs to: the id of the topic, the file. A name alone can be given to another one. Empty
        where the source does not know it.
    """

    offset: int
    row: int = 0
    identity: str = ""


class Rebalance(NamedTuple):
    """What the consumer group did to us since the last poll."""

    event: Literal["assigned", "revoked", "lost"]
    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class ByteColumn:
    """A column of byte strings as slices of one buffer.

    Attributes
    ----------
    buffer : ndarray of uint8
        Shared by every value; a value that outlives its batch must be copied (`column[i]` copies).
    start, length : (n,) int64
        Slice of each value; a length of -1 is null.
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
        """Return the values at these indices (m,), of the same buffer."""
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
    """What one poll hands over, in stream order; records of a partition keep their order.

    Attributes
    ----------
    partitions
        The partitions that have records here; `partition` indexes it.
    partition : (n,) int64
    offset : (n,) int64
    timestamp : (n,) int64
        The record's own timestamp, milliseconds since the epoch; -1 where there is none.
    value, key
        Byte columns of length n.
    headers
        n sequences of (name, value); empty for a record without headers.
    next_offsets
        Per partition, what may be committed once everything here is flushed. It can run ahead of the last offset + 1
        (transaction markers, compacted gaps).
    more
        Partitions of which more is known to be there: what is later than their last record here may be put off.
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
    """One record, or one vector of a record, that cannot be scored; it goes to the dead letters.

    Attributes
    ----------
    record
        Index into the RecordBatch.
    row
        Row number inside the record, or -1 where the whole record is rejected.
    reason, detail
        The closed set of reasons, and a sentence that says where.
    """

    record: int
    row: int
    reason: RejectReason
    detail: str


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """Decoded vectors, one row each; a record may hold several.

    Attributes
    ----------
    X : (n, n_fields) float64, C-contiguous
        NaN is missing; never infinite.
    record : (n,) int64
        Row → index into the RecordBatch; never decreasing.
    row : (n,) int64
        Row number inside its record.
    event_time : (n,) float64
        Seconds since the epoch; NaN where neither the payload nor the record has a time.
    rejects
        In stream order.
    tombstones : (m,) int64
        Indices of records with a null value, or whose envelope says that its row was deleted.
    complete
        Whether no cell is known to be missing; False says nothing.
    """

    X: Floats
    record: Ints
    row: Ints
    event_time: Floats
    rejects: tuple[Reject, ...] = ()
    tombstones: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    complete: bool = False

    def __len__(self) -> int:
        return len(self.X)


class Version(NamedTuple):
    """Promotions and, since the last one, refreshes of the serving detector."""

    promotion: int = 0
    refresh: int = 0

    def __str__(self) -> str:
        return f"{self.promotion}.{self.refresh}"


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one feature has to do with an anomaly.

    `surprise` (nats) is −log p(x_j | the others), mean over members; `expected` and `stddev` are given the others;
    `share` is the additive split of the nearest component's squared Mahalanobis distance and may be negative; `usual`
    (nats) is what the surprise of this feature is on average, in the same units.
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
        """How much more surprising the feature is than it usually is, nats: free of its unit."""
        return self.surprise - self.usual


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one row is improbable. Contributions come largest surprise first."""

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
    """A flagged row as its incident remembers it; `time` in seconds (NaN: unknown), `version` as text."""

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
    """What is known of an incident.

    Attributes
    ----------
    first, key
        Id and key of the row that opened it.
    opened, last : float
        Event times (s) of the first and of the latest flagged row; NaN where unknown.
    rows : int
        Flagged rows.
    worst
        The most improbable row.
    surprise
        Feature → nats beyond the usual, summed over the rows.
    provisional
        It opened while the calibration held too few scores.
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
        """Return the features that led, with what they add up to: most surprising first."""
        found = sorted(self.surprise.items(), key=lambda item: -item[1])
        return [(name, nats) for name, nats in found[:most] if nats > 0.0]


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """What the engine says of n consecutive rows. Rows that were not scored hold NaN and False.

    Attributes
    ----------
    log_density : (n,) float64, nats
    p_value : (n,) float64
    score : (n,) float64
        0–100: min(100, −12.5 · log10 p).
    is_anomaly : (n,) bool
    severity : (n,) int64
        Index into SEVERITIES of flagged rows; −1 where nothing is flagged.
    level : (n,) float64
        The p-value that the row was judged by: it is flagged when its own is at or below. NaN where a stated
        log-density decides.
    threshold : (n,) float64
        The same as a log-density, nats: the row is flagged when its own is below.
    version : (n, 2) int64
        promotion, refresh of the detector that scored the row.
    status : (n,) int64
        Index into STATUSES.
    anomalies
        One per flagged row, in order; empty where explanations are switched off.
    withdrawn
        Rows whose flag was taken back by a rule (`detection.fields`).
    opened, ended
        Rows that opened an incident, and rows that showed the running one to be over (before anything else is said of
        them).
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
        """Join consecutive parts; the indices of anomalies move along."""
        starts = np.cumsum([0, *(len(p) for p in parts)])
        moved = list(zip(starts[:-1].tolist(), parts, strict=True))
        anomalies = (replace(a, index=a.index + start) for start, p in moved for a in p.anomalies)
        rows: dict[str, Any] = {n: tuple(i + s for s, p in moved for i in getattr(p, n)) for n in ROW_LISTS}
        names = ("log_density", "p_value", "score", "is_anomaly", "severity", "level", "threshold", "version", "status")
        columns: dict[str, Any] = {n: np.concatenate([getattr(p, n) for p in parts]) for n in names}
        return cls(**columns, anomalies=tuple(anomalies), **rows)


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """One message for a sink. `topic` overrides the sink's own (dead letters go beside their source topic)."""

    value: bytes
    key: bytes | None = None
    headers: Headers = ()
    topic: str | None = None
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth a log line, a metric and an audit entry.

    `kind` is one of EVENTS; `labels` holds the metric's labels (closed sets), `fields` whatever a reader wants to know.
    """

    kind: str
    labels: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Json] = field(default_factory=dict)


DRIFT_DETECTORS = ("martingale",)
# Why a position has jumped: damage in the log, deleted before it was read, lost by the brokers, another topic or file
# of the same name, set or deleted by somebody else.
MOVES = ("corrupt", "retention", "truncated", "recreated", "group")
# Why a partition cannot be read: it has no leader, its next batch is damaged, a transaction is open, its topic is gone.
WAITING = ("leader", "damaged", "transaction", "deleted")
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
    """One member of the serving detector, for metrics and /status."""

    name: str
    trained_at: float
    weights: tuple[float, ...]
    condition_number_max: float
    window_rows: int
    window_span: float


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The engine in one look: an immutable value that other threads may read."""

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
    """Whether the far side of a source is there.

    Attributes
    ----------
    answered : float
        When it last answered, seconds since the epoch; NaN where there is nobody to ask.
    lost
        Whether it was asked for so long in vain that it counts as silent.
    """

    answered: float = float("nan")
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What one turn of the loop did; handed to observers, which may not touch anything else.

    Rows: `scored` + sum(`unscored`) + sum(`rejected`) is all there was. Rows replayed after a restart to catch up with
    the committed offsets are in `replayed` and nowhere else, for they were counted before. Partitions `ahead` stand
    still because their next rows are later than those of others.
    """

    consumed: Mapping[str, int] = field(default_factory=dict)
    scored: int = 0
    unscored: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
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
    """Make the one kind of X that kernels take: 2-D, float64, native, C-contiguous, NaN allowed, ±Inf not.

    Raises
    ------
    DetectorError
        Wrong number of dimensions or features, or an infinite value.
    """
    array = np.ascontiguousarray(X, dtype=np.float64)
    if array.ndim != 2:
        raise DetectorError(
            f"X must be 2-D (rows, features), got {array.ndim}-D", hint="reshape a single row to (1, -1)"
        )
    if n_features is not None and array.shape[1] != n_features:
        raise DetectorError(f"X has {array.shape[1]} features, but {n_features} are expected")
    if np.isinf(array).any():
        raise DetectorError("X contains ±Inf", hint="drop these rows, or set them to NaN if missing is what they mean")
    return array
