"""What a topic holds already, read once from its beginning to the end it has now: no group, no commit."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kafka import TopicPartition

from streamgmm.bus import client
from streamgmm.bus.one_by_one import batch_of
from streamgmm.errors import RetryableError, StopError
from streamgmm.records import TopicPartition as OurTopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from streamgmm.records import RecordBatch

# A broker that hands over nothing for so long is away.
STALLED_SECONDS = 30.0
POLL_MS = 500
RECORDS = 5000


def batches(
    connection: client.Connection,
    topics: Sequence[str],
    most: int,
    *,
    isolation_level: str = "read_committed",
    now: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[RecordBatch, float]]:
    """Yield records in the order of their partitions, each time with the share that is read, 0 to 1.

    Parameters
    ----------
    most
        The newest offsets of each partition that are read.

    Raises
    ------
    RetryableError, StopError, ConfigError
        As every connection does; a topic that does not exist; brokers that fall silent.
    """
    consumer = client.consumer(
        connection,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=isolation_level,
        max_poll_records=RECORDS,
    )
    try:
        with client.translated(f"reading {', '.join(topics)}"):
            yield from _read(consumer, _partitions(consumer, topics), most, now)
    finally:
        client.call_with_budget(consumer.close, timeout_ms=1000)


def _partitions(consumer: client.Client, topics: Sequence[str]) -> list[TopicPartition]:
    found = []
    for topic in topics:
        partitions = consumer.partitions_for_topic(topic)
        if not partitions:
            raise StopError(f"there is no topic {topic}", hint=f"kafka-topics.sh --create --topic {topic}")
        found += [TopicPartition(topic, partition) for partition in sorted(partitions)]
    return found


def _read(
    consumer: client.Client, partitions: Sequence[TopicPartition], most: int, now: Callable[[], float]
) -> Iterator[tuple[RecordBatch, float]]:
    first, end = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    begin = {tp: max(first[tp], end[tp] - most) for tp in partitions}
    open_ones = {tp for tp in partitions if begin[tp] < end[tp]}
    total = sum(end[tp] - begin[tp] for tp in open_ones)
    consumer.assign(list(open_ones))
    for tp in open_ones:
        consumer.seek(tp, begin[tp])
    left, heard = total, now()
    while open_ones:
        fetched = consumer.poll(timeout_ms=POLL_MS)
        parts = [
            (OurTopicPartition(*tp), [record for record in records if record.offset < end[tp]])
            for tp, records in fetched.items()
        ]
        finished = {tp for tp in open_ones if consumer.position(tp) >= end[tp]}
        consumer.pause(*finished)
        open_ones -= finished
        still = sum(end[tp] - consumer.position(tp) for tp in open_ones)
        if still < left:
            left, heard = still, now()
        elif now() - heard > STALLED_SECONDS:
            raise RetryableError(f"the brokers have handed over nothing for {STALLED_SECONDS:.0f} s")
        yield batch_of([(tp, records) for tp, records in parts if records]), 1.0 - left / total
