"""The data plane of the embedded broker: produce, fetch with long poll, offsets by time."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from streamgmm.demo.broker_protocol import Body, Code, Reply

if TYPE_CHECKING:
    from streamgmm.demo.broker_faults import Faults
    from streamgmm.demo.broker_topics import Topics

LATEST, EARLIEST = -1, -2


class Data:
    """Reads and writes the logs.

    Parameters
    ----------
    topics
        The logs.
    faults
        Which requests to refuse on purpose.
    max_message_bytes
        Largest batch taken.
    """

    def __init__(self, topics: Topics, faults: Faults, max_message_bytes: int) -> None:
        self._topics = topics
        self._faults = faults
        self._max_message_bytes = max_message_bytes
        # Not counted from a constant: a restarted broker must not hand out the ids of its former life again.
        self._next_producer_id = secrets.randbits(40)
        self._arrival = asyncio.Event()

    def init_producer_id(self, body: Body, _version: int) -> Reply:
        """Answer InitProducerId: a new identity, or the next epoch of the one the producer has (KIP-360)."""
        code = self._faults.refusal("InitProducerId")
        if body.transactional_id:
            code = Code.INVALID_REQUEST  # transactions belong to real Kafka
        if code:
            return {"error_code": code, "producer_id": -1, "producer_epoch": -1}
        if body.producer_id >= 0:
            return {"error_code": code, "producer_id": body.producer_id, "producer_epoch": body.producer_epoch + 1}
        self._next_producer_id += 1
        return {"error_code": code, "producer_id": self._next_producer_id, "producer_epoch": 0}

    def produce(self, body: Body, _version: int) -> Reply | None:
        """Answer Produce; with acks=0 there is no answer."""
        code = self._faults.refusal("Produce")
        responses = [
            {
                "name": topic.name,
                "partition_responses": [self._store(topic.name, p, code) for p in topic.partition_data],
            }
            for topic in body.topic_data
        ]
        arrived, self._arrival = self._arrival, asyncio.Event()
        arrived.set()
        return {"responses": responses} if body.acks != 0 else None

    def _store(self, topic: str, sent: Body, code: Code) -> Reply:
        log = self._topics.log(topic, sent.index)
        base = -1
        batch = bytes(sent.records) if sent.records is not None else b""
        if log is None:
            code = code or Code.UNKNOWN_TOPIC_OR_PARTITION
        elif len(batch) > self._max_message_bytes:
            code = code or Code.MESSAGE_TOO_LARGE
        elif not code:
            code, base = log.append(batch)
        return {
            "index": sent.index,
            "error_code": code,
            "base_offset": base,
            "log_append_time_ms": -1,
            "log_start_offset": log.start if log is not None else -1,
            "record_errors": [],
        }

    async def fetch(self, body: Body, _version: int) -> Reply:
        """Answer Fetch: at once when there are `min_bytes` or an error, else when they arrive."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + body.max_wait_ms / 1000
        while True:
            arrival = self._arrival
            responses, size, failed = self._read(body)
            left = deadline - loop.time()
            if size >= body.min_bytes or failed or left <= 0 or not body.topics:
                return {"error_code": Code.NONE, "session_id": 0, "responses": responses}
            try:
                await asyncio.wait_for(arrival.wait(), left)
            except TimeoutError:
                continue

    def _read(self, body: Body) -> tuple[list[Reply], int, bool]:
        code = self._faults.refusal("Fetch")
        size, failed = 0, bool(code)
        responses = []
        for topic in body.topics:
            partitions = []
            for wanted in topic.partitions:
                budget = min(wanted.partition_max_bytes, max(0, body.max_bytes - size))
                answer = self._read_one(topic.topic, wanted, budget, size == 0, code)
                size += len(answer["records"])
                failed = failed or bool(answer["error_code"])
                partitions.append(answer)
            responses.append({"topic": topic.topic, "partitions": partitions})
        return responses, size, failed

    def _read_one(self, topic: str, wanted: Body, budget: int, first: bool, code: Code) -> Reply:
        log = self._topics.log(topic, wanted.partition)
        records = b""
        if log is None:
            code = code or Code.UNKNOWN_TOPIC_OR_PARTITION
        elif not log.start <= wanted.fetch_offset <= log.end:
            code = code or Code.OFFSET_OUT_OF_RANGE
        elif not code:
            # The first partition with data hands over a batch even if it is larger than asked for (KIP-74).
            records = log.read(wanted.fetch_offset, budget, at_least_one=first)
        end = log.end if log is not None else -1
        return {
            "partition_index": wanted.partition,
            "error_code": code,
            "high_watermark": end,
            "last_stable_offset": end,
            "log_start_offset": log.start if log is not None else -1,
            "aborted_transactions": None,
            "preferred_read_replica": -1,
            "records": records,
        }

    def list_offsets(self, body: Body, _version: int) -> Reply:
        """Answer ListOffsets: the beginning, the end, or the first record that is not older than a timestamp."""
        code = self._faults.refusal("ListOffsets")
        return {
            "topics": [
                {"name": topic.name, "partitions": [self._locate(topic.name, p, code) for p in topic.partitions]}
                for topic in body.topics
            ]
        }

    def _locate(self, topic: str, wanted: Body, code: Code) -> Reply:
        log = self._topics.log(topic, wanted.partition_index)
        offset, timestamp = -1, -1
        if log is None:
            code = code or Code.UNKNOWN_TOPIC_OR_PARTITION
        elif wanted.timestamp == LATEST:
            offset = log.end
        elif wanted.timestamp == EARLIEST:
            offset = log.start
        else:
            offset, timestamp = log.at_time(wanted.timestamp)
        return {
            "partition_index": wanted.partition_index,
            "error_code": code,
            "timestamp": timestamp,
            "offset": -1 if code else offset,
            "leader_epoch": 0,
        }

    def end_of_epoch(self, body: Body, _version: int) -> Reply:
        """Answer OffsetForLeaderEpoch: there has only ever been one leader."""
        return {
            "topics": [
                {"topic": topic.topic, "partitions": [self._epoch(topic.topic, p.partition) for p in topic.partitions]}
                for topic in body.topics
            ]
        }

    def _epoch(self, topic: str, partition: int) -> Reply:
        log = self._topics.log(topic, partition)
        code = Code.UNKNOWN_TOPIC_OR_PARTITION if log is None else Code.NONE
        end = -1 if log is None else log.end
        return {"error_code": code, "partition": partition, "leader_epoch": 0, "end_offset": end}
