"""Private names of kafka-python, each behind a function that does without where a version has another name.

What is lost then is speed, or the answer to a question; never a record, and never an AttributeError. A test renames
each of them in a copy of the library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka import errors
from kafka.protocol.consumer import OffsetForLeaderEpochRequest
from kafka.structs import OffsetAndMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streamgmm.bus.client import Client


def cluster(client: Client) -> Client | None:
    """Return what a client knows of brokers and topics; None where it does not show it."""
    return getattr(getattr(client, "_client", None), "cluster", None)


def topic_id(client: Client, topic: str) -> str:
    """Return the id of a topic, as the last metadata had it; empty where brokers have none (before Kafka 2.8)."""
    known = getattr(cluster(client), "topic_id", None)
    found = known(topic) if known is not None else None
    return found.hex if found is not None and found.int else ""


def leader(client: Client, tp: Any) -> int | None:  # noqa: ANN401 - kafka-python's kind of partition
    """Return a partition's leader, -1 where it has none; None where it cannot be told."""
    known = getattr(cluster(client), "leader_for_partition", None)
    found = known(tp) if known is not None else None
    return None if found is None else int(found)


def is_gone(client: Client, topic: str) -> bool:
    """Return whether the last metadata do not have a topic that was asked for."""
    known = getattr(cluster(client), "partitions_for_topic", None)
    return known is not None and not known(topic)


def refresh(client: Client) -> None:
    """Ask for metadata soon, without waiting for it."""
    update = getattr(cluster(client), "request_update", None)
    if update is not None:
        update()


def hear(
    client: Client,
    questions: tuple[type, ...],
    asked: Callable[[object], None],
    heard: Callable[[object], None],
) -> bool:
    """Tell of every question of these kinds and of every answer; False where it cannot be.

    Both are called with the broker's number, None where kafka-python chose it; `heard` on kafka-python's thread.
    """
    manager = getattr(client, "_manager", None)
    send = getattr(manager, "send", None)
    if manager is None or send is None:
        return False

    def send_and_hear(request: Any, *args: Any, **how: Any) -> Any:  # noqa: ANN401 - kafka-python ships no types
        if not isinstance(request, questions):
            return send(request, *args, **how)
        node = args[0] if args else how.get("node_id")
        asked(node)  # first: the answer may be quicker than the return
        future = send(request, *args, **how)
        future.add_callback(lambda _: heard(node))
        return future

    manager.send = send_and_hear
    return True


def committed(consumer: Client, partitions: Sequence[Any], budget_ms: int) -> dict[Any, OffsetAndMetadata]:
    """Return the committed offsets: one request for all partitions; the public `committed` makes one for each."""
    at_once = getattr(getattr(consumer, "_coordinator", None), "fetch_committed_offsets", None)
    if at_once is not None:
        return dict(at_once(partitions, timeout_ms=budget_ms))
    found = {tp: consumer.committed(tp, metadata=True, timeout_ms=budget_ms) for tp in partitions}
    return {tp: stored for tp, stored in found.items() if stored is not None}


def position(consumer: Client, tp: Any) -> OffsetAndMetadata | None:  # noqa: ANN401 - as above
    """Return the next offset to fetch and the epoch of the record before it, without asking a broker."""
    assignment = getattr(getattr(consumer, "_subscription", None), "assignment", None)
    if assignment is not None:
        state = assignment.get(tp)
        return None if state is None else state.position
    try:
        offset = consumer.position(tp, timeout_ms=0)
    except errors.KafkaError:
        return None
    return None if offset is None else OffsetAndMetadata(offset, "", -1)


def seek(consumer: Client, tp: Any, offset: int, epoch: int = -1) -> None:  # noqa: ANN401 - as above
    """Go on at an offset; with the epoch of the record before it, brokers say when they have lost that record."""
    consumer.seek(tp, offset)
    assignment = getattr(getattr(consumer, "_subscription", None), "assignment", None)
    if epoch >= 0 and assignment is not None:
        assignment[tp].seek(OffsetAndMetadata(offset, "", epoch))


def ends_of_epochs(consumer: Client, epochs: Mapping[Any, int], budget_ms: int) -> dict[Any, int]:
    """Return where the leaders' logs end for each epoch, -1 where they do not know it; empty where nobody can ask."""
    manager, net = getattr(consumer, "_manager", None), getattr(consumer, "_net", None)
    if manager is None or net is None:
        return {}
    by_node: dict[int, list[Any]] = {}
    for tp in epochs:
        node = leader(consumer, tp)
        if node is not None and node >= 0:
            by_node.setdefault(node, []).append(tp)
    ends: dict[Any, int] = {}
    for node, partitions in by_node.items():
        request = _epoch_request({tp: epochs[tp] for tp in partitions})

        async def ask(request: Any = request, node: int = node) -> Any:  # noqa: ANN401 - kafka-python ships no types
            return await manager.wait_for(manager.send(request, node_id=node), budget_ms)

        answers = {
            (topic.topic, one.partition): one.end_offset
            for topic in net.run(ask).topics
            for one in topic.partitions
            if one.error_code == 0
        }
        ends |= {tp: int(answers[tuple(tp)]) for tp in partitions if tuple(tp) in answers}
    return ends


def _epoch_request(epochs: Mapping[Any, int]) -> Any:  # noqa: ANN401 - kafka-python ships no types
    topic_of, partition_of = (
        OffsetForLeaderEpochRequest.OffsetForLeaderTopic,
        OffsetForLeaderEpochRequest.OffsetForLeaderTopic.OffsetForLeaderPartition,
    )
    by_topic: dict[str, list[Any]] = {}
    for tp, epoch in epochs.items():
        asked = partition_of(partition=tp.partition, current_leader_epoch=-1, leader_epoch=epoch)
        by_topic.setdefault(tp.topic, []).append(asked)
    topics = [topic_of(topic=topic, partitions=partitions) for topic, partitions in by_topic.items()]
    return OffsetForLeaderEpochRequest(replica_id=-1, topics=topics)


async def wait(consumer: Client, sent: Any, budget_ms: float) -> None:  # noqa: ANN401 - kafka-python's Future
    """Wait for an answer on kafka-python's own thread; where the time cannot be bounded, until its request ends."""
    manager = getattr(consumer, "_manager", None)
    await (sent if manager is None else manager.wait_for(sent, budget_ms))


def read_with(consumer: Client, records: type) -> bool:
    """Let a consumer read fetches with a class of ours; False where that is not to be had."""
    fetcher = getattr(consumer, "_fetcher", None)
    if fetcher is None:
        return False
    fetcher.PartitionRecords = records
    return True


def fetched_bytes(records: Any) -> bytes:  # noqa: ANN401 - kafka.record.MemoryRecords
    """Return the bytes of a fetch; empty where they have another name."""
    return bytes(getattr(records, "_buffer", b""))


def end_sender(producer: Client) -> None:
    """End the thread of a producer whose flush has failed; it would try for ever."""
    sender = getattr(producer, "_sender", None)
    if sender is not None:
        sender.force_close()
        sender.join(1.0)


def metadata_seconds(producer: Client) -> float:
    """Return when (seconds, on kafka-python's clock) brokers last answered with metadata; 0 where it is not shown."""
    metadata = getattr(producer, "_metadata", None)
    return float(getattr(metadata, "_last_successful_refresh_ms", 0.0)) / 1000


def limit_fetches(consumer: Client, size: int) -> None:
    """Change how many bytes one fetch brings of each partition at most; no public name does that after the start."""
    config = getattr(getattr(consumer, "_fetcher", None), "config", None)
    if isinstance(config, dict):
        config["max_partition_fetch_bytes"] = size


def unpark(consumer: Client) -> None:
    """Let records that were put aside while their partition was paused come back.

    kafka-python 3.0 takes them up only where no other partition's records are in line, and leaves those in line that
    are used up: a partition that is resumed would then give nothing for ever.
    """
    fetcher = getattr(consumer, "_fetcher", None)
    in_line = getattr(fetcher, "_next_partition_records", None)
    if fetcher is not None and in_line is not None and not in_line:
        fetcher._next_partition_records = None  # noqa: SLF001 - it is there
