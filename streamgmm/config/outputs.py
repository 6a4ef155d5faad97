"""Sections of what goes out and what keeps it going: sinks, dead_letters, state, http, logging, limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from streamgmm.config.kafka import ProducerClient, Security
from streamgmm.config.section import (
    Bytes,
    Emit,
    FilePath,
    Float,
    Int,
    Rule,
    Seconds,
    Section,
    Servers,
    Topic,
    default_type,
    split_address,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Sink(Section):
    emit: Emit = "anomalies"
    """Explained anomalies, `all` rows (the others in a compact record), or `incidents` as they open and close."""
    min_interval: Seconds | None = None
    """Least event time between two anomaly records, or two openings of incidents; the next one says what it missed."""

    @property
    def is_paged(self) -> bool:
        """Return whether what leaves depends on what has left before."""
        return self.emit == "incidents" or self.min_interval is not None

    def rules(self) -> Iterator[Rule]:
        """Yield an interval between the records of all rows."""
        if self.emit == "all" and self.min_interval is not None:
            yield Rule(("min_interval",), "min_interval has no meaning beside emit: all, which is every row")


class KafkaSink(_Sink):
    """A topic of results."""

    type: Literal["kafka"] = "kafka"
    """Kind of sink."""
    topic: Topic
    """The topic to write."""
    bootstrap_servers: Servers | None = None
    """Brokers; the source's where absent."""
    security: Security | None = None
    """Encryption and authentication; the source's where absent, if the brokers are the source's as well."""
    client: ProducerClient = ProducerClient()
    """Options of the Kafka producer."""
    format: Literal["json", "msgpack", "packed"] = "json"
    """JSON or MessagePack, the same document; `packed`, with `emit: all`: one record of columns for a block of rows."""

    def rules(self) -> Iterator[Rule]:
        """Yield a packed sink of anything but every row."""
        yield from super().rules()
        if self.format == "packed" and self.emit != "all":
            yield Rule(("format",), "format: packed holds the scores of all rows, so it needs emit: all")


class FileSink(_Sink):
    """A file of results, one JSON object a line."""

    type: Literal["file"]
    """Kind of sink."""
    path: FilePath
    """The file to append to."""


Sink: TypeAlias = Annotated[Annotated[KafkaSink | FileSink, Field(discriminator="type")], default_type("kafka")]


class KafkaDeadLetters(Section):
    """A topic of records that could not be scored."""

    type: Literal["kafka"] = "kafka"
    """Kind of sink."""
    topic: Topic | None = None
    """The topic to write; `<topic>-dead-letters` of each source topic where absent."""
    bootstrap_servers: Servers | None = None
    """Brokers; the source's where absent."""
    security: Security | None = None
    """Encryption and authentication; the source's where absent, if the brokers are the source's as well."""
    client: ProducerClient = ProducerClient()
    """Options of the Kafka producer."""


class FileDeadLetters(Section):
    """A file of records that could not be scored."""

    type: Literal["file"]
    """Kind of sink."""
    path: FilePath
    """The file to append to."""


DeadLetters: TypeAlias = Annotated[
    Annotated[KafkaDeadLetters | FileDeadLetters, Field(discriminator="type")], default_type("kafka")
]


class State(Section):
    """Where and when snapshots are written."""

    dir: FilePath = Field(default="./state", validate_default=True)
    """Where snapshots are kept; one daemon owns it."""
    interval: Seconds = 60.0
    """Time between snapshots; promotions and SIGTERM save as well."""
    on_mismatch: Literal["stop", "cold_start"] = "stop"
    """What to do with a snapshot of another codec, of other columns throughout, of a newer version, or not readable."""
    max_replay: Int = Field(default=100_000, ge=0)
    """Most records per partition that a restart learns again to catch up with the committed offsets."""
    keep: Int = Field(default=5, ge=1, le=1000)
    """Newest snapshots to keep; beside them, the last of every hour of a day and of every day of a week are kept."""


def _listen(value: Any) -> Any:  # noqa: ANN401 - whatever the YAML holds
    if value is not None and (not isinstance(value, str) or split_address(value) is None):
        raise ValueError("want host:port such as 127.0.0.1:8642, or null to switch it off")
    return value


class Http(Section):
    """The HTTP side: /metrics, /livez, /readyz, /status."""

    listen: Annotated[str | None, BeforeValidator(_listen, json_schema_input_type=str | None)] = "127.0.0.1:8642"
    """Address to listen at; port 0 takes a free one; null switches it off."""

    @property
    def address(self) -> tuple[str, int] | None:
        """Return host and port, or None where it is off."""
        return None if self.listen is None else split_address(self.listen)


class Logging(Section):
    """Severity and shape of log lines."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged."""
    format: Literal["text", "json"] = "text"
    """Lines for people or for machines."""


class Limits(Section):
    """How much and how long at most."""

    batch_rows: Int = Field(default=20_000, ge=1, le=10_000_000)
    """Most records that one turn of the loop takes."""
    batch_bytes: Bytes = Field(default=16 * 2**20, ge=1024, le=2**30)
    """Most bytes that one turn of the loop takes, decompressed."""
    record_bytes: Bytes = Field(default=4 * 2**20, ge=16, le=2**30)
    """A larger record is rejected (`oversize`), and its dead letter is truncated to this size."""
    calibration_rows: Int = Field(default=1_000_000, ge=1000, le=100_000_000)
    """Most scores in the calibration buffer."""
    keys: Int = Field(default=10_000, ge=1, le=1_000_000)
    """Most keys that derived columns keep state for; one more takes the place of the key seen longest ago."""
    learning_cpu: Float = Field(default=0.2, gt=0, lt=1)
    """Share of the process's processor time, and of one core, that learning may take; beyond it intervals stretch."""
    max_latency: Seconds = 0.1
    """How long what sinks were given may wait for its flush while more rows come (not in a quiet stream); a slow
    stream's rows gather for a twentieth of it."""
    loop_deadline: Seconds = 60.0
    """A turn of the loop that takes longer ends the process with exit code 1, for a restart."""
    stall_deadline: Seconds = 600.0
    """A partition with lag and without progress for longer ends the process with exit code 1, for a restart."""
    sink_deadline: Seconds = 300.0
    """A sink that takes nothing for longer ends the process with exit code 1, for a restart."""
    shutdown: Seconds = 25.0
    """Time for an orderly stop."""

    def rules(self) -> Iterator[Rule]:
        """Yield bounds that contradict each other."""
        if self.record_bytes > self.batch_bytes:
            yield Rule(
                ("record_bytes",),
                f"record_bytes ({self.record_bytes}) is above batch_bytes ({self.batch_bytes})",
            )
