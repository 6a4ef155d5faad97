"""Where a partition of a topic starts: decided from what the group, the snapshot and the brokers say."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streamgmm.records import Event
from streamgmm.sources import Start, is_same, start_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamgmm.bus.marks import Committed
    from streamgmm.bus.positions import Ends
    from streamgmm.records import Position, TopicPartition


class Move(NamedTuple):
    """A position that jumps: `reason` is one of records.MOVES, `records` how many were passed over or lost."""

    reason: str
    origin: int
    to: int
    records: int
    why: str

    def event(self, tp: TopicPartition) -> Event:
        """Return it for log, metrics and status."""
        where = {"topic": tp.topic, "partition": tp.partition, "from": self.origin, "to": self.to}
        return Event("position_moved", {"reason": self.reason}, {**where, "records": self.records, "why": self.why})


class Found(NamedTuple):
    """What is known of one partition before it is read.

    Attributes
    ----------
    committed, covered
        Where the group and the snapshot stand.
    ends
        What the broker has.
    identity
        The id of the topic.
    before
        The id of the topic of that name that was read before, here or by the snapshot; empty where none was.
    diverged
        From where on brokers have lost what the group has read; None where they have not.
    later
        Whether the partition came after the group had begun to read: its first record is new then.
    delivered
        Up to where this process has delivered it before it lost the partition; -1 where it never had it.
    """

    committed: Committed | None
    covered: Position | None
    ends: Ends
    identity: str
    before: str
    diverged: int | None
    later: bool
    delivered: int = -1


def begin(found: Found, reset: Callable[[Ends], int], max_replay: int) -> tuple[Start, Move | None]:
    """Return where a partition starts, and the jump that this is, if it is one.

    `reset` says where a group starts that has no offset.
    """
    committed, covered, identity = found.committed, found.covered, found.identity
    first, end = found.ends
    is_other = not is_same(found.before, identity)
    if committed is not None and committed.mark is not None and not is_same(committed.mark.identity, identity):
        committed, is_other = None, True
    if covered is not None and not is_same(covered.identity, identity):
        covered = None
    if committed is not None:
        return _go_on(found._replace(committed=committed, covered=covered), committed, reset, max_replay)
    if is_other:
        why = "another topic has that name now; it is read from its beginning"
        return _at(first, identity), Move("recreated", -1, first, 0, why)
    if covered is not None and first <= covered.offset <= end:
        # The group forgot, the snapshot did not: all before it had been committed.
        why = "the group has no offset any more; the snapshot's holds. To begin anew, empty state.dir as well"
        return Start(covered.offset, covered.row, covered.offset, 0, identity), Move(
            "group", -1, covered.offset, 0, why
        )
    return _at(first if found.later else reset(found.ends), identity), None


def _go_on(found: Found, stored: Committed, reset: Callable[[Ends], int], max_replay: int) -> tuple[Start, Move | None]:
    """Return where a partition starts whose group has an offset."""
    first, end = found.ends
    offset, move = stored.offset, None
    if found.diverged is not None and found.diverged < offset:
        why = "the brokers have lost these records: an unclean election, or a disk; what stands there now is read"
        move = Move("truncated", offset, found.diverged, offset - found.diverged, why)
        offset = found.diverged
    if offset < first:
        why = "deleted before they were read: by the topic's retention, or by hand"
        return _at(first, found.identity), Move("retention", offset, first, first - offset, why)
    if offset > end:
        to = reset(found.ends)
        why = "the topic ends before the committed offset: the brokers have lost records"
        return _at(to, found.identity), Move("truncated", offset, to, offset - end, why)
    covered = found.covered
    if stored.mark is None and covered is not None and covered.offset != offset:
        why = "somebody else has set the group's offset"
        return _at(offset, found.identity), Move("group", covered.offset, offset, max(0, offset - covered.offset), why)
    if stored.mark is not None and move is None and offset < found.delivered <= end:
        # The membership was lost before these were committed: nothing is to be read, or learnt, a second time.
        return _at(found.delivered, found.identity), None
    start = start_at(covered, offset, max_replay, found.identity)
    if start.offset < first:
        start = Start(first, 0, start.muted_until, first - start.offset, found.identity)
    return start, move


def _at(offset: int, identity: str) -> Start:
    return Start(offset, 0, offset, 0, identity)


def partitions_at_first(
    topic: str, count: int, identity: str, stored: Mapping[TopicPartition, Committed], *, known: bool
) -> int:
    """Return how many partitions a topic had when the group began; 0 where it began with another topic of that name.

    Parameters
    ----------
    count
        Partitions that there are now.
    stored
        What the group has committed, for any partition.
    known
        Whether a snapshot, or this process, has read the topic, or one of that name, before.
    """
    mine = [one for tp, one in stored.items() if tp.topic == topic]
    counts = [one.mark.partitions for one in mine if one.mark is not None and is_same(one.mark.identity, identity)]
    if counts:
        return max(counts)
    return 0 if mine or known else count
