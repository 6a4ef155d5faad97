"""Sections of the codecs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from streamgmm.config.section import FilePath, Float, Rule, Seconds, Secret, Section, Text, default_type, duplicates


class FieldSpec(Section):
    """One input field. A plain string sets both name and path."""

    name: Text
    """Name of the column in features, metrics and anomaly records."""
    path: Text = ""
    """Path of the value in the payload, with dots between levels. Default: the name."""
    type: Literal["number", "category"] = "number"
    """Type of the value. A category is a string."""


class TimestampSpec(Section):
    """Location of the event time in the payload."""

    path: Text
    """Path of the value in the payload, with dots between levels."""
    unit: Literal["s", "ms", "us", "ns", "iso"] = "ms"
    """Unit of a number since 1970-01-01 UTC, or `iso` for RFC 3339 text."""


def _field(value: Any) -> Any:  # noqa: ANN401 - whatever the YAML holds
    if isinstance(value, str):
        return {"name": value, "path": value}
    if isinstance(value, Mapping) and "path" not in value and isinstance(value.get("name"), str):
        return {**value, "path": value["name"]}
    if isinstance(value, (int, float)):
        raise ValueError("should be a string; put it in quotes")  # noqa: TRY004 - pydantic collects ValueErrors only
    return value


PathField: TypeAlias = Annotated[FieldSpec, BeforeValidator(_field, json_schema_input_type=FieldSpec | str)]
Unwrap: TypeAlias = Literal["debezium", "telegraf", "cloudevents"]


class _PathCodec(Section):
    fields: tuple[PathField, ...] = Field(min_length=1, max_length=4096)
    """Input fields, in order: names, or mappings of name, path and type."""
    timestamp: TimestampSpec | None = None
    """Location of the event time. Default: the time of the envelope, or else the record timestamp."""
    unwrap: Unwrap | None = None
    """Envelope around the payload. All paths then start inside the envelope."""
    passthrough: tuple[Text, ...] = ()
    """Paths of values that are copied to anomaly records."""
    max_missing: Float = Field(default=0.5, ge=0, le=1)
    """Largest share of missing fields. Rows above it and rows without any value are rejected (`schema`)."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the fields, in order."""
        return tuple(field.name for field in self.fields)

    def rules(self) -> Iterator[Rule]:
        """Yield names that are not unique."""
        for position, name in duplicates(self.names):
            yield Rule(("fields", position), f"the field {name!r} is named twice")
        for position, name in duplicates(self.passthrough):
            yield Rule(("passthrough", position), f"the path {name!r} is named twice")


class JsonCodec(_PathCodec):
    """JSON payloads."""

    type: Literal["json"] = "json"
    """Kind of payload."""


class MsgpackCodec(_PathCodec):
    """MessagePack payloads."""

    type: Literal["msgpack"]
    """Kind of payload."""


class SchemaRegistry(Section):
    """The schema registry that holds the schemas of Avro records."""

    url: Text
    """Address: http://host:port or https://host:port."""
    username: Text | None = None
    """User name for a registry that requires one."""
    password: Secret | None = None
    """Password. A secret: use `${VAR}` or `password_file` to keep it out of this file."""
    password_file: FilePath | None = None
    """File that contains `password`."""
    ca_file: FilePath | None = None
    """CA certificates (PEM) that verify the registry. Default: those of the system."""
    cert_file: FilePath | None = None
    """Client certificate (PEM) for a registry that requires one."""
    key_file: FilePath | None = None
    """Private key (PEM) of `cert_file`, without a password."""
    patience: Seconds = 20.0
    """Time that requests to an unreachable registry are repeated. Then the daemon exits with code 75."""

    def rules(self) -> Iterator[Rule]:
        """Yield keys that exclude or require each other."""
        yield from self._url_rules()
        if self.password is not None and self.password_file is not None:
            yield Rule(("password_file",), "password and password_file exclude each other; keep one")
        secret = self.password is not None or self.password_file is not None
        if secret and self.username is None:
            yield Rule((), 'the key "username" is required with a password')
        if self.username is not None and not secret:
            yield Rule(("username",), "username needs a password or a password_file")
        if self.key_file is not None and self.cert_file is None:
            yield Rule(("key_file",), "key_file needs a cert_file")

    def _url_rules(self) -> Iterator[Rule]:
        try:
            url = urlsplit(self.url)
            sound = url.scheme in {"http", "https"} and bool(url.hostname) and (url.port is None or url.port > 0)
        except ValueError:
            yield Rule(("url",), "want http://host:port or https://host:port")
            return
        if "@" in url.netloc:
            yield Rule(("url",), "the url must not contain a password; give username and password_file")
        elif not sound or url.query or url.fragment:
            yield Rule(("url",), "want http://host:port or https://host:port")
        elif url.scheme == "http":
            for key in ("ca_file", "cert_file", "key_file"):
                if getattr(self, key) is not None:
                    yield Rule((key,), f"{key} needs a url that begins with https")


class AvroCodec(_PathCodec):
    """Avro payloads. Requires `pip install 'streamgmm[avro]'`."""

    type: Literal["avro"]
    """Kind of payload."""
    schema_registry: SchemaRegistry | None = None
    """Schema registry. Give this or `schema_file`."""
    schema_file: FilePath | None = None
    """Schema (.avsc) of all records. Give this or `schema_registry`."""
    framing: Literal["confluent", "none"] | None = None
    """`confluent`: a zero byte and a schema id precede the datum. Default: `confluent`, with `schema_file` `none`."""

    @property
    def is_framed(self) -> bool:
        """Return whether a schema id precedes each datum."""
        return self.schema_file is None if self.framing is None else self.framing == "confluent"

    def rules(self) -> Iterator[Rule]:
        """Yield what is wrong with fields and schemas."""
        yield from super().rules()
        if self.schema_registry is None and self.schema_file is None:
            yield Rule((), 'the key "schema_registry" (or "schema_file") is required here')
        if self.schema_registry is not None and self.schema_file is not None:
            yield Rule(("schema_file",), "schema_registry and schema_file exclude each other; keep one")
        if self.framing == "none" and self.schema_registry is not None:
            yield Rule(("framing",), "without framing a record has no schema id; give schema_file")


DELIMITERS: Mapping[str, str] = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " "}


class CsvCodec(Section):
    """Lines of CSV without a header, one vector per record."""

    type: Literal["csv"]
    """Kind of payload."""
    fields: tuple[PathField, ...] = Field(min_length=1, max_length=4096)
    """Cells of a line, in order: names, or mappings of name and type."""
    delimiter: Literal["comma", "semicolon", "tab", "pipe", "space"] = "comma"
    """Separator of the cells."""
    max_missing: Float = Field(default=0.5, ge=0, le=1)
    """Largest share of empty cells. Rows above it and rows of empty cells only are rejected (`schema`)."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the fields, in order."""
        return tuple(field.name for field in self.fields)

    def rules(self) -> Iterator[Rule]:
        """Yield names that are not unique, and paths."""
        for position, name in duplicates(self.names):
            yield Rule(("fields", position), f"the field {name!r} is named twice")
        for position, field in enumerate(self.fields):
            if field.path != field.name:
                yield Rule(("fields", position, "path"), "CSV cells have positions and no paths; list every cell")


class PackedCodec(Section):
    """Packed little-endian numbers, one or several vectors per record."""

    type: Literal["float32", "float64"]
    """Kind of payload."""
    fields: tuple[Text, ...] = Field(min_length=1, max_length=4096)
    """Names of the positions of a vector, in order."""
    max_missing: Float = Field(default=0.5, ge=0, le=1)
    """Largest share of NaN. Rows above it and rows of NaN only are rejected (`schema`)."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the fields, in order."""
        return self.fields

    def rules(self) -> Iterator[Rule]:
        """Yield names that are not unique."""
        for position, name in duplicates(self.fields):
            yield Rule(("fields", position), f"the field {name!r} is named twice")


# Codecs that cannot be used with a file of text lines.
BINARY = (PackedCodec, MsgpackCodec, AvroCodec)

Codec: TypeAlias = Annotated[
    Annotated[JsonCodec | MsgpackCodec | AvroCodec | CsvCodec | PackedCodec, Field(discriminator="type")],
    default_type("json"),
]
