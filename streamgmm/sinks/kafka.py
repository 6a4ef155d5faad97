"""Records to Kafka topics, acknowledged by every in-sync replica before a flush succeeds.

kafka-python's own `flush` does not say that a send failed; here every send's future is looked at. What failed in a way
that may pass stays accepted and is sent again by the next flush.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from kafka import errors

from streamgmm.bus import client
from streamgmm.bus.internals import metadata_seconds
from streamgmm.bus.null_headers import sendable
from streamgmm.errors import RetryableError, StopError, StreamgmmError
from streamgmm.sinks._rendering import SOURCE_HEADER, as_msgpack, is_truncated
from streamgmm.sinks._shortening import shortened, size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamgmm.bus.client import Client, Connection
    from streamgmm.records import OutputRecord

logger = logging.getLogger(__name__)

# How long a send may wait for a topic's metadata; `write` never takes longer than one such moment.
MOMENT_MS = 200
# Brokers that create topics by themselves do it within this time; an unknown topic after it will stay unknown.
TOPIC_GRACE = 5.0
# A record is too large for the producer or the topic. A topic's answer does not name the record, and after it an
# idempotent producer of kafka-python fails every other send in the same way: only a new producer can go on.
TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)
# The producer's identity is spoilt, for good: only a new producer can go on.
SPOILT = (
    errors.UnknownProducerIdError,
    errors.OutOfOrderSequenceNumberError,
    errors.InvalidProducerEpochError,
    errors.ProducerFencedError,
    errors.DuplicateSequenceNumberError,
    errors.InvalidProducerIdMappingError,
    errors.IllegalStateError,
)
# How a send may end after which only a new producer can go on. A batch that was not acknowledged within the delivery
# timeout (120 s) makes an idempotent producer of kafka-python give up its identity, and it does not get another one.
SPENT = (*SPOILT, errors.KafkaTimeoutError)


@dataclass(frozen=True, slots=True)
class KafkaSinkSettings:
    """Settings of a Kafka sink.

    Attributes
    ----------
    name
        What metrics and errors call it.
    topic
        Where records go that do not name their own topic.
    compression
        How batches are compressed; None for not at all.
    linger_ms
        Time that a batch waits for more records. A flush does not wait for it.
    transcode
        Whether JSON values leave as MessagePack.
    buffer_records
        Unacknowledged sends at a time; what exceeds them waits for `flush`.
    """

    connection: Connection
    topic: str
    name: str = "kafka"
    compression: Literal["gzip", "snappy", "lz4", "zstd"] | None = None
    linger_ms: int = 5
    transcode: bool = False
    buffer_records: int = 50_000


def build(settings: KafkaSinkSettings, *, now: Callable[[], float] = time.monotonic) -> KafkaSink:
    """Connect and return a sink.

    Raises
    ------
    RetryableError
        No broker answers.
    ConfigError
        The brokers refuse us for good: credentials, certificates.
    """
    sink = KafkaSink(settings, now)
    sink.connect()
    return sink


class KafkaSink:
    """Sink over an idempotent kafka-python producer."""

    def __init__(self, settings: KafkaSinkSettings, now: Callable[[], float]) -> None:
        self.name = settings.name
        self.place = f"topic {settings.topic}"
        self.problem = ""
        self.cut: Counter[str] = Counter()
        self._settings = settings
        self._now = now
        self._producer: Client = None
        self._waiting: deque[OutputRecord] = deque()
        self._sent: deque[tuple[OutputRecord, Any]] = deque()
        self._window = settings.buffer_records  # sends at a time; fewer while a record that is too large is looked for
        self._unknown_since: dict[str, tuple[float, float]] = {}
        self._hopeless: StreamgmmError | None = None

    def connect(self) -> None:
        """Start a producer."""
        self._producer = client.producer(self._settings.connection, **_options(self._settings))

    def write(self, records: Sequence[OutputRecord]) -> None:
        """Accept records; what the producer cannot take at once is kept for `flush`."""
        self._waiting.extend(map(as_msgpack, records) if self._settings.transcode else records)
        self._collect()
        self._hand_over()

    def flush(self, timeout: float) -> bool:
        """Wait until every accepted record is acknowledged; False when `timeout` seconds did not suffice.

        Raises
        ------
        StopError
            A topic that does not exist, no right to write.
        """
        deadline = self._now() + timeout
        while True:
            handed_over = self._hand_over()
            self._await(deadline)
            self._collect()
            if self._hopeless is not None:
                raise self._hopeless
            if not self._waiting and not self._sent:
                self.problem = ""
                return True
            if self._now() >= deadline:
                return False
            if not handed_over:
                time.sleep(min(0.05, max(0.0, deadline - self._now())))

    def close(self, timeout: float) -> None:
        """Flush inside the time and close; safe to call twice. What did not get through is logged."""
        producer, begun = self._producer, self._now()
        if producer is None:
            return
        try:
            if not self.flush(timeout):
                logger.error("sink %s is closed with %d unacknowledged records", self.name, self._open())
        except StreamgmmError as error:
            logger.error("sink %s is closed with %d unacknowledged records: %s", self.name, self._open(), error)  # noqa: TRY400 - a sentence, no trace
        self._producer = None
        client.close_producer(producer, max(0.0, timeout - (self._now() - begun)))

    def _open(self) -> int:
        return len(self._waiting) + len(self._sent)

    def _hand_over(self) -> bool:
        """Give waiting records to the producer, in order; False when it does not take the next one now."""
        if self._window < self._settings.buffer_records and self._sent:
            return True
        while self._waiting and len(self._sent) < self._window and self._hopeless is None:
            record = self._waiting[0]
            topic = record.topic or self._settings.topic
            try:
                if self._producer is None:
                    self.connect()
                future = self._producer.send(
                    topic,
                    value=record.value,
                    key=record.key,
                    headers=sendable(record.headers),
                    timestamp_ms=record.timestamp_ms,
                )
            except TOO_LARGE:
                self._waiting.popleft()
                self._waiting.extendleft(self._shorter(record))
                continue
            except (errors.KafkaError, RetryableError, ValueError, AssertionError) as error:
                self._refused(topic, error)
                return False
            self._waiting.popleft()
            self._sent.append((record, future))
            self._unknown_since.pop(topic, None)
        return True

    def _refused(self, topic: str, error: Exception) -> None:
        """Judge a send that failed at once: for want of metadata, or for good."""
        self.problem = str(error) if isinstance(error, RetryableError) else f"{type(error).__name__}: {error}"
        if isinstance(error, SPOILT):
            self._renew(error)
        elif not isinstance(error, (*client.PASSING, RetryableError)):
            self._hopeless = client.translate(error, f"sink {self.name}, topic {topic}")
        elif self._unknown(topic):
            self._hopeless = StopError(
                f"sink {self.name}: topic {topic} does not exist and the brokers do not create it",
                hint=f"kafka-topics.sh --create --topic {topic}, or grant DESCRIBE on it to this user",
            )

    def _unknown(self, topic: str) -> bool:
        """Whether the brokers have gone on answering long enough without knowing the topic."""
        if self._producer is None:
            return False
        refreshed = metadata_seconds(self._producer)
        since, refreshed_then = self._unknown_since.setdefault(topic, (self._now(), refreshed))
        return self._now() - since > TOPIC_GRACE and refreshed - refreshed_then > TOPIC_GRACE / 2

    def _await(self, deadline: float) -> None:
        """Wait for the sends in progress, without waiting for more records (linger)."""
        if not self._sent or self._producer is None:
            return
        try:
            self._producer.flush(timeout=max(0.0, deadline - self._now()))
        except errors.KafkaError:
            return  # not in time; the futures say the rest

    def _collect(self) -> None:
        """Look at every send: forget what is acknowledged, keep what is under way, take back what failed."""
        failed: list[OutputRecord] = []
        spoilt: Exception | None = None
        under_way: deque[tuple[OutputRecord, Any]] = deque()
        for record, future in self._sent:
            if not future.is_done:
                under_way.append((record, future))
            elif future.failed() and isinstance(future.exception, TOO_LARGE):
                spoilt = future.exception
                failed.extend(self._shorter(record) if len(self._sent) == 1 else [record])
            elif future.failed():
                failed.append(record)
                spoilt = future.exception if isinstance(future.exception, SPENT) else spoilt
                self._judge(record, future.exception)
            elif is_truncated(record):
                self.cut["truncated"] += 1
        if isinstance(spoilt, TOO_LARGE):
            self._window = max(1, len(self._sent) // 64)
        elif not under_way:
            self._window = min(2 * self._window, self._settings.buffer_records)
        self._sent = under_way
        self._waiting.extendleft(reversed(failed))
        if spoilt is not None:
            self._renew(spoilt)

    def _shorter(self, record: OutputRecord) -> list[OutputRecord]:
        """Return what is sent in place of a record that is too large; nothing where even the shortest is refused."""
        shorter, topic = shortened(record), record.topic or self._settings.topic
        outcome = "passed" if shorter is None else "truncated"
        source = dict(record.headers).get(SOURCE_HEADER, b"")
        logger.debug("sink %s: %d bytes are too large for %s: %s, %r", self.name, size(record), topic, outcome, source)
        if shorter is None:
            self.cut["passed"] += 1
            return []
        return [shorter]

    def _judge(self, record: OutputRecord, error: Exception) -> None:
        """Say what failed; note it when trying again cannot help."""
        topic = record.topic or self._settings.topic
        if isinstance(error, (*SPOILT, *client.PASSING)):
            self.problem = f"{type(error).__name__}: {error}"
            logger.debug("sink %s: %s is sent again: %s", self.name, topic, self.problem)
        elif self._hopeless is None:
            self._hopeless = client.translate(error, f"sink {self.name}, topic {topic}")

    def _renew(self, error: Exception) -> None:
        """Replace a producer whose identity the brokers no longer accept; all its open records are sent again."""
        logger.warning("sink %s starts a new producer: %s: %s", self.name, type(error).__name__, error)
        self._waiting.extendleft(record for record, _ in reversed(self._sent))
        self._sent.clear()
        old, self._producer = self._producer, None
        if old is not None:
            client.close_producer(old, 0.0)


def _options(settings: KafkaSinkSettings) -> dict[str, object]:
    return {
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": settings.compression,
        "linger_ms": settings.linger_ms,
        "max_block_ms": MOMENT_MS,
    }
