"""The demo's three topics: created, written, watched and read back."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self

from kafka import TopicPartition
from kafka.errors import KafkaError

from streamgmm.bus import client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamgmm.demo.names import Names
    from streamgmm.records import Json

ONE_PARTITION = {"num_partitions": 1, "replication_factor": 1}
POLL_MS = 500
MOMENT_MS = 50
FLUSH_SECONDS = 30
CLOSE_SECONDS = 5


class Topics:
    """Context manager: three topics of one partition, a producer for the first and a reader for all of them.

    Parameters
    ----------
    servers
        HOST:PORT of a broker.
    names
        What to create.
    delete
        Delete the topics at the end (a broker of the user's is left as it was).

    Raises
    ------
    StreamgmmError
        No broker answers at `servers`, or it refuses the topics; with the cause and a remedy.
    """

    def __init__(self, servers: str, names: Names, *, delete: bool) -> None:
        self.servers = servers
        self._delete = delete
        self.names = names

    def __enter__(self) -> Self:
        # Without a handler, Python prints the library's warnings; whoever watches a demo wants our one sentence.
        logging.getLogger("kafka").addHandler(logging.NullHandler())
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Close every client, and delete the topics where that was asked for."""
        self._stack.close()

    def _open(self, stack: ExitStack) -> None:
        connection = client.Connection(client.servers(self.servers))
        admin = client.admin(connection)
        stack.callback(client.call_with_budget, admin.close)
        with client.translated("creating the demo's topics"):
            admin.create_topics(dict.fromkeys(self.names.topics, ONE_PARTITION), wait_for_metadata=True)
        if self._delete:
            stack.callback(self._drop, admin)
        self._producer = client.producer(connection, acks="all", linger_ms=5)
        stack.callback(client.call_with_budget, self._producer.close, timeout=CLOSE_SECONDS)
        # The group is named to read its committed offsets; the demo assigns by hand and never joins it.
        self._consumer = client.consumer(
            connection, group_id=self.names.group, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        stack.callback(client.call_with_budget, self._consumer.close)
        self._rewind(self.names.anomalies)

    def _drop(self, admin: client.Client) -> None:
        with suppress(KafkaError):
            admin.delete_topics(list(self.names.topics))
            admin.delete_groups([self.names.group])

    def send(self, value: bytes, timestamp_ms: int) -> None:
        """Send one row to the input topic."""
        self._producer.send(self.names.input, value, partition=0, timestamp_ms=timestamp_ms)

    def flush(self) -> None:
        """Wait until the broker has every row."""
        self._producer.flush(timeout=FLUSH_SECONDS)

    def new_anomalies(self) -> list[dict[str, Json]]:
        """Return the anomaly records that arrived since the last call, after a moment of waiting at most."""
        polled = self._consumer.poll(timeout_ms=MOMENT_MS)
        return [json.loads(record.value) for records in polled.values() for record in records]

    def rows(self, topic: str) -> int:
        """Return the records that a topic holds, from its two ends."""
        partition = TopicPartition(topic, 0)
        first = self._consumer.beginning_offsets([partition])[partition]
        return int(self._consumer.end_offsets([partition])[partition]) - int(first)

    def committed(self) -> int:
        """Return how far the daemon's group has committed the input topic; 0 before its first commit."""
        return int(self._consumer.committed(TopicPartition(self.names.input, 0)) or 0)

    def read_back(self, topic: str) -> Iterator[bytes]:
        """Read a topic from its beginning to the end that it has now."""
        partition = TopicPartition(topic, 0)
        end = self._consumer.end_offsets([partition])[partition]
        self._rewind(topic)
        while self._consumer.position(partition) < end:
            for record in self._consumer.poll(timeout_ms=POLL_MS).get(partition, []):
                yield record.value

    def _rewind(self, topic: str) -> None:
        partition = TopicPartition(topic, 0)
        self._consumer.assign([partition])
        self._consumer.seek_to_beginning(partition)
