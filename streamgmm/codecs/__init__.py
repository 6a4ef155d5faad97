"""From bytes to fields, whole blocks at a time. A member has `build(settings) -> Codec`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from streamgmm.records import FeatureBatch, Json, RecordBatch


class Field(NamedTuple):
    """One declared input: its name, where it stands in a payload, and what it is.

    A category is encoded as a stable number (its hash); the fitted view of the columns decides what it means.
    """

    name: str
    path: str
    type: str = "number"


class Timestamp(NamedTuple):
    """Where a payload keeps its event time, and its unit: s, ms, us, ns, or iso (RFC 3339)."""

    path: str
    unit: str


@dataclass(frozen=True, slots=True)
class CodecSettings:
    """What every codec is told.

    Attributes
    ----------
    fields
        The declared inputs: columns of X in this order, and positions of an array or of a packed vector.
    timestamp
        Where the payload keeps its event time; None takes the record's own timestamp.
    passthrough
        Paths of values that travel along with an anomaly.
    max_missing
        Share of the fields that may be missing; a vector with more is rejected (`schema`).
    max_bytes
        Larger records are rejected unread (`oversize`).
    """

    fields: tuple[Field, ...]
    timestamp: Timestamp | None = None
    passthrough: tuple[str, ...] = ()
    max_missing: float = 0.5
    max_bytes: int = 16 * 1024 * 1024


class Codec(Protocol):
    """The codec contract; `tests/conformance` holds every member to it."""

    fields: tuple[Field, ...]

    def decode(self, batch: RecordBatch) -> FeatureBatch:
        """Decode every record; what cannot be decoded is in `rejects`, and never raises."""

    def passthrough(self, value: bytes) -> dict[str, Json]:
        """Return the fields that travel along with an anomaly (cold path: anomalies only)."""
