"""Brokers as processes, and what tests do with topics: the plain functions behind the integration fixtures."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

with warnings.catch_warnings():
    # kafka-python reads its schemas through a deprecated door of importlib, once, at import.
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import TopicPartition

from streamgmm.bus import client

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "deploy" / "dev" / "apache_kafka.sh"
NO_TOOLS, NO_MAVEN_CENTRAL = 127, 69


@dataclass(frozen=True)
class Kafka:
    """One running broker."""

    name: str
    bootstrap_servers: str

    @property
    def connection(self) -> client.Connection:
        return client.Connection(client.servers(self.bootstrap_servers))


def free_ports(*offsets):
    """A port that is free, and so are those at the offsets from it."""
    for _ in range(100):
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            base = first.getsockname()[1]
        with suppress(OSError, OverflowError):
            for offset in offsets:
                with socket.socket() as other:
                    other.bind(("127.0.0.1", base + offset))
            return base
    raise RuntimeError("no free ports")


@contextmanager
def apache(mode, directory):
    """Run Apache Kafka in one of the script's modes; yields what the script printed.

    Where Java or the jars cannot be had, the test is skipped at home and fails in CI.
    """
    environment = os.environ | {"KAFKA_DATA": str(directory), "KAFKA_BASE_PORT": str(free_ports(1, 2, 10, 11, 12))}
    started = subprocess.run([SCRIPT, mode], env=environment, capture_output=True, text=True, check=False)
    try:
        if started.returncode in (NO_MAVEN_CENTRAL, NO_TOOLS) and not os.environ.get("CI"):
            pytest.skip(started.stderr.strip())
        assert started.returncode == 0, started.stderr or f"{SCRIPT.name} ended with {started.returncode}"
        yield dict(line.split("=", 1) for line in started.stdout.splitlines())
    finally:
        subprocess.run([SCRIPT, "stop"], env=environment, check=False)


@contextmanager
def embedded_process(*arguments):
    """Run the embedded broker as a process of its own; yields its address."""
    command = [sys.executable, "-m", "streamgmm.demo.broker", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().strip()
            assert address, "the embedded broker did not start"
            yield address
        finally:
            process.kill()


def send_all(connection, topic, values, keys=None, timestamps=None, partitions=None, headers=None, **settings):
    """Send values and wait for all of them; returns their (partition, offset)."""
    producer = client.producer(connection, acks="all", **settings)
    try:
        columns = [column or [None] * len(values) for column in (keys, timestamps, partitions, headers)]
        futures = [
            producer.send(topic, value=v, key=k, timestamp_ms=t, partition=p, headers=h)
            for v, k, t, p, h in zip(values, *columns, strict=True)
        ]
        producer.flush(timeout=120)
        return [(future.get(0).partition, future.get(0).offset) for future in futures]
    finally:
        producer.close(timeout=5)


def read_all(connection, topic, seconds=300.0):
    """Read a topic from its beginning to the end that it has now; in offset order per partition."""
    reader = client.consumer(connection, enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        partitions = [TopicPartition(topic, p) for p in sorted(reader.partitions_for_topic(topic) or ())]
        if not partitions:  # nobody has written to it, and readers create no topic
            return []
        end = reader.end_offsets(partitions)
        reader.assign(partitions)
        reader.seek_to_beginning(*partitions)
        records, deadline = [], time.monotonic() + seconds
        while any(reader.position(p) < end[p] for p in partitions):
            assert time.monotonic() < deadline, f"{topic}: {len(records)} records, and no more come"
            for block in reader.poll(timeout_ms=200).values():
                records += block
        return records
    finally:
        reader.close(autocommit=False, timeout_ms=1000)


def wait_until(condition, seconds=300.0, meanwhile=lambda: time.sleep(0.02)):
    """Wait for a condition, doing something meanwhile; returns what the condition said."""
    deadline = time.monotonic() + seconds
    while not (said := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        meanwhile()
    return said
