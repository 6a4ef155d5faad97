"""Partitions whose records are known to be at the broker: which of them a poll should wait for, and for how long.

Rows of several partitions are merged by event time, so a poll wants records of every partition that has any. One that
gives nothing (no leader, a broker that hangs, a transaction that stays open) must not stop the others: it is waited for
once, and then only when it has shown that it gives more than one poll takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from streamgmm.records import TopicPartition

PATIENCE = 2.0
# Larger than Kafka's default: a fetch costs much the same whatever it brings. Of each partition one is at hand and
# another one on its way; where there are many partitions each gets less.
PARTITION_FETCH_BYTES = 4 << 20
FETCHED_BYTES = 64 << 20
SMALLEST_FETCH_BYTES = 128 << 10


class Behind:
    """What each partition is waited for.

    Attributes
    ----------
    silent
        Partitions that are waited for no more.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self.silent: set[TopicPartition] = set()
        self._patience = patience
        self._waited: dict[TopicPartition, float] = {}

    def missing(self, lag: Mapping[TopicPartition, int], at_hand: Collection[TopicPartition]) -> set[TopicPartition]:
        """Return the partitions to wait for: those with records at the broker (`lag`) and none at hand."""
        return {tp for tp, n in lag.items() if n > 0 and tp not in at_hand and tp not in self.silent}

    def waited(self, missing: Collection[TopicPartition], seconds: float) -> None:
        """Note that a poll has waited for these, in vain."""
        self._waited = {tp: self._waited.get(tp, 0.0) + seconds for tp in missing}
        self.silent.update(tp for tp, waited in self._waited.items() if waited >= self._patience)

    def gave(self, left: Collection[TopicPartition]) -> None:
        """Note which partitions gave more than was taken of them, or are new: those may be waited for again."""
        self.silent.difference_update(left)


def fetch_bytes(partitions: int, most: int) -> int:
    """Return how many bytes one fetch may bring of each of so many partitions, `most` at most: all are kept at hand."""
    return min(max(FETCHED_BYTES // max(partitions, 1), SMALLEST_FETCH_BYTES), most)
