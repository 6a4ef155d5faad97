"""A consumer group's share of Kafka topics.

Offsets are committed only when delivery says so; partitions start where the group stands, or a little before it where a
snapshot has rows to learn again (`start_at`).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka import errors

from streamgmm.bus import client, damage, decompression, hook, internals, positions
from streamgmm.bus.answers import Answers
from streamgmm.bus.behind import PARTITION_FETCH_BYTES, Behind, fetch_bytes
from streamgmm.bus.blocks import BlockCarry
from streamgmm.bus.client import PASSING
from streamgmm.bus.marks import NO_EPOCH, Mark, Stamps, epochs_of
from streamgmm.bus.membership import Membership, kafkas
from streamgmm.bus.one_by_one import RecordCarry
from streamgmm.bus.rehearsal import fits_here
from streamgmm.bus.rejoin import finish_join
from streamgmm.bus.watch import DAMAGE_HINT, Watch
from streamgmm.errors import RetryableError, StopError, StreamgmmError
from streamgmm.records import RecordBatch, TopicPartition
from streamgmm.sources import COMMIT_TIMEOUT, Resume, is_same
from streamgmm.sources._kafka_settings import KafkaSourceSettings, client_options
from streamgmm.sources._kafka_starting import Found, Move, begin, partitions_at_first

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from streamgmm.bus.client import Client
    from streamgmm.bus.positions import Ends
    from streamgmm.records import Contact, Event, Position, Rebalance
    from streamgmm.sources import Start

__all__ = ["KafkaSource", "KafkaSourceSettings", "build"]

logger = logging.getLogger(__name__)

LOOK_UP_SECONDS = 5.0
JOIN_SECONDS = 3.0  # a join lasts no longer, as a rule
# Rebalances wait for a poll of the consumer, and a fetch may last for many turns of the loop.
LONGEST_SILENCE = 0.25


def build(settings: KafkaSourceSettings, *, now: Callable[[], float]) -> KafkaSource:
    """Return a source that connects when it is started. `now` is monotonic, in seconds."""
    return KafkaSource(settings, now)


class KafkaSource:
    """Source over a kafka-python consumer.

    Attributes
    ----------
    hooked
        Whether fetches arrive as whole blocks; known from `start` on.
    """

    def __init__(self, settings: KafkaSourceSettings, now: Callable[[], float]) -> None:
        self._settings = settings
        self._now = now
        self._consumer: Client = None
        self._members: Membership | None = None
        self._resume = Resume({}, 0)
        self._covered: dict[TopicPartition, Position] = {}
        self._stamps = Stamps()
        self._topics: dict[str, str] = {}  # topics that were read before, here or by a snapshot → their ids
        self._events: list[Event] = []
        self._carry: BlockCarry | RecordCarry = RecordCarry()
        self._behind = Behind()
        self._starts: dict[TopicPartition, Start] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._told: dict[TopicPartition, int] = {}
        self._paused = False
        self._answers = Answers(now)
        self._watch = Watch(now, self._answers.silent)
        self._fetched_at = now()
        self.hooked = False

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
        self._resume, self._covered = resume, dict(resume.covered)
        self._topics = {tp.topic: position.identity for tp, position in resume.covered.items()}
        fits = self._settings.fetch == "blocks" and fits_here()
        self._consumer = client.consumer(self._settings.connection, **client_options(self._settings))
        self.hooked = fits and hook.hook(self._consumer)
        if not self.hooked:
            damage.raise_again(self._consumer)
        decompression.limit(self._settings.batch_bytes)
        self._carry = BlockCarry() if self.hooked else RecordCarry()
        self._answers.listen(self._consumer)
        with client.translated("subscribing"):
            absent = positions.missing(self._consumer, self._settings.topics)
            if absent:
                self.close(0.0)
                raise RetryableError(
                    f"topic {', '.join(absent)} does not exist, or this user may not describe it",
                    hint="create it first: the source does not create topics",
                )
            self._members = Membership(self._consumer, self._stamps)
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

        Every partition that is behind gives some, so nothing is handed over while the records of one are on their way.

        Raises
        ------
        StopError
            A lost right, a fenced instance.
        """
        if self._consumer is None:
            return RecordBatch.empty()
        missing = self._missing()
        if self._paused or missing or not self._carry:
            self._fetch_missing(missing, timeout)
        elif self._now() - self._fetched_at >= LONGEST_SILENCE:
            self._show_up()
        members = self._group()
        self._look_around(members)
        self._settle(members)
        owned = members.owned()
        if self._paused or not self._readable():
            # Nothing is fetched: paused, a standby without a partition, or damage holds up all of them.
            self._answers.ask(self._consumer, owned if self._paused else ())
        if self._paused:
            return RecordBatch.empty()
        batch = RecordBatch.empty() if self._missing() else self._take()
        next_offsets = positions.ahead(self._next_offsets(owned), self._told)
        self._told = {tp: offset for tp, offset in (self._told | next_offsets).items() if tp in self._starts}
        return replace(batch, next_offsets=next_offsets, more=self._more(batch))

    def give_back(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Take back, from these offsets on, what the last poll handed over."""
        self._carry.give_back(offsets)
        self._told |= offsets

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

    def _unfetched(self) -> dict[TopicPartition, int]:
        """Return how many records of each partition are known to be at the broker and were not fetched."""
        owned = self._group().owned()
        if len(owned) == 1:
            return {}  # there is nothing to merge it with
        ends = positions.high_watermarks(self._consumer, owned)
        at = positions.positions(self._consumer, self._readable())
        return {tp: ends.get(tp, self._ends[tp]) - offset for tp, offset in at.items()}

    def _missing(self) -> set[TopicPartition]:
        """Return the partitions whose records are to be waited for."""
        return set() if self._paused else self._behind.missing(self._unfetched(), self._carry.first_offsets())

    def _more(self, batch: RecordBatch) -> list[TopicPartition]:
        """Return the partitions of a batch of which more is known to be there, those that are not waited for aside."""
        left = self._carry.first_offsets()
        self._behind.gave(left)
        more = left.keys() | self._behind.missing(self._unfetched(), left)
        return [tp for tp in batch.partitions if tp in more]

    def _troubled(self, words: str, *values: object) -> None:
        """Log what went wrong and is tried again; not while brokers are away, which is told by itself."""
        logger.log(logging.WARNING if self._answers.recent else logging.DEBUG, words, *values)

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
            self._let_fetch(())

    def _readable(self) -> list[TopicPartition]:
        return [tp for tp in self._group().owned() if not self._watch.holds(tp)]

    def _let_fetch(self, full: Collection[TopicPartition]) -> None:
        """Fetch nothing more of partitions of which some is at hand: memory stays bounded."""
        self._consumer.pause(*kafkas(full))
        self._consumer.resume(*kafkas(tp for tp in self._readable() if tp not in full))

    def _fetch_missing(self, missing: set[TopicPartition], timeout: float) -> None:
        if not self._paused:
            self._let_fetch(self._carry.first_offsets().keys())
        begun = self._now()
        self._answers.wait(self._fetch, timeout)
        self._behind.waited(missing.intersection(self._missing()), self._now() - begun)

    def _fetch(self, timeout: float) -> None:
        """Poll the consumer: rebalances happen in here, and what is no longer ours is dropped."""
        self._fetched_at = self._now()
        parts = max(len(self._group().owned()), 1)
        wanted = self._carry.wanted(-(-self._settings.batch_rows // parts), -(-self._settings.batch_bytes // parts))
        fetched: Mapping[object, list[Any]] = {}
        if not finish_join(self._consumer) and not self._group().owned():
            timeout = max(timeout, JOIN_SECONDS)
        internals.unpark(self._consumer)
        try:
            fetched = self._consumer.poll(timeout_ms=int(timeout * 1000), max_records=wanted)
        except damage.DamagedBatchError as error:
            self._damaged(error)
        except errors.OffsetOutOfRangeError as error:
            self._out_of_range([TopicPartition(*tp) for tp in error.args[0]])
        except errors.LogTruncationError as error:
            self._restart([TopicPartition(*tp) for tp in error.divergent_offsets])
        except errors.NoOffsetForPartitionError as error:
            logger.debug("poll: %s: it gets its position when it is settled", error)
        except PASSING as error:
            self._troubled("poll: %s: %s", type(error).__name__, error)
        except errors.KafkaError as error:
            raise client.translate(error, "poll") from error
        self._note_epochs(fetched)
        self._carry.put(fetched)
        owned = set(self._group().owned())
        self._carry.drop(tp for tp in self._carry.first_offsets() if tp not in owned)

    def _note_epochs(self, fetched: Mapping[Any, Sequence[Any]]) -> None:
        for asked, items in fetched.items():
            tp = TopicPartition(*asked)
            self._stamps.note(tp, epochs_of(items))
            at = internals.position(self._consumer, asked)
            if at is not None and at.leader_epoch >= 0:
                # Markers and aborted records are not handed over, and have an epoch as well.
                self._stamps.note(tp, [(at.offset - 1, at.leader_epoch)])

    def _damaged(self, error: damage.DamagedBatchError) -> None:
        """Read a damaged batch again, for it may be whole elsewhere; then skip it, or hold its partition."""
        tp = error.partition
        error.drop()
        self._consumer.seek(*kafkas([tp]), error.offset)
        if self._watch.is_first(error):
            return
        if self._settings.on_corrupt == "stop":
            self._watch.hold(error)
            self._consumer.pause(*kafkas([tp]))
            return
        end = positions.high_watermarks(self._consumer, [tp]).get(tp, error.next_offset)
        after = max(min(error.next_offset, end), error.offset + 1)
        why = f"skipped, for the batch is damaged: {error}"
        self._events.append(Move("corrupt", error.offset, after, after - error.offset, why).event(tp))
        self._consumer.seek(*kafkas([tp]), after)

    def _out_of_range(self, partitions: Sequence[TopicPartition]) -> None:
        """Go on where the log begins now; what was not read before it was deleted is counted."""
        try:
            ends = positions.look_up(self._consumer, partitions, LOOK_UP_SECONDS)
        except PASSING as error:
            logger.warning("the first offsets of %d partitions are unknown: %s; trying again", len(partitions), error)
            return
        at = positions.positions(self._consumer, partitions)
        for tp, offset in at.items():
            if offset < ends[tp].first:
                why = "deleted before they were read: by the topic's retention, or by hand"
                move = Move("retention", offset, ends[tp].first, ends[tp].first - offset, why)
                self._events.append(move.event(tp))
                self._consumer.seek(*kafkas([tp]), ends[tp].first)
            elif offset > ends[tp].end:
                self._restart([tp])

    def _restart(self, partitions: Sequence[TopicPartition]) -> None:
        """Start partitions anew, from where the group stands: their log is no longer the one that was read."""
        self._carry.drop(partitions)
        self._group().restart(partitions)

    def _look_around(self, members: Membership) -> None:
        """Look now and then for what no fetch tells: topics that were made anew, partitions that wait."""
        if not self._watch.is_due():
            return
        owned = members.owned()
        self._watch.look(self._consumer, self._settings.topics, members.pending(), self.lag(), self._told)
        if not self._paused:
            self._consumer.resume(*kafkas([*self._readable(), *self._watch.retried(owned)]))
        other = [
            tp
            for tp in owned
            if tp in self._starts
            and not is_same(self._starts[tp].identity, internals.topic_id(self._consumer, tp.topic))
        ]
        for tp in other:
            left = self._watch.behind(tp)
            if left:
                why = "the topic was deleted with these records unread"
                self._events.append(Move("recreated", self._told.get(tp, -1), 0, left, why).event(tp))
        if other:
            self._restart(other)

    def _next_offsets(self, owned: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Return what may be committed once all that was handed over is flushed: never past a carried record."""
        return positions.positions(self._consumer, owned) | {
            tp: offset for tp, offset in self._carry.first_offsets().items() if tp in self._starts
        }

    # The group

    def _settle(self, members: Membership) -> None:
        """Find out where new partitions start, make that durable, and let them go on."""
        leaderless = positions.leaderless(self._consumer, members.pending())
        new = [tp for tp in members.pending() if tp not in leaderless]
        if not new:
            return
        try:
            begun = self._begin(new)
        except (*PASSING, KeyError) as error:
            # kafka-python answers with a KeyError when a leader goes while it is asked.
            self._troubled("looking up where %d partitions start: %r; trying again", len(new), error)
            return
        except errors.KafkaError as error:
            raise client.translate(error, "looking up offsets") from error
        if not begun:
            return
        for tp, (start, ends, move) in begun.items():
            # The snapshot speaks of the first assignment; a partition that comes back starts where the group is.
            self._covered.pop(tp, None)
            self._topics[tp.topic] = start.identity
            self._starts[tp], self._ends[tp] = start, ends.end
            self._told[tp] = start.offset
            self._events += [] if move is None else [move.event(tp)]
        if not self._paused:
            self._consumer.resume(*kafkas(begun))
        most = self._settings.connection.client.get("max_partition_fetch_bytes", PARTITION_FETCH_BYTES)
        internals.limit_fetches(self._consumer, fetch_bytes(len(begun) + len(members.owned()), int(str(most))))
        self._watch.forget(begun)
        self._behind.gave(begun)
        members.settle({tp: self._starts[tp].muted_until for tp in begun})
        self._starts = {tp: self._starts[tp] for tp in members.owned()}

    def _begin(self, new: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[Start, Ends, Move | None]]:
        """Return where partitions start; none at all while the group does not take that."""
        topics = {tp.topic: internals.topic_id(self._consumer, tp.topic) for tp in new}
        stored = positions.commits(self._consumer, topics, LOOK_UP_SECONDS)
        ends = positions.look_up(self._consumer, new, LOOK_UP_SECONDS)
        lost = positions.diverged(self._consumer, stored, ends, LOOK_UP_SECONDS)
        begun, due = {}, {}
        for tp in new:
            identity, one = topics[tp.topic], stored.get(tp)
            count = len(self._consumer.partitions_for_topic(tp.topic) or ())
            at_first = partitions_at_first(tp.topic, count, identity, stored, known=tp.topic in self._topics)
            later = tp.partition >= at_first
            before = self._topics.get(tp.topic, "")
            done = self._group().delivered(tp)
            found = Found(one, self._covered.get(tp), ends[tp], identity, before, lost.get(tp), later, done)
            start, move = begin(found, partial(self._reset, tp), self._resume.max_replay)
            begun[tp] = start, ends[tp], move
            same = one is not None and one.offset == start.muted_until
            epoch = one.epoch if one is not None and same else NO_EPOCH
            self._stamps.begin(tp, Mark(identity, at_first), start.muted_until, epoch)
            if not same:
                due[tp] = start.muted_until
            replays = start.offset != start.muted_until
            internals.seek(self._consumer, kafkas([tp])[0], start.offset, NO_EPOCH if replays else epoch)
        if self._resume.durable and not self._group().store(due, LOOK_UP_SECONDS):
            logger.info("the start offsets of %d partitions could not be stored; trying again", len(due))
            return {}
        return begun

    def _reset(self, tp: TopicPartition, ends: Ends) -> int:
        if self._settings.auto_offset_reset == "none":
            raise StopError(
                f"group {self._settings.group_id} has no offset for {tp.topic}/{tp.partition}",
                hint="set source.auto_offset_reset to earliest or latest",
            )
        return ends.first if self._settings.auto_offset_reset == "earliest" else ends.end

    def rebalances(self) -> list[Rebalance]:
        """Return, once, what happened to the assignment since the last call."""
        return self._members.happened() if self._members is not None else []

    def events(self) -> list[Event]:
        """Return, once, which positions have jumped."""
        happened, self._events = self._events, []
        return happened

    def waiting(self) -> Mapping[TopicPartition, str]:
        """Return the partitions that cannot be read now, and why."""
        return self._watch.waiting()

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
        self._answers.ends.clear()
        self._let_fetch(self._carry.first_offsets().keys())

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return the records still to hand over, by the ends that fetches, or questions while paused, brought along."""
        if self._consumer is None:
            return {}
        owned = self._group().owned()
        ends = positions.high_watermarks(self._consumer, owned) | self._answers.ends
        return {tp: max(0, ends.get(tp, self._ends[tp]) - self._told[tp]) for tp in owned if tp in self._told}

    def contact(self) -> Contact:
        """Return whether brokers answer."""
        return self._answers.contact()

    def at_end(self) -> bool:
        """Return whether every assigned partition was handed over up to the end seen when it was assigned.

        Raises
        ------
        StopError
            Nothing is left but partitions that a damaged batch holds up.
        """
        members = self._group()
        owned = members.owned()
        if members.pending() or not owned:
            return False
        left = [tp for tp in owned if self._told.get(tp, -1) < self._ends[tp]]
        if left and all(self._watch.holds(tp) for tp in left):
            raise StopError(f"damaged record batch at {self._watch.damage(left[0])}", hint=DAMAGE_HINT)
        return not left
