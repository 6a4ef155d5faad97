"""Sections of output and operation: sinks, dead_letters, state, http, logging, limits."""

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
    """Records to write: explained anomalies; these and compact records of all other rows; or incidents."""
    min_interval: Seconds | None = None
    """Least event time between two anomaly records, or two openings of incidents. `suppressed` counts the others."""

    @property
    def is_paged(self) -> bool:
        """Return whether the output depends on earlier output."""
        return self.emit == "incidents" or self.min_interval is not None

    def rules(self) -> Iterator[Rule]:
        """Yield an interval together with `emit: all`."""
        if self.emit == "all" and self.min_interval is not None:
            yield Rule(("min_interval",), "min_interval has no meaning with emit: all, which writes every row")


class KafkaSink(_Sink):
    """A topic for results."""

    type: Literal["kafka"] = "kafka"
    """Kind of sink."""
    topic: Topic
    """Topic to write."""
    bootstrap_servers: Servers | None = None
    """Brokers. Default: those of the source."""
    security: Security | None = None
    """Encryption and authentication. Default: those of the source, if the brokers are those of the source too."""
    client: ProducerClient = ProducerClient()
    """Options of the Kafka producer."""
    format: Literal["json", "msgpack", "packed"] = "json"
    """`json` and `msgpack` hold the same document. `packed` (with `emit: all`) is one record of columns per block."""

    def rules(self) -> Iterator[Rule]:
        """Yield a packed sink without `emit: all`."""
        yield from super().rules()
        if self.format == "packed" and self.emit != "all":
            yield Rule(("format",), "format: packed contains the scores of all rows; it needs emit: all")


class FileSink(_Sink):
    """A file for results, one JSON object per line."""

    type: Literal["file"]
    """Kind of sink."""
    path: FilePath
    """File to append to."""


Sink: TypeAlias = Annotated[Annotated[KafkaSink | FileSink, Field(discriminator="type")], default_type("kafka")]


class KafkaDeadLetters(Section):
    """A topic for records that could not be scored."""

    type: Literal["kafka"] = "kafka"
    """Kind of sink."""
    topic: Topic | None = None
    """Topic to write. Default: `<topic>-dead-letters` for each source topic."""
    bootstrap_servers: Servers | None = None
    """Brokers. Default: those of the source."""
    security: Security | None = None
    """Encryption and authentication. Default: those of the source, if the brokers are those of the source too."""
    client: ProducerClient = ProducerClient()
    """Options of the Kafka producer."""


class FileDeadLetters(Section):
    """A file for records that could not be scored."""

    type: Literal["file"]
    """Kind of sink."""
    path: FilePath
    """File to append to."""


DeadLetters: TypeAlias = Annotated[
    Annotated[KafkaDeadLetters | FileDeadLetters, Field(discriminator="type")], default_type("kafka")
]


class State(Section):
    """Location and schedule of snapshots."""

    dir: FilePath = Field(default="./state", validate_default=True)
    """Folder of snapshots. Only one daemon may use it."""
    interval: Seconds = 60.0
    """Time between snapshots. Promotions and an orderly stop save too."""
    on_mismatch: Literal["stop", "cold_start"] = "stop"
    """Action if the snapshot has another codec, no common column, a newer version, or is unreadable."""
    max_replay: Int = Field(default=100_000, ge=0)
    """Most records per partition that a restart learns again to reach the committed offsets."""
    keep: Int = Field(default=5, ge=1, le=1000)
    """Newest snapshots to keep. The last one of each hour of a day and of each day of a week are kept too."""


def _listen(value: Any) -> Any:  # noqa: ANN401 - whatever the YAML holds
    if value is not None and (not isinstance(value, str) or split_address(value) is None):
        raise ValueError("want host:port such as 127.0.0.1:8642, or null to disable it")
    return value


class Http(Section):
    """The HTTP server: /metrics, /livez, /readyz, /status."""

    listen: Annotated[str | None, BeforeValidator(_listen, json_schema_input_type=str | None)] = "127.0.0.1:8642"
    """Listen address. Port 0 takes a free port. null disables the server."""

    @property
    def address(self) -> tuple[str, int] | None:
        """Return host and port, or None if the server is disabled."""
        return None if self.listen is None else split_address(self.listen)


class Logging(Section):
    """Level and format of log lines."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged."""
    format: Literal["text", "json"] = "text"
    """Plain text, or one JSON object per line."""


class Limits(Section):
    """Limits of memory and time."""

    batch_rows: Int = Field(default=20_000, ge=1, le=10_000_000)
    """Most records per turn of the loop."""
    batch_bytes: Bytes = Field(default=16 * 2**20, ge=1024, le=2**30)
    """Most decompressed bytes per turn of the loop. A compressed batch may hold four times as many, and 16 MiB in any
    case; a larger one is handled as a damaged one (`source.on_corrupt`)."""
    record_bytes: Bytes = Field(default=4 * 2**20, ge=16, le=2**30)
    """Most bytes of a record. A larger one is rejected (`oversize`), and its dead letter is truncated to this size."""
    calibration_rows: Int = Field(default=1_000_000, ge=1000, le=100_000_000)
    """Most scores in the calibration buffer."""
    keys: Int = Field(default=10_000, ge=1, le=1_000_000)
    """Most record keys with state in derived columns. A new key replaces the key that was seen longest ago."""
    learning_cpu: Float = Field(default=0.2, gt=0, lt=1)
    """Largest share of the process's CPU time, and of one core, for learning. Above it, learning intervals grow."""
    max_latency: Seconds = 0.1
    """Longest time between the write of a record to a sink and the flush, while rows arrive. A stream without new rows
    is flushed at once. If batches are small, turns of the loop start at least a twentieth of this time apart, and at
    most one second."""
    loop_deadline: Seconds = 60.0
    """Longest time to decode, derive, score or render one batch. 15 s later the process exits with code 1."""
    stall_deadline: Seconds = 600.0
    """Longest time without progress of a partition with lag. 15 s later the process exits with code 1."""
    sink_deadline: Seconds = 300.0
    """Longest time of one delivery or commit while the source's brokers answer. 15 s later the process exits with
    code 1."""
    shutdown: Seconds = 25.0
    """Time limit of an orderly stop."""

    def rules(self) -> Iterator[Rule]:
        """Yield limits that contradict each other."""
        if self.record_bytes > self.batch_bytes:
            yield Rule(
                ("record_bytes",),
                f"record_bytes ({self.record_bytes}) is above batch_bytes ({self.batch_bytes})",
            )
