"""Sections of what comes in: source, features."""

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
    """One or more topics, read as a member of a consumer group."""

    type: Literal["kafka"] = "kafka"
    """Kind of source."""
    bootstrap_servers: Servers
    """Brokers to start from: host:port, several with commas or as a list."""
    topic: Topic | None = None
    """The topic to read; this or `topics`."""
    topics: tuple[Topic, ...] | None = Field(default=None, min_length=1)
    """The topics to read; this or `topic`."""
    group_id: Text = "streamgmm"
    """Consumer group; daemons of one group share the partitions."""
    group_instance_id: Text | None = None
    """Makes us a static member: a restart within the session keeps its partitions. Unique within the group."""
    auto_offset_reset: Literal["earliest", "latest"] = "earliest"
    """Where a new group begins; a partition or a topic that comes later is read from its beginning."""
    isolation_level: Literal["read_uncommitted", "read_committed"] = "read_committed"
    """Whether records of open or aborted transactions are read."""
    on_corrupt: Literal["stop", "skip"] = "stop"
    """What to do with a record batch that is damaged in the log: stop its partition there, or skip and count it."""
    fetch: Literal["blocks", "records"] = "blocks"
    """How fetches are read: whole batches by compiled code, or (slower) record by record by kafka-python."""
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
    """A file of records, one a line; what is appended while it is read is read as well."""

    type: Literal["file"]
    """Kind of source."""
    path: FilePath
    """The file to read."""
    format: Literal["jsonl", "csv"] | None = None
    """JSON lines, or CSV with a header; by the file's ending where absent."""
    offsets_path: FilePath | None = None
    """Where the committed offset is kept; `<path>.offsets.json` where absent."""


Source: TypeAlias = Annotated[Annotated[KafkaSource | FileSource, Field(discriminator="type")], default_type("kafka")]


FieldNames: TypeAlias = Annotated[tuple[Text, ...], Field(min_length=1)]


class _Feature(Section):
    fields: FieldNames
    """The columns it works on."""

    def rules(self) -> Iterator[Rule]:
        """Yield columns that are named twice."""
        for position, name in duplicates(self.fields):
            yield Rule(("fields", position), f"the column {name!r} is named twice")

    def output_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the columns that come out when these go in."""
        return names


class _RecallingFeature(_Feature):
    by: Literal["key", "stream"] = "key"
    """Whether each record key has a past of its own, or the whole stream one; records without a key share one."""

    @property
    def suffix(self) -> str:
        """Return what is added to a column's name."""
        return str(self.type)  # type: ignore[attr-defined]  # every member has a type

    def output_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the columns that come out: one more for each chosen one."""
        return (*names, *(f"{name}.{self.suffix}" for name in self.fields))


class Select(_Feature):
    """Keep these columns, in this order, and drop the others."""

    type: Literal["select"]
    """Kind of feature."""
    rename: dict[Text, Text] = Field(default_factory=dict)
    """New names, by the old ones."""

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
    """The logarithm of 1 + |x|, with the sign of x."""

    type: Literal["log"]
    """Kind of feature."""


class Clip(_Feature):
    """Values beyond a bound count as the bound."""

    type: Literal["clip"]
    """Kind of feature."""
    min: Float | None = None
    """Lower bound."""
    max: Float | None = None
    """Upper bound."""

    def rules(self) -> Iterator[Rule]:
        """Yield bounds that leave nothing."""
        yield from super().rules()
        if self.min is None and self.max is None:
            yield Rule((), "clip needs min, max or both")
        elif self.min is not None and self.max is not None and self.min >= self.max:
            yield Rule(("min",), f"min ({self.min:g}) is not below max ({self.max:g})")


class Difference(_RecallingFeature):
    """One more column for each: the change since the row before."""

    type: Literal["difference"]
    """Kind of feature."""


class Lag(_RecallingFeature):
    """One more column for each: the value some rows ago."""

    type: Literal["lag"]
    """Kind of feature."""
    steps: Int = Field(default=1, ge=1, le=1000)
    """How many rows ago."""

    @property
    def suffix(self) -> str:
        """Return what is added to a column's name."""
        return "lag" if self.steps == 1 else f"lag{self.steps}"


class Ewma(_RecallingFeature):
    """One more column for each: the distance from an exponentially weighted mean of the rows before."""

    type: Literal["ewma"]
    """Kind of feature."""
    half_life: Float = Field(default=100.0, ge=1e-6, le=1_000_000)
    """Rows after which a row's weight in the mean has halved."""


class Activity(_RecallingFeature):
    """Two more columns for each: exponentially weighted means of its values and of how much they change a row."""

    type: Literal["activity"]
    """Kind of feature."""
    half_life: Float = Field(default=40.0, ge=1e-6, le=1_000_000)
    """Rows after which a row's weight in both means has halved."""

    def output_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the columns that come out: all levels, then all activities."""
        return (*names, *(f"{name}.{suffix}" for suffix in ("level", "activity") for name in self.fields))


CalendarParts: TypeAlias = Annotated[tuple[Literal["hour", "weekday"], ...], Field(min_length=1)]


class Calendar(Section):
    """Two more columns for each part: sine and cosine of where the event time stands in the local day or week."""

    type: Literal["calendar"]
    """Kind of feature."""
    parts: CalendarParts = ("hour", "weekday")
    """Time of day, day of the week, or both."""
    timezone: Text = "UTC"
    """Whose clock: a name such as Europe/Berlin."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the columns it works on: none."""
        return ()

    def rules(self) -> Iterator[Rule]:
        """Yield parts that are named twice, and a time zone that nobody has."""
        for position, name in duplicates(self.parts):
            yield Rule(("parts", position), f"{name!r} is named twice")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            yield Rule(
                ("timezone",),
                f"there is no time zone {self.timezone!r}; use a name such as Europe/Berlin (where the system has no "
                "time zones: pip install tzdata)",
            )

    def output_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the columns that come out: two more for each part."""
        return (*names, *(f"{part}.{wave}" for part in self.parts for wave in ("sin", "cos")))


Feature: TypeAlias = Annotated[
    Select | Log | Clip | Difference | Lag | Ewma | Activity | Calendar, Field(discriminator="type")
]
