"""Sections of the input: source and features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field

from streamgmm.config.kafka import ConsumerClient, Security
from streamgmm.config.section import (
    FilePath,
    Float,
    Int,
    Rule,
    Section,
    Servers,
    Text,
    Topic,
    default_type,
    duplicates,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class KafkaSource(Section):
    """One or more topics, read by a member of a consumer group."""

    type: Literal["kafka"] = "kafka"
    """Kind of source."""
    bootstrap_servers: Servers
    """Bootstrap brokers: host:port, several separated by commas or as a list."""
    topic: Topic | None = None
    """Topic to read. Give this or `topics`."""
    topics: tuple[Topic, ...] | None = Field(default=None, min_length=1)
    """Topics to read. Give this or `topic`."""
    group_id: Text = "streamgmm"
    """Consumer group. The daemons of one group share the partitions."""
    group_instance_id: Text | None = None
    """Id of a static group member. A restart within `session_timeout_ms` keeps the partitions. Unique in the group."""
    auto_offset_reset: Literal["earliest", "latest"] = "earliest"
    """Where a new group starts. Partitions and topics that are added later are read from their beginning."""
    isolation_level: Literal["read_uncommitted", "read_committed"] = "read_committed"
    """Whether records of open and aborted transactions are read (`read_uncommitted`)."""
    on_corrupt: Literal["stop", "skip"] = "stop"
    """Action for a damaged record batch: stop reading its partition, or skip the batch and count its records."""
    fetch: Literal["blocks", "records"] = "blocks"
    """Decoder of fetches: compiled code for whole batches, or kafka-python for single records (slower)."""
    client: ConsumerClient = ConsumerClient()
    """Options of the Kafka consumer."""
    security: Security = Security()
    """Encryption and authentication."""

    @property
    def all_topics(self) -> tuple[str, ...]:
        """Return the topics to read, however they were given."""
        return (self.topic,) if self.topic is not None else self.topics or ()

    def rules(self) -> Iterator[Rule]:
        """Yield what is wrong with the topics."""
        if self.topic is None and self.topics is None:
            yield Rule((), 'the key "topic" (or "topics") is required here')
        if self.topic is not None and self.topics is not None:
            yield Rule(("topics",), "topic and topics exclude each other; keep one")
        for position, name in duplicates(self.topics or ()):
            yield Rule(("topics", position), f"the topic {name!r} is named twice")


class FileSource(Section):
    """A file with one record per line. Lines that are appended while the daemon runs are read too."""

    type: Literal["file"]
    """Kind of source."""
    path: FilePath
    """File to read."""
    format: Literal["jsonl", "csv"] | None = None
    """JSON lines, or CSV with a header. Default: by the file name extension."""
    offsets_path: FilePath | None = None
    """File of the committed offset. Default: `<path>.offsets.json`."""


Source: TypeAlias = Annotated[Annotated[KafkaSource | FileSource, Field(discriminator="type")], default_type("kafka")]


FieldNames: TypeAlias = Annotated[tuple[Text, ...], Field(min_length=1)]


class _Feature(Section):
    fields: FieldNames
    """Columns that it applies to."""

    def rules(self) -> Iterator[Rule]:
        """Yield columns that are named twice."""
        for position, name in duplicates(self.fields):
            yield Rule(("fields", position), f"the column {name!r} is named twice")

    def output_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the columns that come out when these go in."""
        return names


class _RecallingFeature(_Feature):
    by: Literal["key", "stream"] = "key"
    """State per record key, or one state for the stream. With `key`, records without a key share one state."""

    @property
    def suffix(self) -> str:
        """Return what is added to a column's name."""
        return str(self.type)  # type: ignore[attr-defined]  # every member has a type

    def output_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the columns that come out: one more for each chosen one."""
        return (*names, *(f"{name}.{self.suffix}" for name in self.fields))


class Select(_Feature):
    """Keeps these columns, in this order, and drops the others."""

    type: Literal["select"]
    """Kind of feature."""
    rename: dict[Text, Text] = Field(default_factory=dict)
    """Mapping of old names to new names."""

    def rules(self) -> Iterator[Rule]:
        """Yield renamed columns that are not kept."""
        yield from super().rules()
        for old in self.rename:
            if old not in self.fields:
                yield Rule(("rename", old), f"{old!r} is renamed but not among the selected fields")

    def output_names(self, names: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG002 - the others add to them
        """Return the selected columns by their new names."""
        return tuple(self.rename.get(name, name) for name in self.fields)


class Log(_Feature):
    """Replaces x by sign(x) · log(1 + |x|)."""

    type: Literal["log"]
    """Kind of feature."""


class Clip(_Feature):
    """Clips values to a range."""

    type: Literal["clip"]
    """Kind of feature."""
    min: Float | None = None
    """Lower bound."""
    max: Float | None = None
    """Upper bound."""

    def rules(self) -> Iterator[Rule]:
        """Yield bounds that exclude every value."""
        yield from super().rules()
        if self.min is None and self.max is None:
            yield Rule((), "clip needs min, max or both")
        elif self.min is not None and self.max is not None and self.min >= self.max:
            yield Rule(("min",), f"min ({self.min:g}) is not below max ({self.max:g})")


class Difference(_RecallingFeature):
    """Adds one column per field: the change since the previous row."""

    type: Literal["difference"]
    """Kind of feature."""


class Lag(_RecallingFeature):
    """Adds one column per field: the value a number of rows earlier."""

    type: Literal["lag"]
    """Kind of feature."""
    steps: Int = Field(default=1, ge=1, le=1000)
    """Number of rows."""

    @property
    def suffix(self) -> str:
        """Return what is added to a column's name."""
        return "lag" if self.steps == 1 else f"lag{self.steps}"


class Ewma(_RecallingFeature):
    """Adds one column per field: the value minus the exponentially weighted mean of the previous rows."""

    type: Literal["ewma"]
    """Kind of feature."""
    half_life: Float = Field(default=100.0, ge=1e-6, le=1_000_000)
    """Half-life of the exponentially weighted mean, in rows."""


class Activity(_RecallingFeature):
    """Adds two columns per field: the exponentially weighted means of the value and of its absolute change per row."""

    type: Literal["activity"]
    """Kind of feature."""
    half_life: Float = Field(default=40.0, ge=1e-6, le=1_000_000)
    """Half-life of both exponentially weighted means, in rows."""

    def output_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the columns that come out: all levels, then all activities."""
        return (*names, *(f"{name}.{suffix}" for suffix in ("level", "activity") for name in self.fields))


CalendarParts: TypeAlias = Annotated[tuple[Literal["hour", "weekday"], ...], Field(min_length=1)]


class Calendar(Section):
    """Adds two columns per part: sine and cosine of the event time as a phase of the local day or week."""

    type: Literal["calendar"]
    """Kind of feature."""
    parts: CalendarParts = ("hour", "weekday")
    """`hour` is the phase of the day, `weekday` the phase of the week."""
    timezone: Text = "UTC"
    """Time zone, a name such as Europe/Berlin."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the columns it works on: none."""
        return ()

    def rules(self) -> Iterator[Rule]:
        """Yield parts that are named twice, and an unknown time zone."""
        for position, name in duplicates(self.parts):
            yield Rule(("parts", position), f"{name!r} is named twice")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            yield Rule(
                ("timezone",),
                f"there is no time zone {self.timezone!r}; use a name such as Europe/Berlin (if the system has no "
                "time zones: pip install tzdata)",
            )

    def output_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the columns that come out: two more for each part."""
        return (*names, *(f"{part}.{wave}" for part in self.parts for wave in ("sin", "cos")))


Feature: TypeAlias = Annotated[
    Select | Log | Clip | Difference | Lag | Ewma | Activity | Calendar, Field(discriminator="type")
]
