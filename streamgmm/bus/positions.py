"""Where partitions stand: the look-ups a member makes before it reads, and the cached ones that cost nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kafka import errors

from streamgmm.bus import internals
from streamgmm.bus.marks import Committed, read_mark
from streamgmm.bus.membership import kafkas
from streamgmm.records import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from streamgmm.bus.client import Client


class Ends(NamedTuple):
    """The first offset of a partition that can be read, and the one after its last record."""

    first: int
    end: int


def commits(consumer: Client, topics: Iterable[str], seconds: float) -> dict[TopicPartition, Committed]:
    """Return what the group has committed for all partitions of some topics, whoever owns them.

    Raises
    ------
    kafka.errors.KafkaError
        No answer in time, or no right to ask.
    """
    wanted = kafkas(TopicPartition(topic, p) for topic in topics for p in consumer.partitions_for_topic(topic) or ())
    stored = internals.committed(consumer, wanted, int(seconds * 1000))
    return {
        TopicPartition(*tp): Committed(one.offset, one.leader_epoch, read_mark(one.metadata))
        for tp, one in stored.items()
    }


def look_up(consumer: Client, partitions: Sequence[TopicPartition], seconds: float) -> dict[TopicPartition, Ends]:
    """Ask for both ends; blocks, so it belongs on our own thread and never in the listener.

    Raises
    ------
    kafka.errors.KafkaError
        No answer in time, or no right to ask.
    """
    wanted, budget = kafkas(partitions), int(seconds * 1000)
    first = consumer.beginning_offsets(wanted, timeout_ms=budget)
    end = consumer.end_offsets(wanted, timeout_ms=budget)
    return {tp: Ends(first[asked], end[asked]) for tp, asked in zip(partitions, wanted, strict=True)}


def diverged(
    consumer: Client, stored: Mapping[TopicPartition, Committed], ends: Mapping[TopicPartition, Ends], seconds: float
) -> dict[TopicPartition, int]:
    """Return from where on brokers have lost what was read before the committed offset: after an unclean election.

    Raises
    ------
    kafka.errors.KafkaError
        No answer in time.
    """
    asked = {kafkas([tp])[0]: one.epoch for tp, one in stored.items() if one.epoch >= 0 and tp in ends}
    found = {}
    for asked_tp, end_of_epoch in internals.ends_of_epochs(consumer, asked, int(seconds * 1000)).items():
        tp = TopicPartition(*asked_tp)
        # No record of that epoch is left, and none of a later one is there yet.
        at = ends[tp].end if end_of_epoch < 0 else end_of_epoch
        if at < stored[tp].offset:
            found[tp] = at
    return found


def leaderless(consumer: Client, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
    """Return the partitions without a leader, as the last metadata had it."""
    return [tp for tp in partitions if internals.leader(consumer, kafkas([tp])[0]) == -1]


def led_by(consumer: Client, partitions: Iterable[TopicPartition], brokers: Collection[object]) -> list[TopicPartition]:
    """Return the partitions that one of these brokers leads, as the last metadata had it."""
    if not brokers:
        return []
    return [tp for tp in partitions if internals.leader(consumer, kafkas([tp])[0]) in brokers]


def positions(consumer: Client, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
    """Return the next offset to fetch, where it is known, without asking anybody.

    It runs ahead of the last record over transaction markers and compacted gaps.
    """
    known = {}
    for tp in partitions:
        position = internals.position(consumer, kafkas([tp])[0])
        if position is not None:
            known[tp] = int(position.offset)
    return known


def high_watermarks(consumer: Client, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
    """Return the ends that the last fetches brought along."""
    known = {}
    for tp in kafkas(partitions):
        try:
            end = consumer.highwater(tp)
        except errors.IllegalStateError:
            continue
        if end is not None:
            known[tp] = int(end)
    return known


def missing(consumer: Client, topics: Sequence[str]) -> list[str]:
    """Return the topics that do not exist, or that we may not know about."""
    return [topic for topic in topics if not consumer.partitions_for_topic(topic)]


def ahead(next_offsets: Mapping[TopicPartition, int], told: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Return what changed since it was last told."""
    return {tp: offset for tp, offset in next_offsets.items() if told.get(tp) != offset}
