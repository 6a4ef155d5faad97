"""A backlog of several partitions comes in the order of event time, whatever the order in which it was produced."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from streamgmm import registry
from streamgmm.codecs import CodecSettings, Field, Timestamp
from streamgmm.order import Order
from streamgmm.sources import Resume
from streamgmm.sources.kafka import KafkaSourceSettings, build

pytestmark = pytest.mark.integration

PARTITIONS, ROWS, START = 8, 6000, 1_700_000_000.0
CODEC = registry.member("codecs", "json").build(CodecSettings((Field("a", "a"),), timestamp=Timestamp("at", "s")))
ORDERS = ("in sequence", "reversed", "random")


def backlog(rng):
    """Return (partition, payload) in the order of time; some partitions have ten times the records of others."""
    of = rng.choice(PARTITIONS, size=ROWS, p=rng.dirichlet(np.full(PARTITIONS, 1.0)))
    return [(int(p), json.dumps({"a": i, "at": START + i}).encode()) for i, p in enumerate(of)]


def produced(rows, order, rng):
    """Return the rows as they are sent: each partition's own order stays."""
    turns = {
        "in sequence": range(PARTITIONS),
        "reversed": range(PARTITIONS)[::-1],
        "random": rng.permutation(PARTITIONS),
    }
    return [row for p in turns[order] for row in rows if row[0] == p]


def drained(source, order, done=lambda _: None):
    """Return the values of all rows as the loop takes them; whatever is taken may be committed."""
    taken, offsets, deadline = [], {}, time.monotonic() + 300
    while not source.at_end():
        assert time.monotonic() < deadline, f"{len(taken)} rows, and no more come"
        batch = source.poll(0.1)
        batch, fields, back = order.arrange(batch, CODEC.decode(batch), time.time())
        source.give_back(back)
        for i in range(len(batch)):
            tp = batch.topic_partition(i)
            assert batch.offset[i] >= offsets.get(tp, 0), "handed over twice, or out of its partition's order"
            offsets[tp] = int(batch.offset[i]) + 1
        for tp, offset in batch.next_offsets.items():
            assert offset >= offsets.get(tp, 0)
            offsets[tp] = max(offset, offsets.get(tp, 0))
        taken += fields.X[:, 0].astype(int).tolist()
        done(taken)
    return taken


@pytest.fixture
def opened(kafka, group):
    sources = []

    def start(topic, **settings):
        connection = replace(kafka.connection, client=settings.pop("client", {}))
        sources.append(build(KafkaSourceSettings(connection, (topic,), group, **settings), now=time.monotonic))
        sources[-1].start(Resume({}, 0))
        return sources[-1]

    yield start
    for source in sources:
        source.close(5.0)


@pytest.mark.parametrize("fetch", ["blocks", "records"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_backlog_is_taken_in_the_order_of_time(fetch, order, make_topic, produce, opened, rng):
    topic, rows = make_topic(PARTITIONS), backlog(rng)
    sent = produced(rows, order, rng)
    produce(topic, [value for _, value in sent], partitions=[p for p, _ in sent], linger_ms=20, compression_type="gzip")
    # Small fetches: each partition takes many.
    source = opened(topic, fetch=fetch, batch_rows=500, client={"max_partition_fetch_bytes": 3000})
    assert drained(source, Order()) == list(range(ROWS))
