"""Topics of the embedded broker: their partitions, their configuration, and where both are kept."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from streamgmm.demo.broker_log import PartitionLog
from streamgmm.demo.broker_protocol import Body, Code, Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

NO_ID = UUID(int=0)
LEGAL = re.compile(r"[a-zA-Z0-9._-]{1,249}\Z")


class Topics:
    """All topics by name.

    Parameters
    ----------
    directory
        One file per partition and `topics.json`; None keeps everything in memory.
    default_partitions
        What a topic gets that is created by its first use.
    """

    def __init__(self, directory: Path | None, default_partitions: int = 1) -> None:
        self._directory = directory
        self.default_partitions = default_partitions
        self.partitions: dict[str, list[PartitionLog]] = {}
        self.configs: dict[str, dict[str, str]] = {}
        self.ids: dict[str, UUID] = {}
        if directory is not None and (directory / "topics.json").exists():
            kept = json.loads((directory / "topics.json").read_text())
            for name, topic in kept.items():
                self.partitions[name] = [self._open(name, index) for index in range(topic["partitions"])]
                self.configs[name] = topic["config"]
                self.ids[name] = UUID(topic.get("id") or uuid4().hex)

    def _path(self, topic: str, index: int) -> Path | None:
        return None if self._directory is None else self._directory / f"{topic}-{index}.log"

    def _open(self, topic: str, index: int) -> PartitionLog:
        return PartitionLog(self._path(topic, index))

    def _save(self) -> None:
        if self._directory is None:
            return
        kept = {
            name: {"partitions": len(logs), "config": self.configs.get(name, {}), "id": self.ids[name].hex}
            for name, logs in self.partitions.items()
        }
        fresh = self._directory / "topics.json.new"
        fresh.write_text(json.dumps(kept))
        fresh.replace(self._directory / "topics.json")

    def log(self, topic: str, index: int) -> PartitionLog | None:
        """Return a partition's log, or None where there is no such partition."""
        logs = self.partitions.get(topic, [])
        return logs[index] if 0 <= index < len(logs) else None

    def create(self, topic: str, count: int, config: Mapping[str, str] | None = None) -> Code:
        """Create a topic."""
        if not LEGAL.match(topic):
            return Code.INVALID_TOPIC
        if topic in self.partitions:
            return Code.TOPIC_ALREADY_EXISTS
        if count < 1:
            return Code.INVALID_PARTITIONS
        self.partitions[topic] = [self._open(topic, index) for index in range(count)]
        self.configs[topic] = dict(config or {})
        self.ids[topic] = uuid4()
        self._save()
        return Code.NONE

    def delete(self, topic: str) -> Code:
        """Delete a topic with its files."""
        logs = self.partitions.pop(topic, None)
        self.ids.pop(topic, None)
        if logs is None:
            return Code.UNKNOWN_TOPIC_OR_PARTITION
        self.configs.pop(topic, None)
        for index, log in enumerate(logs):
            log.close()
            path = self._path(topic, index)
            if path is not None:
                path.unlink(missing_ok=True)
        self._save()
        return Code.NONE

    def grow(self, topic: str, count: int) -> Code:
        """Add partitions up to `count`."""
        logs = self.partitions.get(topic)
        if logs is None:
            return Code.UNKNOWN_TOPIC_OR_PARTITION
        if count <= len(logs):
            return Code.INVALID_PARTITIONS
        logs += [self._open(topic, index) for index in range(len(logs), count)]
        self._save()
        return Code.NONE

    def close(self) -> None:
        """Close every file."""
        for logs in self.partitions.values():
            for log in logs:
                log.close()


def metadata(topics: Topics, names: Iterable[str] | None, *, create: bool) -> list[Reply]:
    """Describe topics (all of them for None); unknown ones come into being when asked for with `create`."""
    described = []
    for name in list(topics.partitions) if names is None else names:
        code = Code.NONE
        if name not in topics.partitions:
            code = topics.create(name, topics.default_partitions) if create else Code.UNKNOWN_TOPIC_OR_PARTITION
        logs = topics.partitions.get(name, [])
        described.append(
            {
                "error_code": code,
                "name": name,
                "topic_id": topics.ids.get(name, NO_ID),
                "partitions": [_partition(i) for i in range(len(logs))],
            }
        )
    return described


def _partition(index: int) -> Reply:
    return {
        "error_code": Code.NONE,
        "partition_index": index,
        "leader_id": 1,
        "leader_epoch": 0,
        "replica_nodes": [1],
        "isr_nodes": [1],
        "offline_replicas": [],
    }


def create_topics(topics: Topics, body: Body, _version: int) -> Reply:
    """Answer CreateTopics."""
    answers = []
    for wanted in body.topics:
        count = len(wanted.assignments or []) if wanted.num_partitions < 1 else wanted.num_partitions
        count = count or topics.default_partitions
        config = {entry.name: entry.value for entry in wanted.configs or []}
        if body.validate_only:
            code = Code.TOPIC_ALREADY_EXISTS if wanted.name in topics.partitions else Code.NONE
        else:
            code = topics.create(wanted.name, count, config)
        answers.append({
            "name": wanted.name, "error_code": code, "error_message": code.name if code else None,
            "num_partitions": count, "replication_factor": 1, "configs": [],
        })  # fmt: skip
    return {"topics": answers}


def delete_topics(topics: Topics, body: Body, _version: int) -> Reply:
    """Answer DeleteTopics."""
    return {"responses": [{"name": name, "error_code": topics.delete(name)} for name in body.topic_names]}


def create_partitions(topics: Topics, body: Body, _version: int) -> Reply:
    """Answer CreatePartitions."""
    return {
        "results": [
            {"name": topic.name, "error_code": topics.grow(topic.name, topic.count), "error_message": None}
            for topic in body.topics
        ]
    }


def delete_records(topics: Topics, body: Body, _version: int) -> Reply:
    """Answer DeleteRecords: the only retention there is."""
    return {
        "topics": [
            {"name": topic.name, "partitions": [_trimmed(topics, topic.name, wanted) for wanted in topic.partitions]}
            for topic in body.topics
        ]
    }


def _trimmed(topics: Topics, topic: str, wanted: Body) -> Reply:
    log = topics.log(topic, wanted.partition_index)
    if log is None:
        code, start = Code.UNKNOWN_TOPIC_OR_PARTITION, -1
    else:
        log.trim(log.end if wanted.offset == -1 else wanted.offset)
        code, start = Code.NONE, log.start
    return {"partition_index": wanted.partition_index, "low_watermark": start, "error_code": code}


BROKER_CONFIG = {"auto.create.topics.enable": "true"}
TOPIC_RESOURCE = 2


def describe_configs(topics: Topics, body: Body, _version: int) -> Reply:
    """Answer DescribeConfigs with what was set at creation, and the broker's few facts."""
    results = []
    for resource in body.resources:
        is_topic = resource.resource_type == TOPIC_RESOURCE
        config: Mapping[str, Any] = topics.configs.get(resource.resource_name, {}) if is_topic else BROKER_CONFIG
        results.append({
            "error_code": Code.NONE, "error_message": None,
            "resource_type": resource.resource_type, "resource_name": resource.resource_name,
            "configs": [_entry(name, value) for name, value in config.items()],
        })  # fmt: skip
    return {"results": results}


def _entry(name: str, value: str) -> Reply:
    return {
        "name": name,
        "value": value,
        "read_only": False,
        "config_source": 1,
        "is_sensitive": False,
        "synonyms": [],
        "config_type": 2,
        "documentation": None,
    }
