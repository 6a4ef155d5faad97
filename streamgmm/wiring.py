"""From a configuration to everything that touches the outside world: source, codec, sinks, snapshots.

`*_settings` and `*_connection` are pure (but for secrets in files, which are read here, so that a rotated one
needs no new configuration); the others build.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from streamgmm import registry
from streamgmm.codecs import CodecSettings, Field, SchemaRegistry, Timestamp
from streamgmm.config.codecs import DELIMITERS, AvroCodec, CsvCodec, FieldSpec, PackedCodec
from streamgmm.config.inputs import FileSource, KafkaSource
from streamgmm.config.outputs import FileDeadLetters, FileSink, KafkaDeadLetters, KafkaSink
from streamgmm.config.schema import DEAD_LETTERS_SUFFIX
from streamgmm.delivery import Outlet
from streamgmm.errors import ConfigError
from streamgmm.paging import Feed
from streamgmm.rendering import Rendering
from streamgmm.snapshots import SnapshotStore
from streamgmm.sources import file as file_source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from streamgmm.bus.client import Connection, Security
    from streamgmm.codecs import Codec
    from streamgmm.config import Config
    from streamgmm.config.codecs import SchemaRegistry as SchemaRegistrySection
    from streamgmm.config.kafka import ConsumerClient, ProducerClient
    from streamgmm.config.kafka import Security as SecuritySection
    from streamgmm.paging import Paging
    from streamgmm.sinks import Sink
    from streamgmm.sources import Source
    from streamgmm.sources.kafka import KafkaSourceSettings

DEAD_LETTERS_NAME = "dead_letters"
DEAD_LETTERS_ENDING = ".dead-letters.jsonl"
# Client options that have a place of their own in the settings of a source or a sink.
OWN_SETTINGS = ("session_timeout_ms", "max_poll_interval_ms", "compression_type", "linger_ms")


# --- connections


def security(section: SecuritySection, key: str = "source.security") -> Security:
    """Return how to prove who we are; `key` is what an error calls the section."""
    from streamgmm.bus.client import Security  # noqa: PLC0415 - only Kafka users pay for kafka-python

    return Security(
        protocol=section.protocol,
        ca_file=_name(section.ca_file),
        cert_file=_name(section.cert_file),
        key_file=_name(section.key_file),
        key_password=_secret(section, "key_password", key),
        mechanism=section.mechanism,
        username=section.username,
        password=_secret(section, "password", key),
        check_hostname=section.check_hostname,
    )


def source_connection(section: KafkaSource) -> Connection:
    """Return where the source's brokers are, and how to speak to them."""
    return _connection(section.bootstrap_servers, security(section.security), section.client)


def sink_connection(config: Config, section: KafkaSink | KafkaDeadLetters, key: str) -> Connection:
    """Return where a sink's brokers are: the source's, with its security, unless the sink says otherwise."""
    source = config.source if isinstance(config.source, KafkaSource) else None
    servers = section.bootstrap_servers or (source.bootstrap_servers if source else ())
    given = section.security
    if given is None and source is not None and set(servers) == set(source.bootstrap_servers):
        return _connection(servers, security(source.security), section.client)
    return _connection(servers, None if given is None else security(given, f"{key}.security"), section.client)


def _connection(
    servers: tuple[str, ...], proof: Security | None, client: ConsumerClient | ProducerClient
) -> Connection:
    from streamgmm.bus.client import Connection  # noqa: PLC0415 - only Kafka users pay for kafka-python

    return Connection(servers, proof, client.model_dump(exclude_none=True, exclude=set(OWN_SETTINGS)))


def _name(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _secret(section: SecuritySection | SchemaRegistrySection, name: str, key: str) -> str | None:
    value, path = getattr(section, name), getattr(section, f"{name}_file")
    if path is None:
        return None if value is None else str(value.get_secret_value())
    return _text(path, f"{key}.{name}_file").removesuffix("\n").removesuffix("\r")


def _text(path: Path, key: str) -> str:
    try:
        return str(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{key}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: {path} is not UTF-8") from None


# --- source and codec


def kafka_source_settings(config: Config, section: KafkaSource) -> KafkaSourceSettings:
    """Return the settings of the Kafka source."""
    from streamgmm.sources.kafka import KafkaSourceSettings  # noqa: PLC0415 - only Kafka users pay for kafka-python

    return KafkaSourceSettings(
        connection=source_connection(section),
        topics=section.all_topics,
        group_id=section.group_id,
        group_instance_id=section.group_instance_id,
        auto_offset_reset=section.auto_offset_reset,
        isolation_level=section.isolation_level,
        on_corrupt=section.on_corrupt,
        fetch=section.fetch,
        batch_rows=config.limits.batch_rows,
        batch_bytes=config.limits.batch_bytes,
        session_timeout_ms=section.client.session_timeout_ms,
        max_poll_interval_ms=section.client.max_poll_interval_ms,
    )


def file_source_settings(config: Config, section: FileSource) -> file_source.FileSettings:
    """Return the settings of the file source."""
    return file_source.FileSettings(
        path=section.path,
        format=section.format,
        offsets_path=section.offsets_path,
        max_rows=config.limits.batch_rows,
        max_bytes=config.limits.batch_bytes,
    )


def source(config: Config, now: Callable[[], float] = time.monotonic) -> Source:
    """Build the source; it connects when it is started."""
    if isinstance(config.source, KafkaSource):
        built: Source = registry.member("sources", "kafka").build(kafka_source_settings(config, config.source), now=now)
        return built
    if isinstance(config.source, FileSource):
        return file_source.build(file_source_settings(config, config.source))
    raise ConfigError("there is no source to read from", hint='add the section "source"')


def topics(config: Config) -> tuple[str, ...]:
    """Return the topics that records come from; a file's is its name."""
    if isinstance(config.source, KafkaSource):
        return config.source.all_topics
    return () if config.source is None else (config.source.path.name,)


def codec_settings(config: Config) -> CodecSettings:
    """Return the settings of the codec."""
    section = config.codec
    if section is None:
        raise ConfigError("there is no codec", hint='add the section "codec"')
    fields = tuple(
        Field(f.name, f.path, f.type) if isinstance(f, FieldSpec) else Field(f, f, "number") for f in section.fields
    )
    most = config.limits.record_bytes
    if isinstance(section, PackedCodec):
        return CodecSettings(fields, max_missing=section.max_missing, max_bytes=most)
    if isinstance(section, CsvCodec):
        delimiter = DELIMITERS[section.delimiter]
        return CodecSettings(fields, max_missing=section.max_missing, max_bytes=most, delimiter=delimiter)
    timestamp = None if section.timestamp is None else Timestamp(section.timestamp.path, section.timestamp.unit)
    settings = CodecSettings(fields, timestamp, section.passthrough, section.max_missing, most, section.unwrap)
    return _avro(settings, section) if isinstance(section, AvroCodec) else settings


def _avro(settings: CodecSettings, section: AvroCodec) -> CodecSettings:
    """Return the settings with where schemas come from."""
    schema = None if section.schema_file is None else _text(section.schema_file, "codec.schema_file")
    where = section.schema_registry
    registry = (
        None
        if where is None
        else SchemaRegistry(
            where.url,
            where.username,
            _secret(where, "password", "codec.schema_registry"),
            _name(where.ca_file),
            _name(where.cert_file),
            _name(where.key_file),
            where.patience,
        )
    )
    return replace(settings, schema=schema, schema_registry=registry, framed=section.is_framed)


def codec(config: Config) -> Codec:
    """Build the codec."""
    settings = codec_settings(config)
    built: Codec = registry.member("codecs", config.codec.type if config.codec else "").build(settings)
    return built


# --- what leaves


def outlets(config: Config) -> list[Outlet]:
    """Build every sink, the dead letters' included."""
    names = _sink_names(config)
    built = [
        Outlet(_sink(config, section, name, f"sinks[{i}]"), _takes(section, name))
        for i, (section, name) in enumerate(zip(config.sinks, names, strict=True))
    ]
    return [*built, Outlet(_dead_letters(config), "dead_letters")]


def _takes(section: KafkaSink | FileSink, name: str) -> str:
    if getattr(section, "format", "json") == "packed":
        return "packed"
    return name if section.is_paged else section.emit


def feeds(config: Config) -> list[Feed]:
    """Return the feeds of sinks with `emit: incidents` or `min_interval`."""
    return [
        Feed(name, "incidents" if section.emit == "incidents" else "anomalies", section.min_interval or 0.0)
        for section, name in zip(config.sinks, _sink_names(config), strict=True)
        if section.is_paged
    ]


def _sink_names(config: Config) -> list[str]:
    """Name each sink by its type, numbered from the second of a type on: a closed set of metric labels."""
    types = [section.type for section in config.sinks]
    return [kind if (n := types[: i + 1].count(kind)) == 1 else f"{kind}_{n}" for i, kind in enumerate(types)]


def _sink(config: Config, section: KafkaSink | FileSink, name: str, key: str) -> Sink:
    if isinstance(section, FileSink):
        return _file(section.path, name)
    return _kafka(config, section, section.topic, name, key)


def _dead_letters(config: Config) -> Sink:
    section = config.dead_letters
    if isinstance(section, FileDeadLetters):
        return _file(section.path, DEAD_LETTERS_NAME)
    if isinstance(config.source, FileSource) and section.topic is None:
        return _file(config.source.path.with_name(config.source.path.name + DEAD_LETTERS_ENDING), DEAD_LETTERS_NAME)
    return _kafka(config, section, config.dead_letter_topics()[0], DEAD_LETTERS_NAME, DEAD_LETTERS_NAME)


def _file(path: Path, name: str) -> Sink:
    from streamgmm.sinks import file as file_sink  # noqa: PLC0415 - most sinks are topics

    return file_sink.build(file_sink.FileSettings(path, name))


def _kafka(config: Config, section: KafkaSink | KafkaDeadLetters, topic: str, name: str, key: str) -> Sink:
    from streamgmm.sinks import kafka as kafka_sink  # noqa: PLC0415 - only Kafka users pay for kafka-python

    compression = section.client.compression_type
    settings = kafka_sink.KafkaSinkSettings(
        connection=sink_connection(config, section, key),
        topic=topic,
        name=name,
        compression=None if compression == "none" else compression,
        linger_ms=section.client.linger_ms,
        transcode=getattr(section, "format", "json") == "msgpack",
    )
    return kafka_sink.build(settings)


def rendering(
    config: Config, codec: Codec, names: Sequence[str], outlets: Sequence[Outlet], pages: Paging
) -> Rendering:
    """Return what turns verdicts into messages; `names` are those of the scored columns."""
    per_topic = isinstance(config.source, KafkaSource) and getattr(config.dead_letters, "topic", "file") is None

    def dead_letter_topic(topic: str) -> str | None:
        return topic + DEAD_LETTERS_SUFFIX if per_topic else None

    takes = frozenset(outlet.takes for outlet in outlets)
    return Rendering(codec, names, takes, dead_letter_topic, pages, config.limits.record_bytes)


def snapshot_store(config: Config) -> SnapshotStore:
    """Return the folder of snapshots."""
    return SnapshotStore(config.state.dir, keep=config.state.keep)
