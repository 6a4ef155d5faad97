"""Brokers, and what tests do with them. `kafka` runs a test twice: on the embedded broker and on real Apache Kafka."""

from __future__ import annotations

import gc
import time
import uuid
import warnings
from dataclasses import replace

import pytest
from brokers import Kafka, apache, embedded_process, read_all, send_all
from kafka import TopicPartition
from kafka.admin import NewTopic

from streamgmm.bus import client
from streamgmm.demo.broker import Broker
from streamgmm.sources import Resume
from streamgmm.sources.kafka import KafkaSourceSettings, build


def pytest_collection_modifyitems(items):
    """kafka-python forgets sockets that are being connected when a client closes; the collector closes them."""
    for item in items:
        if item.get_closest_marker("integration"):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item, nextitem):
    """Collect them after a file's last test, when its log records no longer hold them: later tests forgive nothing."""
    result = yield
    if nextitem is None or nextitem.path != item.path:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "unclosed <s", ResourceWarning)
            gc.collect()
    return result


@pytest.fixture(scope="session")
def embedded_kafka():
    with embedded_process() as address:
        yield Kafka("embedded", address)


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory):
    with apache("single", tmp_path_factory.mktemp("apache")) as printed:
        yield Kafka("apache", printed["BOOTSTRAP"])


@pytest.fixture(params=["embedded", "apache"])
def kafka(request):
    return request.getfixturevalue(f"{request.param}_kafka")


@pytest.fixture
def broker():
    """The embedded broker in this process: its faults can be had."""
    with Broker() as running:
        yield running


@pytest.fixture
def admin(kafka):
    connected = client.admin(kafka.connection)
    yield connected
    connected.close()


@pytest.fixture
def make_topic(admin):
    def make(n_partitions=1, **config):
        name = f"test-{uuid.uuid4().hex[:12]}"
        admin.create_topics([NewTopic(name, n_partitions, 1, topic_configs=config)])
        admin.wait_for_topics([name])
        return name

    return make


@pytest.fixture
def produce(kafka):
    def send(topic, values, keys=None, timestamps=None, partitions=None, headers=None, **settings):
        return send_all(kafka.connection, topic, values, keys, timestamps, partitions, headers, **settings)

    return send


@pytest.fixture
def consume_all(kafka):
    return lambda topic: read_all(kafka.connection, topic)


@pytest.fixture
def asking(kafka):
    """A consumer that only asks questions."""
    reader = client.consumer(kafka.connection, enable_auto_commit=False)
    yield reader
    reader.close(autocommit=False, timeout_ms=1000)


@pytest.fixture
def end_offsets(asking):
    def ends(topic):
        partitions = [TopicPartition(topic, p) for p in sorted(asking.partitions_for_topic(topic))]
        return {tp.partition: offset for tp, offset in asking.end_offsets(partitions).items()}

    return ends


@pytest.fixture
def committed(kafka):
    """Committed offsets by partition; partitions without one are left out."""

    def offsets(group, topic):
        asking = client.consumer(kafka.connection, group_id=group, enable_auto_commit=False)
        try:
            partitions = [TopicPartition(topic, p) for p in sorted(asking.partitions_for_topic(topic))]
            found = {tp.partition: asking.committed(tp) for tp in partitions}
            return {partition: offset for partition, offset in found.items() if offset is not None}
        finally:
            asking.close(autocommit=False, timeout_ms=1000)

    return offsets


@pytest.fixture
def group():
    return f"group-{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["blocks", "records"])
def fetch(request):
    """Both ways to read a fetch, for every test here."""
    return request.param


@pytest.fixture
def sources(fetch):
    """Start sources, and close what is left of them."""
    opened = []

    def start(connection, topic, group, *, resume=None, **settings):
        settings = {"session_timeout_ms": 6000, "fetch": fetch} | settings
        topics = (topic,) if isinstance(topic, str) else topic
        # Members learn of a rebalance by their heartbeats: tests do not want to wait for Kafka's three seconds.
        connection = replace(connection, client={"heartbeat_interval_ms": 300})
        source = build(KafkaSourceSettings(connection, topics, group, **settings), now=time.monotonic)
        opened.append(source)
        source.start(Resume({}, 0) if resume is None else resume)
        assert source.hooked == (fetch == "blocks")
        return source

    yield start
    for source in opened:
        source.close(2.0)
