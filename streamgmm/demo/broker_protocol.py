"""The wire: which requests the embedded broker speaks, and dictionaries in and out of kafka-python's own schemas."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

from kafka.protocol import admin, consumer, metadata, producer

Body: TypeAlias = Any  # a decoded request: attributes named as in Kafka's schema files
Reply: TypeAlias = dict[str, Any]


class Code(IntEnum):
    """Kafka's error codes, as far as they are used here."""

    NONE = 0
    OFFSET_OUT_OF_RANGE = 1
    CORRUPT_MESSAGE = 2
    UNKNOWN_TOPIC_OR_PARTITION = 3
    MESSAGE_TOO_LARGE = 10
    COORDINATOR_NOT_AVAILABLE = 15
    INVALID_TOPIC = 17
    ILLEGAL_GENERATION = 22
    INCONSISTENT_GROUP_PROTOCOL = 23
    UNKNOWN_MEMBER_ID = 25
    INVALID_SESSION_TIMEOUT = 26
    REBALANCE_IN_PROGRESS = 27
    TOPIC_AUTHORIZATION_FAILED = 29
    UNSUPPORTED_VERSION = 35
    TOPIC_ALREADY_EXISTS = 36
    INVALID_PARTITIONS = 37
    INVALID_REQUEST = 42
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45
    INVALID_PRODUCER_EPOCH = 47
    UNKNOWN_PRODUCER_ID = 59
    NON_EMPTY_GROUP = 68
    GROUP_ID_NOT_FOUND = 69
    MEMBER_ID_REQUIRED = 79
    FENCED_INSTANCE_ID = 82


# Request → versions spoken. Highest ones are those before flexible changes we have no use for (fetch by topic id ...).
VERSIONS: dict[str, tuple[int, int]] = {
    "Produce": (3, 9),
    "Fetch": (4, 11),
    "ListOffsets": (1, 6),
    "Metadata": (1, 10),
    "OffsetCommit": (2, 8),
    "OffsetFetch": (1, 7),
    "FindCoordinator": (0, 3),
    "JoinGroup": (2, 7),
    "Heartbeat": (0, 4),
    "LeaveGroup": (0, 4),
    "SyncGroup": (0, 5),
    "DescribeGroups": (0, 5),
    "ListGroups": (0, 4),
    "ApiVersions": (0, 3),
    "CreateTopics": (2, 5),
    "DeleteTopics": (1, 5),
    "DeleteRecords": (0, 2),
    "InitProducerId": (0, 4),
    "OffsetForLeaderEpoch": (2, 4),
    "DescribeConfigs": (1, 4),
    "CreatePartitions": (0, 3),
    "DeleteGroups": (0, 2),
    "DescribeCluster": (0, 0),
}
SCHEMAS = (metadata, consumer, producer, admin)


def _schema(name: str) -> Any:  # noqa: ANN401 - kafka-python ships no types
    return next(getattr(module, name) for module in SCHEMAS if hasattr(module, name))


REQUESTS = {name: _schema(f"{name}Request") for name in VERSIONS}
RESPONSES = {name: _schema(f"{name}Response") for name in VERSIONS}
NAMES = {request.API_KEY: name for name, request in REQUESTS.items()}


class Request(NamedTuple):
    """One decoded frame; `body` is None for a version that is not spoken."""

    name: str
    version: int
    correlation_id: int
    client_id: str
    body: Body


def decode(frame: bytes) -> Request:
    """Decode a frame. Raises ValueError for a request that is not spoken at all (the connection is then closed)."""
    key, version, correlation_id = struct.unpack_from(">hhi", frame)
    name = NAMES.get(key)
    if name is None:
        raise ValueError(f"request with API key {key} is not supported here")
    lowest, highest = VERSIONS[name]
    if not lowest <= version <= highest:
        return Request(name, version, correlation_id, "", None)
    body = REQUESTS[name].decode(frame, version=version, header=True)
    return Request(name, version, correlation_id, body.header.client_id or "", body)


def encode(name: str, version: int, correlation_id: int, reply: Reply) -> bytes:
    """Encode a reply as a frame; fields that are left out take the schema's defaults."""
    message = _fill(RESPONSES[name], version, reply)
    message.with_header(correlation_id=correlation_id)
    return bytes(message.encode(header=True, framed=True))


def _fill(schema: Any, version: int, values: Reply) -> Any:  # noqa: ANN401 - kafka-python ships no types
    filled = {}
    for field in schema._struct._fields:  # noqa: SLF001 - the only description of a schema kafka-python has
        if field.name not in values:
            continue
        value = values[field.name]
        if field.is_struct() and isinstance(value, dict):
            value = _fill(getattr(schema, field.type_str), version, value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            inner = getattr(schema, field.type_str)
            value = [_fill(inner, version, item) for item in value]
        filled[field.name] = value
    return schema(version=version, **filled)


def unsupported(request: Request) -> bytes | None:
    """Answer a version that is not spoken: ApiVersions has an answer for it (KIP-511), others close the connection."""
    if request.name != "ApiVersions":
        return None
    return encode("ApiVersions", 0, request.correlation_id, api_versions(Code.UNSUPPORTED_VERSION))


def api_versions(code: Code = Code.NONE) -> Reply:
    """List what is spoken."""
    keys = [
        {"api_key": REQUESTS[name].API_KEY, "min_version": lowest, "max_version": highest}
        for name, (lowest, highest) in VERSIONS.items()
    ]
    return {"error_code": code, "api_keys": keys}
