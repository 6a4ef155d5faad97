"""What `streamgmm check --online` asks the brokers: brokers, topics, rights; and a few records."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka import TopicPartition, errors
from kafka.admin import ConfigResource, ConfigResourceType

from streamgmm.bus import client
from streamgmm.errors import StreamgmmError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SAMPLE_SECONDS = 10.0
# Bits of Kafka's authorized_operations; a broker that does not tell sends the smallest int32.
RIGHTS = {"read": 1 << 3, "write": 1 << 4}
NOT_TOLD = -(1 << 31)


class Finding(NamedTuple):
    """One thing that was looked at."""

    ok: bool
    what: str
    detail: str


def diagnose(
    connection: client.Connection,
    topics_to_read: Sequence[str],
    topics_to_write: Sequence[str],
    *,
    group_id: str | None = None,
) -> list[Finding]:
    """Look at brokers, topics and rights; what is wrong is a finding, never an exception."""
    try:
        admin = client.admin(connection)
    except StreamgmmError as error:
        return [Finding(False, "brokers", str(error))]
    try:
        return [
            Finding(True, "brokers", ", ".join(connection.bootstrap_servers)),
            *_topics(admin, topics_to_read, topics_to_write),
            *_group(connection, group_id, topics_to_read),
        ]
    except errors.KafkaError as error:
        return [Finding(False, "brokers", str(client.translate(error, "asking for metadata")))]
    finally:
        client.call_with_budget(admin.close)


def _topics(admin: client.Client, reads: Iterable[str], writes: Iterable[str]) -> list[Finding]:
    wanted = [*((topic, "read") for topic in reads), *((topic, "write") for topic in writes)]
    names = list(dict.fromkeys(topic for topic, _ in wanted))
    found = {topic["name"]: topic for topic in admin.describe_topics(names)} if names else {}
    creates = None
    findings = []
    for topic, right in wanted:
        finding = _topic(topic, right, found.get(topic))
        if finding is None:
            creates = _auto_creates(admin) if creates is None else creates
            finding = Finding(creates and right == "write", f"topic {topic}", _missing(topic, creates, right))
        findings.append(finding)
    return findings


def _topic(topic: str, right: str, described: Mapping[str, Any] | None) -> Finding | None:
    """Judge one topic; None when it does not exist."""
    what = f"topic {topic}"
    code = described["error_code"] if described else errors.UnknownTopicOrPartitionError.errno
    if code == errors.UnknownTopicOrPartitionError.errno:
        return None
    if described is None or code:
        return Finding(False, what, str(client.translate(errors.for_code(code)(topic), f"{right} {topic}")))
    operations = described.get("authorized_operations", NOT_TOLD)
    if not isinstance(operations, int):  # kafka-python names the operations where the broker tells them
        granted = {str(getattr(o, "name", o)).lower() for o in operations or ()}
        allowed = not granted or bool(granted & {right, "all"})
    else:
        allowed = operations == NOT_TOLD or bool(operations & RIGHTS[right])
    if not allowed:
        return Finding(False, what, f"no right to {right}: grant {right.upper()} on topic {topic}")
    return Finding(True, what, f"{len(described['partitions'])} partition(s), may {right}")


def _missing(topic: str, creates: bool, right: str) -> str:
    if creates and right == "write":
        return "does not exist yet; the brokers create it at the first write"
    return f"does not exist: kafka-topics.sh --create --topic {topic}"


def _auto_creates(admin: client.Client) -> bool:
    """Whether brokers create topics by themselves; False where they do not tell."""
    try:
        # `describe_cluster` fails on brokers before 3.7; the metadata know the brokers as well.
        broker = str(next(iter(admin._manager.cluster.brokers())).node_id)  # noqa: SLF001
        answer = admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, broker)], config_filter="all")
        return str(answer["broker"][broker]["auto.create.topics.enable"]["value"]).lower() == "true"
    except (errors.KafkaError, AttributeError, KeyError, StopIteration, TypeError):
        return False


def _group(connection: client.Connection, group_id: str | None, topics: Sequence[str]) -> list[Finding]:
    if group_id is None or not topics:
        return []
    consumer = client.consumer(connection, group_id=group_id, enable_auto_commit=False)
    try:
        consumer.committed(TopicPartition(topics[0], 0), timeout_ms=int(SAMPLE_SECONDS * 1000))
    except errors.KafkaError as error:
        return [Finding(False, f"group {group_id}", str(client.translate(error, "reading committed offsets")))]
    finally:
        client.call_with_budget(consumer.close, timeout_ms=1000)
    return [Finding(True, f"group {group_id}", "may read and commit")]


def sample(connection: client.Connection, topic: str, n: int) -> list[bytes]:
    """Return up to `n` of a topic's newest values, without a group and without committing; tombstones are left out.

    Raises
    ------
    RetryableError, StopError, ConfigError
        As every connection does.
    """
    consumer = client.consumer(connection, enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        with client.translated(f"reading {topic}"):
            partitions = [TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic))]
            return _newest(consumer, partitions, n) if partitions else []
    finally:
        client.call_with_budget(consumer.close, timeout_ms=1000)


def _newest(consumer: client.Client, partitions: list[Any], n: int) -> list[bytes]:
    first, end = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    consumer.assign(partitions)
    for partition in partitions:
        consumer.seek(partition, max(first[partition], end[partition] - n))
    records: list[Any] = []
    deadline = time.monotonic() + SAMPLE_SECONDS
    while time.monotonic() < deadline and any(consumer.position(p) < end[p] for p in partitions):
        for block in consumer.poll(timeout_ms=200).values():
            records += block
    newest = sorted(records, key=lambda record: record.timestamp)[-n:]
    return [record.value for record in newest if record.value is not None]
