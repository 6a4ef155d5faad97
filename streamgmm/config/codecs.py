"""Sections of how bytes become fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from streamgmm.config.section import FilePath, Float, Rule, Seconds, Secret, Section, Text, default_type, duplicates


class FieldSpec(Section):
    """One declared input; a bare string is its name and its path."""

    name: Text
    """How the column is called in features, metrics and anomalies."""
    path: Text = ""
    """Where the value stands in the payload, with dots between the levels; the name where absent."""
    type: Literal["number", "category"] = "number"
    """What the value is; a category is a string."""


class TimestampSpec(Section):
    """Where the payload keeps its event time."""

    path: Text
    """Where the value stands in the payload, with dots between the levels."""
    unit: Literal["s", "ms", "us", "ns", "iso"] = "ms"
    """Unit since 1970-01-01 UTC, or iso for RFC 3339."""


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
    """The inputs, in order: names, or mappings of name, path and type."""
    timestamp: TimestampSpec | None = None
    """Where the event time stands; that of the envelope, or the record's own timestamp, where absent."""
    unwrap: Unwrap | None = None
    """The envelope around the payload; all paths are then those of what is inside."""
    passthrough: tuple[Text, ...] = ()
    """Paths that travel along with an anomaly."""
    max_missing: Float = Field(default=0.5, ge=0, le=1)
    """A row with a larger share of missing fields is rejected (`schema`); one with none present always is."""

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
    """Where the schemas of Avro records are asked for by their ids."""

    url: Text
    """Where it is: http://host:port or https://host:port."""
    username: Text | None = None
    """User, where it asks for one."""
    password: Secret | None = None
    """Password; a secret. `${VAR}` or `password_file` keep it out of this file."""
    password_file: FilePath | None = None
    """A file that holds `password`."""
    ca_file: FilePath | None = None
    """Certificates (PEM) that sign the registry's; the system's where absent."""
    cert_file: FilePath | None = None
    """Our own certificate (PEM), where it asks for one."""
    key_file: FilePath | None = None
    """The private key (PEM) of `cert_file`, without a password."""
    patience: Seconds = 20.0
    """How long a registry that is away is asked again, before the daemon ends with exit code 75, for a restart."""

    def rules(self) -> Iterator[Rule]:
        """Yield what does not go together."""
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
            yield Rule(("url",), "a password does not belong in the url; give username and password_file")
        elif not sound or url.query or url.fragment:
            yield Rule(("url",), "want http://host:port or https://host:port")
        elif url.scheme == "http":
            for key in ("ca_file", "cert_file", "key_file"):
                if getattr(self, key) is not None:
                    yield Rule((key,), f"{key} needs a url that begins with https")


class AvroCodec(_PathCodec):
    """Avro payloads; needs `pip install 'streamgmm[avro]'`."""

    type: Literal["avro"]
    """Kind of payload."""
    schema_registry: SchemaRegistry | None = None
    """Where schemas are asked for; this or `schema_file`."""
    schema_file: FilePath | None = None
    """The schema (.avsc) that every record was written with; this or `schema_registry`."""
    framing: Literal["confluent", "none"] | None = None
    """A zero byte and a schema id before the datum, or nothing; absent: `none` with `schema_file`, else `confluent`."""

    @property
    def is_framed(self) -> bool:
        """Return whether a schema id stands before each datum."""
        return self.schema_file is None if self.framing is None else self.framing == "confluent"

    def rules(self) -> Iterator[Rule]:
        """Yield what is wrong with fields and schemas."""
        yield from super().rules()
        if self.schema_registry is None and self.schema_file is None:
            yield Rule((), 'the key "schema_registry" (or "schema_file") is required here')
        if self.schema_registry is not None and self.schema_file is not None:
            yield Rule(("schema_file",), "schema_registry and schema_file exclude each other; keep one")
        if self.framing == "none" and self.schema_registry is not None:
            yield Rule(("framing",), "without framing nothing names a schema; give schema_file")


DELIMITERS: Mapping[str, str] = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " "}


class CsvCodec(Section):
    """Lines of CSV without a header, one vector in a record."""

    type: Literal["csv"]
    """Kind of payload."""
    fields: tuple[PathField, ...] = Field(min_length=1, max_length=4096)
    """The cells of a line, in order: names, or mappings of name and type."""
    delimiter: Literal["comma", "semicolon", "tab", "pipe", "space"] = "comma"
    """What stands between the cells."""
    max_missing: Float = Field(default=0.5, ge=0, le=1)
    """A row with a larger share of empty cells is rejected (`schema`); one of empty cells alone always is."""

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
                yield Rule(("fields", position, "path"), "cells go by position, there is no path; list every cell")


class PackedCodec(Section):
    """Packed little-endian numbers, one vector or several in a record."""

    type: Literal["float32", "float64"]
    """Kind of payload."""
    fields: tuple[Text, ...] = Field(min_length=1, max_length=4096)
    """Names of the vector's positions, in order."""
    max_missing: Float = Field(default=0.5, ge=0, le=1)
    """A row with a larger share of NaN is rejected (`schema`); one of NaN alone always is."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the fields, in order."""
        return self.fields

    def rules(self) -> Iterator[Rule]:
        """Yield names that are not unique."""
        for position, name in duplicates(self.fields):
            yield Rule(("fields", position), f"the field {name!r} is named twice")


# What no line of text can hold.
BINARY = (PackedCodec, MsgpackCodec, AvroCodec)

Codec: TypeAlias = Annotated[
    Annotated[JsonCodec | MsgpackCodec | AvroCodec | CsvCodec | PackedCodec, Field(discriminator="type")],
    default_type("json"),
]
