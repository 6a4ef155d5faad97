"""What tests do with a Kafka source: poll it until something holds, and say where it stands."""

from __future__ import annotations

import time

from brokers import wait_until
from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

from streamgmm.bus import client


def read(source, n, seconds=300.0):
    """Poll until `n` records are there; returns (partition, offset, value) in order, and the last next_offsets."""
    rows, next_offsets = [], {}
    deadline = time.monotonic() + seconds
    while len(rows) < n:
        assert time.monotonic() < deadline, f"{len(rows)} of {n} records"
        batch = source.poll(0.1)
        rows += [(batch.topic_partition(i).partition, int(batch.offset[i]), batch.value[i]) for i in range(len(batch))]
        next_offsets |= batch.next_offsets
    return rows, next_offsets


def places(source):
    """Where partitions start, without what tells them from others of their name."""
    return {tp: (s.offset, s.row, s.muted_until, s.not_learnt) for tp, s in source.starts().items()}


def moves(source, n=1, seconds=30.0):
    """Poll until `n` positions have jumped: reason, partition, from, to, records."""
    events, deadline = [], time.monotonic() + seconds
    while len(events) < n:
        assert time.monotonic() < deadline, events
        source.poll(0.05)
        events += source.events()
    assert {e.kind for e in events} == {"position_moved"}
    return [(e.labels["reason"], *(e.fields[name] for name in ("partition", "from", "to", "records"))) for e in events]


def assigned(source, n):
    """Poll an idle source until it has `n` partitions; returns what it handed over meanwhile."""
    rows = []

    def turn():
        batch = source.poll(0.05)
        rows.extend((batch.topic_partition(i).partition, int(batch.offset[i])) for i in range(len(batch)))

    wait_until(lambda: len(source.lag()) == n, meanwhile=turn)
    return rows


def store(source, offsets):
    """Commit; a group that rebalances on its own account (the leader looks at metadata) is asked again."""
    wait_until(lambda: source.commit(offsets), meanwhile=lambda: source.poll(0.05))


def numbers(n):
    return [b"%d" % i for i in range(n)]


def commit_by_hand(kafka, group, tp, offset, mark=""):
    stranger = client.consumer(kafka.connection, group_id=group, enable_auto_commit=False)
    stranger.assign([TopicPartition(*tp)])
    stranger.commit({TopicPartition(*tp): OffsetAndMetadata(offset, mark, -1)})
    stranger.close(autocommit=False)
