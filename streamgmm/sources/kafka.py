"""A consumer group's share of Kafka topics.

Offsets are committed only when delivery says so; partitions start where the group stands, or a little before it where a
snapshot has rows to learn again (`start_at`).
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from kafka import errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from streamgmm.bus import client, damage, hook, positions
from streamgmm.bus.blocks import BlockCarry
from streamgmm.bus.membership import Membership, kafkas
from streamgmm.bus.one_by_one import RecordCarry
from streamgmm.bus.rehearsal import misfit
from streamgmm.bus.rejoin import finish_join
from streamgmm.errors import ConfigError, RetryableError, StopError, StreamgmmError
from streamgmm.records import RecordBatch
from streamgmm.sources import COMMIT_TIMEOUT, Resume, Start, start_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamgmm.bus.client import Client, Connection
    from streamgmm.bus.positions import Standing
    from streamgmm.records import Position, Rebalance, TopicPartition

logger = logging.getLogger(__name__)

LOOK_UP_SECONDS = 5.0
# A heartbeat is due three times in a session, but no more often than Kafka's default.
MAX_HEARTBEAT_MS = 3000
# Rebalances wait for a poll of the consumer, and a fetch may last for many turns of the loop.
LONGEST_SILENCE = 0.25
# Larger than Kafka's default: a fetch costs much the same whatever it brings.
PARTITION_FETCH_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class KafkaSourceSettings:
    """Settings of a Kafka source.

    Attributes
    ----------
    group_instance_id
        Makes a static member: a restart within the session timeout moves no partition. One per process.
    auto_offset_reset
        Where a group starts that has never committed, or whose offsets are gone: earliest, latest, or none (stop).
    isolation_level
        read_committed leaves out the records of open and aborted transactions.
    on_corrupt
        What to do about a record batch that is damaged in the log: stop, or skip it and count.
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


def build(settings: KafkaSourceSettings, *, now: Callable[[], float]) -> KafkaSource:
    """Return a source that connects when it is started. `now` is monotonic, in seconds."""
    return KafkaSource(settings, now)


class KafkaSource:
    """Source over a kafka-python consumer.

    Attributes
    ----------
    hooked
        Whether fetches arrive as whole blocks; known from `start` on.
    corrupt_skipped
        Damaged batches that were skipped, by partition.
    """

    def __init__(self, settings: KafkaSourceSettings, now: Callable[[], float]) -> None:
        self._settings = settings
        self._now = now
        self._consumer: Client = None
        self._members: Membership | None = None
        self._covered: dict[TopicPartition, Position] = {}
        self._max_replay = 0
        self._carry: BlockCarry | RecordCarry = RecordCarry()
        self._starts: dict[TopicPartition, Start] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._told: dict[TopicPartition, int] = {}
        self._paused = False
        self._fetched_at = now()
        self.hooked = False
        self.corrupt_skipped: Counter[TopicPartition] = Counter()

    # Life

    def start(self, resume: Resume) -> None:
        """Connect and subscribe.

        Raises
        ------
        RetryableError
            No broker answers, or a topic does not exist (yet).
        ConfigError
            The brokers refuse us for good: credentials, certificates.
        """
        self._covered, self._max_replay = dict(resume.covered), resume.max_replay
        self.hooked = self._settings.fetch == "blocks" and _fits()
        self._consumer = client.consumer(self._settings.connection, **_options(self._settings))
        self._carry = BlockCarry() if self.hooked else RecordCarry()
        (hook.hook if self.hooked else damage.raise_again)(self._consumer)
        with client.translated("subscribing"):
            absent = positions.missing(self._consumer, self._settings.topics)
            if absent:
                self.close(0.0)
                raise RetryableError(
                    f"topic {', '.join(absent)} does not exist, or this user may not describe it",
                    hint="create it first: the source never does",
                )
            self._members = Membership(self._consumer)
            self._consumer.subscribe(list(self._settings.topics), listener=self._members)

    def close(self, timeout: float) -> None:
        """Commit what was flushed, leave the group (static members stay) and close; safe to call twice."""
        deadline = self._now() + timeout
        if self._consumer is None:
            return
        self._commit_rest(deadline - timeout / 2)
        consumer, self._consumer = self._consumer, None
        left = max(0.0, deadline - self._now())
        if self._members is not None:
            self._members.hurry(left)
        client.call_with_budget(consumer.close, autocommit=False, timeout_ms=int(left * 1000))

    def _commit_rest(self, deadline: float) -> None:
        """Commit what is flushed and not committed yet; a group that rebalances takes it only when it has done so."""
        members = self._members
        if members is None:
            return
        self._paused = True
        try:
            self._consumer.pause(*self._consumer.assignment())
            while due := members.due(members.owned()):
                left = deadline - self._now()
                if left <= 0 or members.commit(due, left):
                    return
                self._fetch(min(0.1, left))
        except (errors.KafkaError, StreamgmmError) as error:
            logger.warning("closing: flushed offsets were not committed, they are read again: %s", error)

    # Reading

    def poll(self, timeout: float) -> RecordBatch:
        """Return the next records, waiting up to `timeout` seconds; empty while paused.

        Raises
        ------
        StopError
            A damaged batch (unless it is skipped), a lost right, a fenced instance, offsets that are gone.
        """
        if self._consumer is None:
            return RecordBatch.empty()
        if self._paused or not self._carry:
            self._fetch(timeout)
        elif self._now() - self._fetched_at >= LONGEST_SILENCE:
            self._show_up()
        members = self._group()
        self._settle(members)
        owned = members.owned()
        if self._paused:
            return RecordBatch.empty()
        batch = self._take()
        next_offsets = positions.ahead(self._next_offsets(owned), self._told)
        self._told = {tp: offset for tp, offset in (self._told | next_offsets).items() if tp in self._starts}
        return replace(batch, next_offsets=next_offsets)

    def _take(self) -> RecordBatch:
        try:
            return self._carry.take(self._settings.batch_rows, self._settings.batch_bytes)
        except damage.DamagedBatchError as error:
            self._damaged(error)
            # What follows the damage is fetched again.
            self._carry.drop([error.partition])
            return RecordBatch.empty()
        except errors.KafkaError as error:
            raise client.translate(error, "reading a fetch") from error

    def _group(self) -> Membership:
        if self._members is None:
            raise StopError("the Kafka source was not started")
        return self._members

    def _show_up(self) -> None:
        """Poll the consumer for the group's sake, while what it fetched last is not used up, and take nothing more."""
        self._consumer.pause(*self._consumer.assignment())
        try:
            self._fetch(0.0)
        finally:
            self._consumer.resume(*kafkas(self._group().owned()))

    def _fetch(self, timeout: float) -> None:
        """Poll the consumer: rebalances happen in here, and what is no longer ours is dropped."""
        self._fetched_at = self._now()
        wanted = self._carry.wanted(self._settings.batch_rows, self._settings.batch_bytes)
        fetched: Mapping[object, list[Any]] = {}
        finish_join(self._consumer)
        try:
            fetched = self._consumer.poll(timeout_ms=int(timeout * 1000), max_records=wanted)
        except damage.DamagedBatchError as error:
            self._damaged(error)
        except errors.RetriableError as error:
            logger.warning("poll: %s: %s", type(error).__name__, error)
        except errors.KafkaError as error:
            raise client.translate(error, "poll") from error
        self._carry.put(fetched)
        owned = set(self._group().owned())
        self._carry.drop(tp for tp in self._carry.first_offsets() if tp not in owned)

    def _damaged(self, error: damage.DamagedBatchError) -> None:
        if self._settings.on_corrupt == "stop":
            raise StopError(
                f"damaged record batch at {error}", hint="restore the partition, or set source.on_corrupt: skip"
            ) from error
        tp = error.partition
        end = positions.high_watermarks(self._consumer, [tp]).get(tp, error.next_offset)
        after = max(min(error.next_offset, end), error.offset + 1)
        self.corrupt_skipped[tp] += 1
        logger.error("skipping damaged record batch at %s, going on at offset %d", error, after)
        self._consumer.seek(*kafkas([tp]), after)

    def _next_offsets(self, owned: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Return what may be committed once all that was handed over is flushed: never past a carried record."""
        return positions.positions(self._consumer, owned) | {
            tp: offset for tp, offset in self._carry.first_offsets().items() if tp in self._starts
        }

    # The group

    def _settle(self, members: Membership) -> None:
        """Find out where new partitions start, and let them go on."""
        new = members.pending()
        if not new:
            return
        try:
            standings = positions.look_up(self._consumer, new, LOOK_UP_SECONDS)
        except errors.RetriableError as error:
            logger.warning("looking up where %d partitions start: %s; trying again", len(new), error)
            return
        except errors.KafkaError as error:
            raise client.translate(error, "looking up offsets") from error
        for tp, standing in standings.items():
            # The snapshot speaks of the first assignment; a partition that comes back starts where the group is.
            start = self._start(tp, standing, self._covered.pop(tp, None))
            self._starts[tp], self._ends[tp] = start, standing.end
            self._told[tp] = start.offset
            self._consumer.seek(*kafkas([tp]), start.offset)
        if not self._paused:
            self._consumer.resume(*kafkas(new))
        members.settle({tp: self._starts[tp].muted_until for tp in new})
        self._starts = {tp: self._starts[tp] for tp in members.owned()}

    def _start(self, tp: TopicPartition, standing: Standing, covered: Position | None) -> Start:
        committed = standing.committed
        if committed is not None and not standing.first <= committed <= standing.end:
            logger.warning("%s: committed offset %d is gone (%d to %d are there)", tp, committed, *standing[1:])
            committed = None
        if committed is None and covered is not None and standing.first <= covered.offset <= standing.end:
            # The group forgot, the snapshot did not: all before it had been committed.
            return Start(covered.offset, covered.row, covered.offset, 0)
        if committed is None:
            offset = self._reset(tp, standing)
            return Start(offset, 0, offset, 0)
        start = start_at(covered, committed, self._max_replay)
        if start.offset < standing.first:
            return Start(standing.first, 0, start.muted_until, standing.first - start.offset)
        return start

    def _reset(self, tp: TopicPartition, standing: Standing) -> int:
        if self._settings.auto_offset_reset == "none":
            raise StopError(
                f"group {self._settings.group_id} has no offset for {tp.topic}/{tp.partition}",
                hint="set source.auto_offset_reset to earliest or latest",
            )
        return standing.first if self._settings.auto_offset_reset == "earliest" else standing.end

    def rebalances(self) -> list[Rebalance]:
        """Return, once, what happened to the assignment since the last call."""
        return self._members.happened() if self._members is not None else []

    def starts(self) -> Mapping[TopicPartition, Start]:
        """Return where each assigned partition started."""
        return dict(self._starts)

    def flushed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Note what delivery has flushed; it is committed when the partition is revoked or the source closes."""
        self._group().flushed(offsets)

    def commit(self, offsets: Mapping[TopicPartition, int], timeout: float = COMMIT_TIMEOUT) -> bool:
        """Store flushed offsets; False when one is not ours any more, or the group did not take them (yet)."""
        if self._consumer is None:
            return False
        try:
            return self._group().commit(offsets, timeout)
        except errors.KafkaError as error:
            raise client.translate(error, "commit") from error

    # Standing still

    def pause(self) -> None:
        """Stop fetching; polls keep us in the group."""
        self._paused = True
        self._consumer.pause(*self._consumer.assignment())

    def resume(self) -> None:
        """Fetch again."""
        self._paused = False
        self._consumer.resume(*kafkas(self._group().owned()))

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return the records still to hand over, by the high watermarks that the last fetches brought along."""
        if self._consumer is None:
            return {}
        owned = self._group().owned()
        ends = positions.high_watermarks(self._consumer, owned)
        return {tp: max(0, ends.get(tp, self._ends[tp]) - self._told[tp]) for tp in owned if tp in self._told}

    def at_end(self) -> bool:
        """Return whether every assigned partition was handed over up to the end seen when it was assigned."""
        members = self._group()
        owned = members.owned()
        if members.pending() or not owned:
            return False
        return all(self._told.get(tp, -1) >= self._ends[tp] for tp in owned)


def _fits() -> bool:
    """Return whether the hook fits the installed kafka-python; the faster receive path goes with it."""
    reason = misfit()
    if reason:
        logger.warning("records are read one by one, at a fraction of the speed: %s", reason)
        return False
    hook.hasten()
    return True


def _options(settings: KafkaSourceSettings) -> dict[str, object]:
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
        "auto_offset_reset": settings.auto_offset_reset,
        "isolation_level": settings.isolation_level,
        "partition_assignment_strategy": [CooperativeStickyAssignor],
    }
