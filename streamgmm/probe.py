"""Would this configuration run here? Asks brokers, folders and files, and reads a few records; changes nothing."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from streamgmm import assembly, checkpoint, wiring
from streamgmm.config.inputs import FileSource, KafkaSource
from streamgmm.config.outputs import FileDeadLetters, FileSink, KafkaDeadLetters, KafkaSink
from streamgmm.errors import RetryableError, SnapshotError, StreamgmmError
from streamgmm.records import ByteColumn, RecordBatch, TopicPartition
from streamgmm.sources import Resume

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from streamgmm.bus.client import Connection
    from streamgmm.codecs import Field
    from streamgmm.config import Config
    from streamgmm.engine.settings import EngineSettings
    from streamgmm.features import Pipeline
    from streamgmm.records import FeatureBatch

SAMPLED = 3
MOST_FIELDS = 40


class Finding(NamedTuple):
    """One thing that was looked at; `away` says that only the brokers' absence is to blame."""

    ok: bool
    what: str
    detail: str
    away: bool = False


def too_wide(config: Config) -> str:
    """Return a warning where the columns are too many for the members."""
    return _columns(config)[1].too_wide


def _columns(config: Config) -> tuple[Pipeline, EngineSettings]:
    columns = assembly.pipeline(config, config.codec.names if config.codec else ())
    return columns, assembly.engine_settings(config, columns.names, assembly.categories(config), columns.stems)


def findings(config: Config) -> Iterator[Finding]:
    """Look at everything the daemon needs, one finding each.

    Raises
    ------
    ConfigError
        A secret's file cannot be read.
    """
    yield writable(config.state.dir, f"state {config.state.dir}")
    yield from restorable(config)
    yield from _files(config)
    needed = {"brokers", *(f"topic {topic}" for topic in wiring.topics(config))}
    readable = True
    for connection, reads, writes, group in _connections(config):
        for found in _brokers(connection, reads, writes, group):
            yield found
            readable = readable and (found.ok or found.what not in needed)
    if readable:
        yield from vectors(config)


def writable(folder: Path, what: str) -> Finding:
    """Try to write into a folder, or into the nearest one above it that is there; leaves nothing behind."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        return Finding(False, what, f"{there} is not a folder")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Finding(False, what, f"cannot write into {there}: {error.strerror}")
    return Finding(True, what, "writable" if there == folder else "will be made")


def restorable(config: Config) -> Iterator[Finding]:
    """Say what a start would take from the snapshots that are there, and what it would fit anew."""
    what, (columns, settings) = "snapshot", _columns(config)
    identity, store = assembly.identity(config, columns), wiring.snapshot_store(config)
    try:
        found = checkpoint.newest(store, lambda s: (s.name, checkpoint.read(s, settings, identity).changes))
    except SnapshotError as error:
        cold = config.state.on_mismatch == "cold_start"
        yield Finding(cold, what, f"{'it would start cold: ' if cold else ''}{error}")
        return
    if found is not None:
        name, changes = found
        yield Finding(True, what, "\n        ".join([f"{name} would be restored", *changes]))


def _files(config: Config) -> Iterator[Finding]:
    if isinstance(config.source, FileSource):
        path = config.source.path
        readable = path.is_file() and os.access(path, os.R_OK)
        yield Finding(readable, f"file {path}", "readable" if readable else "cannot be read")
    outputs = (*config.sinks, config.dead_letters)
    for path in (section.path for section in outputs if isinstance(section, FileSink | FileDeadLetters)):
        if path.parent.exists():
            yield writable(path.parent, f"file {path}")
        else:
            yield Finding(False, f"file {path}", f"there is no folder {path.parent}")


# --- brokers


class _Cluster(NamedTuple):
    connection: Connection
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    group: str | None


def _connections(config: Config) -> list[_Cluster]:
    """Return what is read and written where; outputs on the source's brokers are asked together with it."""
    clusters: list[_Cluster] = []
    if isinstance(config.source, KafkaSource):
        source = config.source
        clusters.append(_Cluster(wiring.source_connection(source), source.all_topics, (), source.group_id))
    for connection, topics in _outputs(config):
        for i, known in enumerate(clusters):
            if _same(known.connection, connection):
                clusters[i] = known._replace(writes=known.writes + topics)
                break
        else:
            clusters.append(_Cluster(connection, (), topics, None))
    return clusters


def _outputs(config: Config) -> Iterator[tuple[Connection, tuple[str, ...]]]:
    for i, section in enumerate(config.sinks):
        if isinstance(section, KafkaSink):
            yield wiring.sink_connection(config, section, f"sinks[{i}]"), (section.topic,)
    letters = config.dead_letters
    if isinstance(letters, KafkaDeadLetters) and config.dead_letter_topics():
        yield wiring.sink_connection(config, letters, wiring.DEAD_LETTERS_NAME), config.dead_letter_topics()


def _same(one: Connection, other: Connection) -> bool:
    return set(one.bootstrap_servers) == set(other.bootstrap_servers) and one.security == other.security


def _brokers(
    connection: Connection, reads: Sequence[str], writes: Sequence[str], group: str | None
) -> Iterator[Finding]:
    from streamgmm.bus import check, client  # noqa: PLC0415 - only Kafka users pay for kafka-python

    try:
        client.call_with_budget(client.admin(connection).close)
    except StreamgmmError as error:
        yield Finding(False, "brokers", str(error), away=isinstance(error, RetryableError))
        return
    for found in check.diagnose(connection, reads, writes, group_id=group):
        yield Finding(found.ok, found.what, found.detail)


# --- vectors


def vectors(config: Config) -> Iterator[Finding]:
    """Decode a few records of the source, as the daemon would."""
    try:
        values = _sample(config)
    except StreamgmmError as error:
        yield Finding(False, "records", str(error), away=isinstance(error, RetryableError))
        return
    if not values:
        yield Finding(True, "records", "there are no records yet")
        return
    try:
        codec = wiring.codec(config)
        decoded = codec.decode(_batch(values))
    except StreamgmmError as error:
        yield Finding(False, "codec", str(error), away=isinstance(error, RetryableError))
        return
    if len(decoded):
        yield Finding(True, "vectors", table(decoded, codec.fields))
    for reject in decoded.rejects[:SAMPLED]:
        yield Finding(False, "record", f"would be rejected ({reject.reason}): {reject.detail}")
    if len(decoded.tombstones):
        yield Finding(True, "records", f"{len(decoded.tombstones)} without a row (deleted)")
    for kind, n in sorted(Counter(p.kind for p in decoded.passed).items()):
        yield Finding(True, "records", f"{n} without a row ({kind})")


def table(decoded: FeatureBatch, fields: Sequence[Field]) -> str:
    """Return the first vectors side by side, a line for each field."""
    X = decoded.X[:SAMPLED]
    lines = [(field.name, *(_cell(field, x) for x in X[:, j])) for j, field in enumerate(fields[:MOST_FIELDS])]
    times = decoded.event_time[:SAMPLED]
    if np.isfinite(times).any():
        lines.append(("event time", *(str(np.datetime64(round(t * 1000), "ms")) if t == t else "-" for t in times)))  # noqa: PLR0124 - not NaN
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    if len(fields) > MOST_FIELDS:
        shown.append(f"and {len(fields) - MOST_FIELDS} more fields")
    return f"the first {len(X)}" + "".join(f"\n        {line}" for line in shown)


def _cell(field: Field, value: float) -> str:
    if np.isnan(value):
        return "missing"
    return f"category {int(value):x}" if field.type == "category" else f"{value:.6g}"


def _sample(config: Config) -> Sequence[bytes]:
    if isinstance(config.source, KafkaSource):
        from streamgmm.bus import check  # noqa: PLC0415 - only Kafka users pay for kafka-python

        return check.sample(wiring.source_connection(config.source), config.source.all_topics[0], SAMPLED)
    source = wiring.source(config)
    try:
        source.start(Resume({}, 0))
        batch = source.poll(0.0)
    finally:
        source.close(0.0)
    return [value for i in range(min(len(batch), SAMPLED)) if (value := batch.value[i]) is not None]


def _batch(values: Sequence[bytes]) -> RecordBatch:
    n = len(values)
    return RecordBatch(
        partitions=(TopicPartition("sample", 0),),
        partition=np.zeros(n, dtype=np.int64),
        offset=np.arange(n),
        timestamp=np.full(n, -1, dtype=np.int64),
        value=ByteColumn.from_values(values),
        key=ByteColumn.from_values([None] * n),
        headers=[()] * n,
        next_offsets={},
    )
