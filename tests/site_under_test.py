"""A topic, the real daemon on it, and what becomes of the rows: what the tests of whole processes share."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from brokers import read_all, send_all
from daemon_process import DaemonProcess
from kafka import TopicPartition
from streams import Mixture, as_json, packed

from streamgmm.bus import client

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brokers import Kafka

SEED = 20240607


class Site:
    """One input topic with its outputs, and the daemons of one group on it."""

    def __init__(self, kafka: Kafka, folder: Path, topics: Sequence[str], group: str, codec: str = "float32") -> None:
        self.kafka = kafka
        self.group = group
        self.topic, self.output = topics
        self.dead_letters = f"{self.topic}-dead-letters"
        self.codec = codec
        self.mixture = Mixture(3 if codec == "json" else 4, SEED)
        self.rng = np.random.default_rng(SEED)
        self.sent: list[str] = []
        self._folder = folder
        self._daemons = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def daemon(self, **sections: Any) -> DaemonProcess:
        """Return a daemon that is yet to start; a section given here is added to what every daemon has."""
        source = {"bootstrap_servers": self.kafka.bootstrap_servers, "topic": self.topic, "group_id": self.group}
        config = {
            "source": source | sections.pop("source", {}),
            "codec": {"type": self.codec, "fields": list(self.mixture.names)},
            "sinks": [{"type": "kafka", "topic": self.output} | sections.pop("sink", {})],
            **sections,
        }
        folder = self._folder / f"daemon-{self._daemons}"
        folder.mkdir()
        self._daemons += 1
        return self._stack.enter_context(DaemonProcess(folder, config))

    def encode(self, row: np.ndarray) -> bytes:
        return as_json(self.mixture.names, row) if self.codec == "json" else packed(row)

    def send(self, rows: np.ndarray, keys: Sequence[bytes | None] | None = None) -> list[str]:
        """Send rows, one record each, and return their ids."""
        return self.send_values([self.encode(row) for row in rows], keys)

    def send_rows(self, n: int) -> list[str]:
        return self.send(self.mixture.rows(n, self.rng))

    def send_far(self, n: int = 1, keys: Sequence[bytes | None] | None = None) -> list[str]:
        """Send rows that must be flagged."""
        return self.send(self.mixture.far(n, self.rng), keys)

    def send_values(self, values: Sequence[bytes | None], keys: Any = None, headers: Any = None) -> list[str]:
        places = send_all(self.kafka.connection, self.topic, values, keys, headers=headers)
        ids = [f"{self.topic}/{partition}/{offset}/0" for partition, offset in places]
        self.sent += ids
        return ids

    def records(self, topic: str | None = None) -> list[Any]:
        """Return every record of the output topic, or of another."""
        return read_all(self.kafka.connection, topic or self.output)

    def output_ids(self) -> list[str]:
        return [json.loads(record.value)["id"] for record in self.records()]

    def offsets(self) -> tuple[dict[int, int], dict[int, int]]:
        """Return committed and end offsets by partition; what was never committed stands at 0."""
        reader = client.consumer(self.kafka.connection, group_id=self.group, enable_auto_commit=False)
        try:
            partitions = [TopicPartition(self.topic, p) for p in sorted(reader.partitions_for_topic(self.topic))]
            committed = {tp.partition: int(reader.committed(tp) or 0) for tp in partitions}
            return committed, {tp.partition: int(end) for tp, end in reader.end_offsets(partitions).items()}
        finally:
            reader.close(autocommit=False, timeout_ms=1000)

    def caught_up(self) -> bool:
        """Return whether everything on the topic is committed."""
        committed, ends = self.offsets()
        return committed == ends
