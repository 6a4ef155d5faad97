"""Avro: a record with the fields by name or dotted path, or an array with the fields by position.

Records are framed as Confluent's serializers do it (a zero byte, the id of the schema in four bytes, the datum), with
schemas from a registry or from a file; or they are bare datums of one schema from a file.
"""

from __future__ import annotations

import struct
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import msgspec

from streamgmm.codecs import _framing
from streamgmm.codecs._objects import ObjectCodec
from streamgmm.codecs._payload import RefusalError, Unreadable
from streamgmm.codecs._schema_registry import RegistryClient
from streamgmm.errors import ConfigError

try:
    import fastavro
    from fastavro.read import LOGICAL_READERS
except ImportError:  # it is an extra
    raise ConfigError("the codec avro needs the package fastavro", hint="pip install 'streamgmm[avro]'") from None

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamgmm.codecs import CodecSettings
    from streamgmm.records import Json

    SchemaOf = Callable[[int], Any]

# Where a schema holds others.
_WITHIN = ("type", "fields", "items", "values")
_FRAME = struct.Struct(">bI")
# What fastavro raises for bytes that another schema wrote.
_UNREADABLE = (LookupError, ValueError, TypeError, OverflowError, ArithmeticError, MemoryError, struct.error)


def build(settings: CodecSettings) -> ObjectCodec:
    """Return the Avro codec; it asks the registry when it meets an id for the first time.

    Raises
    ------
    ConfigError
        There is neither a schema nor a registry, or the schema cannot be used.
    """
    if settings.schema is not None:
        return ObjectCodec(settings, _parser(settings.schema, framed=settings.framed))
    if settings.schema_registry is None:
        raise ConfigError("the schema of the Avro records is not given", hint="give codec.schema_registry")
    registry = RegistryClient(settings.schema_registry, _made)
    return ObjectCodec(settings, _framed(registry.schema), registry.block)


def _parser(text: str, *, framed: bool) -> Callable[[memoryview], Json]:
    try:
        schema = _made(text, [])
    except RefusalError as refusal:
        raise ConfigError(f"codec.schema_file: {refusal.detail}") from None
    return _framed(lambda _: schema) if framed else lambda value: _datum(value, schema)


def _framed(schema_of: SchemaOf) -> Callable[[memoryview], Json]:
    def parse(value: memoryview) -> Json:
        if len(value) < _FRAME.size or value[0] != 0:
            start = f"{len(value)} bytes" if len(value) < _FRAME.size else f"starts with byte {value[0]:02x}"
            guess = _framing.hint(bytes(value[: _framing.HEAD_BYTES]), "avro")
            raise RefusalError("decode", f"{start}, expected Confluent framing (byte 0 and a schema id){guess}")
        schema_id = _FRAME.unpack_from(value)[1]
        schema = schema_of(schema_id)
        try:
            return _datum(value[_FRAME.size :], schema)
        except RefusalError as refusal:
            raise RefusalError(refusal.reason, f"schema id {schema_id}: {refusal.detail}") from None

    return parse


def _datum(value: memoryview, schema: Any) -> Json:  # noqa: ANN401 - fastavro's own
    stream = BytesIO(value)
    try:
        found = fastavro.schemaless_reader(stream, schema, None, handle_unicode_errors="surrogateescape")
    except EOFError:
        raise RefusalError("decode", f"not as in the Avro schema: it ends too soon{_looks_framed(value)}") from None
    except _UNREADABLE as error:
        guess = _framing.hint(bytes(value[: _framing.HEAD_BYTES]), "avro") or _looks_framed(value)
        raise RefusalError(
            "decode", f"not as in the Avro schema: {type(error).__name__} {error!s:.100}{guess}"
        ) from None
    if stream.tell() < len(value):
        guess = _looks_framed(value)
        raise RefusalError("decode", f"{len(value) - stream.tell()} bytes are left after the datum{guess}")
    return found


def _looks_framed(value: memoryview) -> str:
    framed = len(value) > _FRAME.size and value[0] == 0
    return "; starts with byte 0: Confluent framing? Set framing: confluent" if framed else ""


def _converted(kind: str, *what: Any) -> Any:  # noqa: ANN401 - fastavro's own
    """Convert a value of a logical type; one that cannot be converted matters only where it is asked for."""
    try:
        return LOGICAL_READERS[kind](*what)
    except _UNREADABLE:
        return Unreadable(f"no {kind.partition('-')[2]} ({what[0]!r:.40})")


# Our own names of the logical types: fastavro's readers of them raise, and end the reading of the whole datum.
_OURS = "streamgmm-"
for _kind in tuple(LOGICAL_READERS):
    _base, _, _logical = _kind.partition("-")
    LOGICAL_READERS[f"{_base}-{_OURS}{_logical}"] = partial(_converted, _kind)


def _renamed(schema: Json) -> Json:
    """Return a schema with our own names of its logical types."""
    if isinstance(schema, list):
        return [_renamed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {key: _renamed(value) if key in _WITHIN else value for key, value in schema.items()}
    if isinstance(schema.get("logicalType"), str):
        renamed["logicalType"] = _OURS + schema["logicalType"]
    return renamed


def _made(text: str, references: list[str]) -> Any:  # noqa: ANN401 - fastavro's own
    """Parse a schema. What could make its reader run away on a few hostile bytes is refused.

    fastavro's compiled reader has no bound on nesting (it dies of a stack overflow), and takes as many elements without
    bytes as an array says there are.
    """
    named: dict[str, Any] = {}
    try:
        for reference in references:
            fastavro.parse_schema(_renamed(msgspec.json.decode(reference)), named)
        schema = fastavro.parse_schema(_renamed(msgspec.json.decode(text)), named)
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType, msgspec.MsgspecError) as error:
        raise RefusalError("decode", f"the Avro schema cannot be used: {error!s:.200}") from None
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RefusalError("decode", f"the Avro schema cannot be used: {type(error).__name__} {error!s:.100}") from None
    _size(schema, named, ())
    return schema


def _size(schema: Any, named: dict[str, Any], inside: tuple[str, ...]) -> int:  # noqa: ANN401 - fastavro's own
    """Return the least bytes that a datum takes; see `_made` for what is refused."""
    if isinstance(schema, list):
        return 1 + min((_size(branch, named, inside) for branch in schema), default=0)
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(kind, (dict, list)):
        return _size(kind, named, inside)
    if kind in inside:
        raise RefusalError("decode", f"the Avro schema is recursive ({kind:.100}): such records are not read")
    if kind == "array" and not _size(schema["items"], named, inside):
        raise RefusalError("decode", "the Avro schema has an array of elements without bytes: not read")
    if kind == "map":
        _size(schema["values"], named, inside)
    if kind in {"record", "error"}:
        within = (*inside, schema["name"])
        return sum(_size(field["type"], named, within) for field in schema["fields"])
    if kind == "fixed":
        return int(schema["size"])
    if kind in named and not isinstance(schema, dict):
        return _size(named[kind], named, inside)
    return 0 if kind == "null" else 1
