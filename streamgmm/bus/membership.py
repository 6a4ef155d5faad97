"""A member of a consumer group: what we own, where each partition started, and which offsets may be committed.

kafka-python calls the rebalance listener on its I/O thread while our thread waits inside `poll` or `close`. The
listener commits what delivery has flushed, from a locked map, and waits for nothing else. A bare `commit()` would
store positions, which a poll has moved on already, and under cooperative assignment would leave out the very
partitions that are being revoked.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from kafka import TopicPartition as KafkaTopicPartition
from kafka import errors
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.structs import MemberState

from streamgmm.bus import internals
from streamgmm.bus.client import PASSING
from streamgmm.bus.marks import Stamps
from streamgmm.records import Rebalance, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamgmm.bus.client import Client

logger = logging.getLogger(__name__)

REVOKE_SECONDS = 3.0
# The group says no, and will say so again: whoever owns the partition now reads those records again.
REFUSED = (
    errors.CommitFailedError,
    errors.RebalanceInProgressError,
    errors.UnknownMemberIdError,
    errors.IllegalGenerationError,
    *PASSING,
)


def kafkas(partitions: Iterable[TopicPartition]) -> list[Any]:
    """Make kafka-python's own kind of partition, which it insists on."""
    return [KafkaTopicPartition(*tp) for tp in partitions]


class Membership(AsyncConsumerRebalanceListener):  # type: ignore[misc] # kafka-python ships no types
    """The listener and the ledger of one consumer.

    A new partition is paused and `pending` until `settle` has said where it starts; only then is it ours and reported.
    """

    def __init__(self, consumer: Client, stamps: Stamps | None = None) -> None:
        self._consumer = consumer
        self._stamps = Stamps() if stamps is None else stamps
        self._lock = threading.Lock()
        self._pending: set[TopicPartition] = set()
        self._floor: dict[TopicPartition, int] = {}  # of what is ours: below this, nothing is committed
        self._flushed: dict[TopicPartition, int] = {}
        self._delivered: dict[TopicPartition, int] = {}  # of what was ours: flushed, and perhaps not committed
        self._happened: list[Rebalance] = []
        self._told = False  # whether anything has happened yet
        self._patience = REVOKE_SECONDS

    # On the I/O thread

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Hold new partitions until we know where they start."""
        new = [TopicPartition(*tp) for tp in assigned]
        self._consumer.pause(*kafkas(new))
        for tp in kafkas(new):
            # A position of some kind: without one kafka-python would look for it, and demand a rule for it.
            self._consumer.seek(tp, 0)
        with self._lock:
            self._pending.update(new)

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Commit what was flushed; the partitions are somebody else's from here on."""
        gone = [TopicPartition(*tp) for tp in revoked]
        due = self.due(gone)
        self._release("revoked", gone)
        if not due:
            return
        try:
            sent = self._consumer.commit_async(self._stored(due))
            await internals.wait(self._consumer, sent, self._patience * 1000)
        except errors.KafkaError as error:
            logger.warning("revoked partitions could not be committed; their records are read again: %s", error)

    async def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        """Forget partitions that others own already: committing them could take their progress back."""
        self._release("lost", [TopicPartition(*tp) for tp in lost])

    def _release(self, event: Any, gone: list[TopicPartition]) -> None:  # noqa: ANN401 - "revoked" or "lost"
        with self._lock:
            known = [tp for tp in gone if tp in self._floor]
            for tp in gone:
                self._pending.discard(tp)
                self._floor.pop(tp, None)
                if tp in self._flushed:
                    self._delivered[tp] = self._flushed.pop(tp)
            # What nobody has heard of yet need not be taken back.
            unheard = {tp for change in self._happened if change.event == "assigned" for tp in change.partitions}
            self._happened = _without(self._happened, set(known) & unheard)
            told = tuple(tp for tp in known if tp not in unheard)
            if told:
                self._happened.append(Rebalance(event, told))

    # On our thread

    def hurry(self, seconds: float) -> None:
        """Let the listener wait no longer than this for its commit: the consumer is about to be closed."""
        self._patience = min(self._patience, seconds)

    def pending(self) -> list[TopicPartition]:
        """Return the partitions that wait for `settle`."""
        with self._lock:
            return sorted(self._pending)

    def owned(self) -> list[TopicPartition]:
        """Return the partitions that are ours and have started."""
        with self._lock:
            return sorted(self._floor)

    def delivered(self, tp: TopicPartition) -> int:
        """Return up to where this process has delivered a partition that was taken from it; -1 where it never had."""
        with self._lock:
            return self._delivered.get(tp, -1)

    def settle(self, floors: Mapping[TopicPartition, int]) -> None:
        """Take over pending partitions; nothing below their floors is ever committed."""
        with self._lock:
            new = tuple(tp for tp in sorted(floors) if tp in self._pending)
            self._pending.difference_update(new)
            self._floor.update({tp: floors[tp] for tp in new})
            if new:
                self._happened.append(Rebalance("assigned", new))

    def restart(self, partitions: Iterable[TopicPartition]) -> None:
        """Let partitions that are ours start anew: their log is no longer the one that was read."""
        again = [tp for tp in partitions if tp in self.owned()]
        self._consumer.pause(*kafkas(again))
        self._release("lost", again)
        with self._lock:
            for tp in again:
                self._delivered.pop(tp, None)
            self._pending.update(again)

    def happened(self) -> list[Rebalance]:
        """Return, once, what happened since the last call.

        kafka-python calls nobody where the first share is no partition at all: a standby is told of here.
        """
        with self._lock:
            happened, self._happened = self._happened, []
            told, waits = self._told, bool(self._pending)
        if not happened and not told and not waits and self._consumer.group_metadata().state == MemberState.STABLE:
            happened = [Rebalance("assigned", ())]
        self._told = told or bool(happened)
        return happened

    def flushed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Note what delivery has flushed, as far as it is ours."""
        with self._lock:
            for tp, offset in offsets.items():
                if tp in self._floor:
                    self._flushed[tp] = max(offset, self._flushed.get(tp, -1))

    def due(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the flushed offsets of partitions that are not committed yet."""
        with self._lock:
            return {tp: self._flushed[tp] for tp in partitions if self._flushed.get(tp, -1) > self._floor.get(tp, -1)}

    def commit(self, offsets: Mapping[TopicPartition, int], seconds: float) -> bool:
        """Commit flushed offsets; False when one is no longer ours or the group refuses. Never takes an offset back."""
        self.flushed(offsets)
        with self._lock:
            ours = all(tp in self._floor for tp in offsets)
        if not ours:
            return False
        due = self.due(offsets)
        if not self.store(due, seconds):
            return False
        with self._lock:
            self._floor.update({tp: offset for tp, offset in due.items() if tp in self._floor})
        return True

    def store(self, offsets: Mapping[TopicPartition, int], seconds: float) -> bool:
        """Commit offsets as they are; False when the group refuses."""
        if not offsets:
            return True
        try:
            self._consumer.commit(self._stored(offsets), timeout_ms=int(seconds * 1000))
        except REFUSED as error:
            logger.debug("offsets were not committed: %s: %s", type(error).__name__, error)
            return False
        return True

    def _stored(self, offsets: Mapping[TopicPartition, int]) -> dict[Any, Any]:
        return {KafkaTopicPartition(*tp): self._stamps.stored_as(tp, offset) for tp, offset in offsets.items()}


def _without(changes: list[Rebalance], gone: set[TopicPartition]) -> list[Rebalance]:
    kept = [
        Rebalance(c.event, tuple(tp for tp in c.partitions if tp not in gone)) if c.event == "assigned" else c
        for c in changes
    ]
    return [change for change in kept if change.partitions]
