"""What a user would write without us, each as a process of its own: read, score, produce the anomalies, stop.

`python baselines.py NAME CODEC SERVERS TOPIC BEGIN END MODEL OUT` reads the records of [BEGIN, END) of partition 0.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import warnings

os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import msgspec
import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from topics import FIELDS, begin_at  # beside this script

BATCH = 10_000
FETCH = 4 << 20
FETCH_KEY, FETCH_VERSION = 1, 4


class Job:
    """One run's arguments."""

    def __init__(self, codec, servers, topic, begin, end, model, out):
        self.codec, self.servers, self.topic, self.out = codec, servers, topic, out
        self.begin, self.end, self.model = int(begin), int(end), model


def scorer(job):
    """Return scikit-learn's mixture, fitted beforehand, and the log-density below which a row is flagged.

    Fitted on rows of float32 it keeps float32, as here: that scores them faster than float64 does.
    """
    from sklearn.mixture import GaussianMixture

    dtype = np.float32 if job.codec == "float32" else np.float64
    fitted = {name: array.astype(dtype) for name, array in np.load(job.model).items()}
    model = GaussianMixture(len(fitted["weights"]))
    model.weights_, model.means_ = fitted["weights"], fitted["means"]
    model.covariances_, model.precisions_cholesky_ = fitted["covariances"], fitted["precisions_cholesky"]
    model.n_features_in_ = len(FIELDS)
    return model, float(fitted["threshold"])


class Flags:
    """Scores rows and produces the anomalous ones, as JSON."""

    def __init__(self, job):
        self._model, self._threshold = scorer(job)
        self._producer = Producer({"bootstrap.servers": job.servers})
        self._topic = job.out

    def score(self, X):
        log_density = self._model.score_samples(X)
        for i in np.flatnonzero(log_density < self._threshold):
            self.produce(X[i], log_density[i])
        self._producer.poll(0)

    def produce(self, row, score):
        record = {"log_density": float(score), "features": dict(zip(FIELDS, map(float, row), strict=True))}
        self._producer.produce(self._topic, json.dumps(record).encode())

    def close(self):
        self._producer.flush(30)


def confluent(job):
    """Return a confluent-kafka consumer; the queue backoff is far below its default, which only waits."""
    consumer = Consumer(
        {
            "bootstrap.servers": job.servers,
            "group.id": f"bench-{os.getpid()}",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 5,
            "max.partition.fetch.bytes": FETCH,
        }
    )
    consumer.assign([TopicPartition(job.topic, 0, job.begin)])
    return consumer


def confluent_batches(job):
    """Yield the messages of up to BATCH records at a time."""
    consumer = confluent(job)
    left = job.end - job.begin
    while left:
        messages = consumer.consume(min(BATCH, left), timeout=1.0)
        left -= len(messages)
        if messages:
            yield messages
    consumer.close()


def packed(values):
    return np.frombuffer(b"".join(values), dtype="<f4").reshape(-1, len(FIELDS))


def run_confluent_sklearn(job):
    flags = Flags(job)
    Row = msgspec.defstruct("Row", [(name, float) for name in FIELDS])
    decode, fields = msgspec.json.Decoder(Row).decode, msgspec.structs.astuple
    for messages in confluent_batches(job):
        values = [message.value() for message in messages]
        flags.score(packed(values) if job.codec == "float32" else np.array([fields(decode(v)) for v in values]))
    flags.close()


def run_confluent_only(job):
    for _ in confluent_batches(job):
        pass


def run_kafka_python_sklearn(job):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kafka import KafkaConsumer
        from kafka import TopicPartition as Partition

    flags, partition = Flags(job), Partition(job.topic, 0)
    consumer = KafkaConsumer(bootstrap_servers=job.servers, max_partition_fetch_bytes=FETCH, enable_auto_commit=False)
    consumer.assign([partition])
    consumer.seek(partition, job.begin)
    left = job.end - job.begin
    while left:
        records = consumer.poll(timeout_ms=1000, max_records=min(BATCH, left)).get(partition, [])
        left -= len(records)
        if records and job.codec == "float32":
            flags.score(packed([record.value for record in records]))
        elif records:
            rows = (json.loads(record.value) for record in records)
            flags.score(np.array([[row[name] for name in FIELDS] for row in rows]))
    flags.close()
    consumer.close()


def run_quixstreams_sklearn(job):
    """Run a sink, which is handed whole batches: one call of scikit-learn per record would cost far more."""
    from quixstreams import Application
    from quixstreams.sinks import BatchingSink

    flags = Flags(job)

    class Anomalies(BatchingSink):
        def write(self, batch):
            values = [item.value for item in batch]
            binary = job.codec == "float32"
            flags.score(packed(values) if binary else np.array([[row[n] for n in FIELDS] for row in values]))

    group = f"bench-quix-{os.getpid()}"
    begin_at(job.servers, group, job.topic, job.begin)
    app = Application(
        broker_address=job.servers,
        consumer_group=group,
        auto_offset_reset="earliest",
        commit_every=BATCH,
        loglevel="ERROR",
        consumer_extra_config={"fetch.queue.backoff.ms": 5},
    )
    topic = app.topic(job.topic, value_deserializer="bytes" if job.codec == "float32" else "json")
    app.dataframe(topic).sink(Anomalies())
    app.run(count=job.end - job.begin, collect=False)
    flags.close()


def run_river(job):
    """Run HalfSpaceTrees one record at a time: river knows no other way. It learns as it goes."""
    from river import anomaly, preprocessing

    flags = Flags(job)
    scaler, trees = preprocessing.MinMaxScaler(), anomaly.HalfSpaceTrees(seed=0)
    for messages in confluent_batches(job):
        for message in messages:
            value = message.value()
            numbers = np.frombuffer(value, "<f4").tolist() if job.codec == "float32" else None
            row = dict(zip(FIELDS, numbers, strict=True)) if numbers else json.loads(value)
            scaler.learn_one(row)
            scaled = scaler.transform_one(row)
            score = trees.score_one(scaled)
            if score > 0.999:
                flags.produce(row.values(), score)
            trees.learn_one(scaled)
    flags.close()


def run_raw(job):
    """Run fetch requests over a plain socket; of an answer only the last batch's header is looked at."""
    host, port = job.servers.split(":")
    offset = job.begin
    with socket.create_connection((host, int(port))) as connection:
        buffer = memoryview(bytearray(FETCH + (1 << 20)))
        while offset < job.end:
            connection.sendall(_fetch_request(job.topic, offset))
            offset = _after(buffer[: _receive(connection, buffer)], offset, len(job.topic))


def _fetch_request(topic, offset):
    body = struct.pack(">hhih5s", FETCH_KEY, FETCH_VERSION, 0, 5, b"bench")
    body += struct.pack(">iiiib", -1, 500, 1, FETCH, 0)
    body += struct.pack(f">ih{len(topic)}s", 1, len(topic), topic.encode())
    body += struct.pack(">iiqi", 1, 0, offset, FETCH)
    return struct.pack(">i", len(body)) + body


def _receive(connection, buffer):
    connection.recv_into(buffer, 4, socket.MSG_WAITALL)
    (size,) = struct.unpack(">i", buffer[:4])
    if size > len(buffer):
        raise RuntimeError(f"an answer of {size} bytes to a fetch of {FETCH}")
    got = 0
    while got < size:
        got += connection.recv_into(buffer[got:], size - got)
    return size


def _after(answer, offset, topic_length):
    """Return the offset after the last whole record batch of an answer."""
    head = 4 + 4 + 4 + 2 + topic_length + 4  # correlation, throttle, topics, name, partitions
    _, error, _, _, aborted = struct.unpack_from(">ihqqi", answer, head)
    if error:
        raise RuntimeError(f"fetch error {error}")
    at = head + 26 + 16 * max(0, aborted) + 4
    while at + 61 <= len(answer):
        base, length = struct.unpack_from(">qi", answer, at)
        if at + 12 + length > len(answer):
            break
        (delta,) = struct.unpack_from(">i", answer, at + 23)
        offset, at = base + delta + 1, at + 12 + length
    return offset


RUNS = {
    "confluent": run_confluent_sklearn,
    "kafka-python": run_kafka_python_sklearn,
    "quixstreams": run_quixstreams_sklearn,
    "river": run_river,
    "confluent-only": run_confluent_only,
    "raw": run_raw,
}

if __name__ == "__main__":
    RUNS[sys.argv[1]](Job(*sys.argv[2:]))
