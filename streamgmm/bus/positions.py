"""Where partitions stand: the look-ups a member makes before it reads, and the cached ones that cost nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kafka import errors

from streamgmm.bus.membership import kafkas

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from streamgmm.bus.client import Client
    from streamgmm.records import TopicPartition


class Standing(NamedTuple):
    """What the broker says of one partition; `committed` is None where the group never committed."""

    committed: int | None
    first: int
    end: int


def look_up(consumer: Client, partitions: Sequence[TopicPartition], seconds: float) -> dict[TopicPartition, Standing]:
    """Ask for committed offsets and both ends; blocks, so it belongs on our own thread and never in the listener.

    Raises
    ------
    kafka.errors.KafkaError
        No answer in time, or no right to ask.
    """
    wanted, budget = kafkas(partitions), int(seconds * 1000)
    # One request for all partitions; the public `committed` makes one per partition.
    committed = consumer._coordinator.fetch_committed_offsets(wanted, timeout_ms=budget)  # noqa: SLF001
    first = consumer.beginning_offsets(wanted, timeout_ms=budget)
    end = consumer.end_offsets(wanted, timeout_ms=budget)
    return {
        tp: Standing(committed[asked].offset if asked in committed else None, first[asked], end[asked])
        for tp, asked in zip(partitions, wanted, strict=True)
    }


def positions(consumer: Client, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
    """Return the next offset to fetch, where it is known, without asking anybody.

    It runs ahead of the last record over transaction markers and compacted gaps.
    """
    known = {}
    for tp in partitions:
        state = consumer._subscription.assignment.get(tp)  # noqa: SLF001 - the public `position` asks the broker
        if state is not None and state.position is not None:
            known[tp] = int(state.position.offset)
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
