"""From bytes to fields, whole blocks at a time. A member has `build(settings) -> Codec`."""

from __future__ import annotations

from dataclasses import dataclass, field
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
class SchemaRegistry:
    """Where the schemas of Confluent-framed records are kept. The password is left out of its repr."""

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    patience: float = 20.0


@dataclass(frozen=True, slots=True)
class CodecSettings:
    """Settings of a codec.

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
    unwrap
        The envelope around the vector, a name of `_envelopes.UNWRAP`; None where there is none. Paths are then those of
        what is inside.
    schema
        Avro: the one schema that every record was written with, as its JSON text; without it each record's framing
        names one in the registry.
    schema_registry
        Avro: where schemas are asked for by their id.
    framed
        Avro: whether a zero byte and a schema id stand before the datum, also where the schema is known.
    delimiter
        CSV: what stands between the cells of a line.
    """

    fields: tuple[Field, ...]
    timestamp: Timestamp | None = None
    passthrough: tuple[str, ...] = ()
    max_missing: float = 0.5
    max_bytes: int = 16 * 1024 * 1024
    unwrap: str | None = None
    schema: str | None = None
    schema_registry: SchemaRegistry | None = None
    framed: bool = True
    delimiter: str = ","


class Codec(Protocol):
    """The codec contract; `tests/conformance` holds every member to it."""

    fields: tuple[Field, ...]

    def decode(self, batch: RecordBatch) -> FeatureBatch:
        """Decode every record; what cannot be decoded is in `rejects`, and never raises."""

    def passthrough(self, value: bytes, row: int = 0) -> dict[str, Json]:
        """Return what travels along with an anomaly in this row of a record (cold path: anomalies only)."""
