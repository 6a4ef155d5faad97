"""Partitions that cannot be read now: no leader, a damaged batch, an open transaction, or a topic that is gone."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from kafka import errors

from streamgmm.bus import internals, positions
from streamgmm.records import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from streamgmm.bus.client import Client
    from streamgmm.bus.damage import DamagedBatchError

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
# A partition that stands still for so long, with records behind it, may stand before an open transaction.
STANDING_SECONDS = 15.0
# Damage may be mended meanwhile: the partition is restored, or another replica leads.
RETRY_SECONDS = 30.0
ASK_SECONDS = 2.0
DAMAGE_HINT = "restore the partition, or set source.on_corrupt: skip"
WORDS = {
    "leader": "it has no leader; it is read as soon as it has one",
    "transaction": "a transaction is open; nothing behind its first record may be read before it ends",
    "silent": "the broker that leads it does not answer, while others do; it is read as soon as it answers",
    "deleted": "its topic does not exist any more; it is read from its beginning when it is there again",
}


class Held(NamedTuple):
    """A partition that a damaged batch holds up."""

    error: DamagedBatchError
    since: float


class Watch:
    """What keeps partitions from being read; looked at once a second."""

    def __init__(self, now: Callable[[], float], silent: Callable[[], Collection[object]] = frozenset) -> None:
        self._now, self._silent = now, silent
        self._looked = -LOOK_SECONDS + now()
        self._held: dict[TopicPartition, Held] = {}
        self._seen: dict[TopicPartition, int] = {}  # offsets of damage that was read once
        self._standing: dict[TopicPartition, tuple[int, float]] = {}  # next offset, since when it is that
        self._lag: Mapping[TopicPartition, int] = {}
        self._asked = now()
        self._waiting: dict[TopicPartition, str] = {}

    # Damage

    def is_first(self, error: DamagedBatchError) -> bool:
        """Return whether this damage was not met before: bytes may be spoilt on their way, once."""
        first = self._seen.get(error.partition) != error.offset
        self._seen[error.partition] = error.offset
        return first

    def hold(self, error: DamagedBatchError) -> None:
        """Hold a partition until it is tried again."""
        if error.partition not in self._held:
            logger.error("%s: a record batch is damaged; the partition is not read further: %s", error, DAMAGE_HINT)
        self._held[error.partition] = Held(error, self._now())
        self._waiting[error.partition] = "damaged"

    def holds(self, tp: TopicPartition) -> bool:
        """Return whether damage holds a partition up."""
        return tp in self._held

    def damage(self, tp: TopicPartition) -> DamagedBatchError:
        """Return what holds a partition up."""
        return self._held[tp].error

    def retried(self, owned: Iterable[TopicPartition]) -> list[TopicPartition]:
        """Return the partitions whose damage is to be looked at again now."""
        due = [tp for tp in owned if tp in self._held and self._now() - self._held[tp].since >= RETRY_SECONDS]
        for tp in due:
            # Still named while it is tried: it is let go when its offset has moved.
            self._held[tp] = self._held[tp]._replace(since=self._now())
        return due

    # Looking

    def is_due(self) -> bool:
        """Return whether it is time to look."""
        due = self._now() - self._looked >= LOOK_SECONDS
        self._looked = self._now() if due else self._looked
        return due

    def look(
        self,
        consumer: Client,
        topics: Iterable[str],
        pending: Sequence[TopicPartition],
        lag: Mapping[TopicPartition, int],
        told: Mapping[TopicPartition, int],
    ) -> None:
        """Find out which partitions wait, from what is cached; brokers are asked of those that stand still."""
        now = self._now()
        before, self._lag = self._standing, lag
        self._standing = {
            tp: before[tp] if n and before.get(tp, (-1, now))[0] == told[tp] else (told[tp], now)
            for tp, n in lag.items()
        }
        # What came before the damage may still be on its way to the loop.
        self._held = {tp: held for tp, held in self._held.items() if tp in lag and told[tp] <= held.error.offset}
        found = dict.fromkeys(self._held, "damaged")
        found |= dict.fromkeys(positions.leaderless(consumer, [*pending, *lag]), "leader")
        found |= dict.fromkeys(positions.led_by(consumer, lag, self._silent()), "silent")
        standing = [tp for tp, (_, since) in self._standing.items() if now - since >= STANDING_SECONDS]
        found |= dict.fromkeys(
            self._before_transaction(consumer, [tp for tp in standing if tp not in found]), "transaction"
        )
        found |= {TopicPartition(t, 0): "deleted" for t in topics if internals.is_gone(consumer, t)}
        if {"leader", "silent", "deleted"} & {*found.values()}:  # another broker may lead by now
            internals.refresh(consumer)
        for tp, why in found.items():
            if self._waiting.get(tp) != why and why in WORDS:
                logger.warning("%s/%d waits: %s", *tp, WORDS[why])
        self._waiting = found

    def _before_transaction(self, consumer: Client, standing: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Return those of partitions that stand where the last record lies that may be read."""
        if not standing:
            return []
        still = [tp for tp in standing if self._waiting.get(tp) == "transaction"]
        if self._now() - self._asked < STANDING_SECONDS:
            return still
        self._asked = self._now()
        try:
            ends = positions.look_up(consumer, standing, ASK_SECONDS)
        except (errors.KafkaError, KeyError):
            return still
        at, known = positions.positions(consumer, standing), positions.high_watermarks(consumer, standing)
        return [tp for tp in standing if ends[tp].end <= at.get(tp, -1) < known.get(tp, -1)]

    def behind(self, tp: TopicPartition) -> int:
        """Return how many records were left of a partition at the last look."""
        return self._lag.get(tp, 0)

    def waiting(self) -> Mapping[TopicPartition, str]:
        """Return the partitions that wait, and why."""
        return self._waiting

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Begin anew with partitions that were just assigned."""
        for tp in partitions:
            self._held.pop(tp, None)
            self._seen.pop(tp, None)
            self._waiting.pop(tp, None)
