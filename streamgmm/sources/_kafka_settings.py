"""Settings of a Kafka source, and the options that kafka-python gets for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from streamgmm.bus.behind import PARTITION_FETCH_BYTES
from streamgmm.errors import ConfigError

if TYPE_CHECKING:
    from streamgmm.bus.client import Connection

# A heartbeat is due three times in a session, but no more often than Kafka's default.
MAX_HEARTBEAT_MS = 3000


@dataclass(frozen=True, slots=True)
class KafkaSourceSettings:
    """Settings of a Kafka source.

    Attributes
    ----------
    group_instance_id
        Makes a static member: a restart within the session timeout moves no partition. One per process.
    auto_offset_reset
        Where a group starts that has never committed: earliest, latest, or none (stop). Partitions that are added
        later, and topics that are made anew, are read from their beginning.
    isolation_level
        read_committed leaves out the records of open and aborted transactions.
    on_corrupt
        What to do about a record batch that is damaged in the log: stop reading its partition until it can be read,
        or skip the batch and count its offsets.
    fetch
        How records are taken out of a fetch: whole blocks by compiled code, or one after the other by kafka-python.
        Both say the same; blocks need a kafka-python that the hook fits, and fall back to records with a warning.
    batch_rows, batch_bytes
        Bounds of one poll: records, and bytes of their keys, values and headers.
    """

    connection: Connection
    topics: tuple[str, ...]
    group_id: str = "streamgmm"
    group_instance_id: str | None = None
    auto_offset_reset: Literal["earliest", "latest", "none"] = "earliest"
    isolation_level: Literal["read_committed", "read_uncommitted"] = "read_committed"
    on_corrupt: Literal["stop", "skip"] = "stop"
    fetch: Literal["blocks", "records"] = "blocks"
    batch_rows: int = 10_000
    batch_bytes: int = 16 << 20
    session_timeout_ms: int = 45_000
    max_poll_interval_ms: int = 300_000

    def __post_init__(self) -> None:
        if not self.topics:
            raise ConfigError("source: no topic is named")
        if self.batch_rows < 1 or self.batch_bytes < 1:
            raise ConfigError("source: batch_rows and batch_bytes must be at least 1")


def client_options(settings: KafkaSourceSettings) -> dict[str, object]:
    """Return kafka-python's keyword arguments; the user's `client` section wins where both speak."""
    chosen: dict[str, object] = {
        "session_timeout_ms": settings.session_timeout_ms,
        "max_poll_interval_ms": settings.max_poll_interval_ms,
        "allow_auto_create_topics": False,
        "max_partition_fetch_bytes": PARTITION_FETCH_BYTES,
    }
    chosen |= {name: value for name, value in settings.connection.client.items() if name in chosen}
    session = int(str(chosen["session_timeout_ms"]))
    chosen.setdefault("heartbeat_interval_ms", settings.connection.client.get(
        "heartbeat_interval_ms", min(MAX_HEARTBEAT_MS, session // 3)
    ))  # fmt: skip
    return chosen | {
        "group_id": settings.group_id,
        "group_instance_id": settings.group_instance_id,
        "enable_auto_commit": False,
        # Where a partition goes on is decided here: kafka-python would pass over records without a word.
        "auto_offset_reset": "none",
        "isolation_level": settings.isolation_level,
        "partition_assignment_strategy": [CooperativeStickyAssignor],
    }
