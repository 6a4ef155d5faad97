"""What streams through: rows of a mixture with a few anomalies, as packed floats, JSON objects and packed matrices."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

FIELDS = [f"x{i:02d}" for i in range(16)]
COMPONENTS = 8
ANOMALIES = 1e-4
ROWS_PER_MATRIX = 64
SECONDS = 120
SLOW_ROWS_PER_SECOND = 1.0
FAST_BATCHES = {
    "linger.ms": 20,
    "batch.size": 1 << 20,
    "batch.num.messages": 10_000,
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 1 << 20,
}


@dataclass(frozen=True)
class Topic:
    """A topic of one partition: how its records are packed, how many there are, and how many bytes one takes."""

    name: str
    codec: str
    rows_per_record: int
    records: int
    bytes_per_record: float


class Stream:
    """Rows of one mixture of full covariance; far rows are planted where a caller asks for them."""

    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)
        d = len(FIELDS)
        self._means = self._rng.normal(0.0, 4.0, (COMPONENTS, d))
        self._factors = self._rng.normal(0.0, 0.3, (COMPONENTS, d, d)) + np.eye(d)
        self._weights = self._rng.dirichlet(np.full(COMPONENTS, 5.0))

    def rows(self, n, anomalies=ANOMALIES):
        counts = self._rng.multinomial(n, self._weights)
        X = np.concatenate(
            [
                mean + self._rng.standard_normal((count, len(mean))) @ factor
                for mean, factor, count in zip(self._means, self._factors, counts, strict=True)
            ]
        )
        self._rng.shuffle(X)
        far = self._rng.random(n) < anomalies
        X[far] += self.shifts(int(far.sum()))
        return X

    def shifts(self, n):
        """Return what makes rows anomalous: a long way in a direction of its own each, so that they form no cluster."""
        directions = self._rng.standard_normal((n, len(FIELDS)))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return directions * self._rng.uniform(40.0, 120.0, (n, 1))


def as_json(X):
    """Return one JSON object per row, as producers write them: short names, four decimals."""
    template = "{" + ",".join(f'"{name}":%.4f' for name in FIELDS) + "}"
    return [(template % tuple(row)).encode() for row in X.tolist()]


def as_float32(X, rows_per_record=1):
    packed = np.ascontiguousarray(X, dtype="<f4").tobytes()
    step = 4 * X.shape[1] * rows_per_record
    return [packed[i : i + step] for i in range(0, len(packed), step)]


def from_values(codec, values):
    """Return the rows (n, d) of a few payloads; slow and obvious."""
    if codec == "json":
        return np.array([[json.loads(value)[name] for name in FIELDS] for value in values])
    return np.frombuffer(b"".join(values), dtype="<f4").reshape(-1, len(FIELDS)).astype(np.float64)


def create(servers, *names):
    """Create topics of one partition and wait until they are there."""
    admin = AdminClient({"bootstrap.servers": servers})  # must live as long as its futures
    for future in admin.create_topics([NewTopic(name, 1, 1) for name in names]).values():
        future.result(30)


def fill(servers, name, codec, records, seed, rows_per_record=1, rows_per_second=None):
    """Create a topic of one partition and fill it; the timestamps are the producer's clock unless a rate is given."""
    create(servers, name)
    stream = Stream(seed)
    producer = Producer({"bootstrap.servers": servers, **FAST_BATCHES})
    # Text takes longer to make than to send: its rows come round again.
    pool = _payloads(stream, codec, min(records, 100_000 // rows_per_record), rows_per_record)
    begun = time.time() if rows_per_second is None else time.time() - records / rows_per_second
    for i in range(records):
        at = 0 if rows_per_second is None else int(1000 * (begun + i / rows_per_second))
        _send(producer, name, pool[i % len(pool)], at)
    producer.flush(SECONDS)
    size = sum(map(len, pool)) / len(pool)
    return Topic(name, codec, rows_per_record, end(servers, name), size)


def _payloads(stream, codec, records, rows_per_record):
    X = stream.rows(records * rows_per_record)
    return as_json(X) if codec == "json" else as_float32(X, rows_per_record)


def _send(producer, name, value, at):
    while True:
        try:
            producer.produce(name, value=value, timestamp=at)
        except BufferError:
            producer.poll(0.1)
        else:
            return


def end(servers, name):
    """Return the offset after the last record."""
    reader = Consumer({"bootstrap.servers": servers, "group.id": "bench-asking"})
    try:
        return reader.get_watermark_offsets(TopicPartition(name, 0), timeout=30)[1]
    finally:
        reader.close()


def begin_at(servers, group, name, offset):
    """Let a consumer group start at an offset."""
    reader = Consumer({"bootstrap.servers": servers, "group.id": group, "enable.auto.commit": False})
    try:
        reader.commit(offsets=[TopicPartition(name, 0, offset)], asynchronous=False)
    finally:
        reader.close()
