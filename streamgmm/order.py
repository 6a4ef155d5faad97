"""Rows of several partitions in the order of their event times, as far as they are at hand.

A backlog arrives partition by partition, and partitions hold different keys: taken as it comes it looks like a stream
that changes again and again. So the records of a block are merged by event time. Where a partition has more to come,
nothing later than what is at hand of it is taken: that goes back to the source, which hands it over again.

Records of one partition keep their order. The time of a record is the latest that its partition has shown so far, so a
late row stays behind its predecessor; a record without a time has that of its predecessor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from streamgmm.records import Bools, FeatureBatch, Floats, Headers, Ints, RecordBatch, TopicPartition

    Back = dict[TopicPartition, int]

# Seconds. A time that lies further ahead of the machine's clock is no time: its partition would wait for all others.
FUTURE = 86_400.0
UNKNOWN = -np.inf


@dataclass(slots=True)
class Order:
    """What the order of the next block depends on.

    Attributes
    ----------
    ahead
        Partitions of which records are at hand that are later than all that could be taken: they wait for the others.
    """

    ahead: frozenset[TopicPartition] = frozenset()
    _reached: dict[TopicPartition, float] = field(default_factory=dict)

    def arrange(self, batch: RecordBatch, fields: FeatureBatch, now: float) -> tuple[RecordBatch, FeatureBatch, Back]:
        """Return what is to be taken now, in order, and from which offset on the rest goes back, by partition.

        Parameters
        ----------
        now
            The time of day, seconds since the epoch.
        """
        if not len(batch):
            return batch, fields, {}
        time = record_times(len(batch), fields, now + FUTURE)
        if len(batch.partitions) == 1 and not set(batch.more).difference(batch.partitions):
            self._note(batch.partitions[0], float(time.max()))
            self.ahead = frozenset()
            return batch, fields, {}
        ends = np.cumsum(np.bincount(batch.partition, minlength=len(batch.partitions)))
        members = np.split(np.argsort(batch.partition, kind="stable"), ends[:-1])
        for tp, mine in zip(batch.partitions, members, strict=True):
            time[mine] = np.maximum(np.maximum.accumulate(time[mine]), self._reached.get(tp, UNKNOWN))
        rank = {tp: i for i, tp in enumerate(sorted({*batch.partitions, *batch.more}))}
        # Equal times go by partition, so that the order does not depend on how blocks were cut; no times, as they came.
        second = np.where(time == UNKNOWN, -1, np.array([rank[tp] for tp in batch.partitions])[batch.partition])
        taken = self._taken(batch, members, time, second, rank)
        back = self._leave(batch, members, time, taken)
        chosen = np.flatnonzero(taken)
        chosen = chosen[by_time(time[chosen], second[chosen])]
        if len(chosen) == len(batch) and (np.diff(chosen) > 0).all():
            return batch, fields, back
        return *_chosen(batch, fields, chosen, {**batch.next_offsets, **back}), back

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that are no longer ours, or that start anew."""
        for tp in partitions:
            self._reached.pop(tp, None)
        self.ahead = self.ahead.difference(partitions)

    def _taken(
        self, batch: RecordBatch, members: list[Ints], time: Floats, second: Ints, rank: dict[TopicPartition, int]
    ) -> Bools:
        """Return which records (n,) nothing can come before that is still to be handed over."""
        last = {tp: float(time[mine[-1]]) for tp, mine in zip(batch.partitions, members, strict=True) if len(mine)}
        bounds = [
            (reached, rank[tp])
            for tp in batch.more
            if (reached := last.get(tp, self._reached.get(tp, UNKNOWN))) > UNKNOWN
            or (tp not in last and tp not in self._reached)
        ]
        if not bounds:
            return np.ones(len(time), dtype=bool)
        bound, of = min(bounds)
        return np.asarray((time < bound) | ((time == bound) & (second <= of)) | (time == UNKNOWN))

    def _leave(self, batch: RecordBatch, members: list[Ints], time: Floats, taken: Bools) -> Back:
        """Note how far each partition has come; return where the rest of it begins."""
        back: Back = {}
        ahead = []
        for tp, mine in zip(batch.partitions, members, strict=True):
            n = int(np.count_nonzero(taken[mine]))
            if n:
                self._note(tp, float(time[mine[n - 1]]))
            if n < len(mine):
                back[tp] = int(batch.offset[mine[n]])
            if not n and len(mine):
                ahead.append(tp)
        self.ahead = frozenset(ahead)
        return back

    def _note(self, tp: TopicPartition, time: float) -> None:
        self._reached[tp] = max(time, self._reached.get(tp, UNKNOWN))


class Shares:
    """How a poll is divided among partitions: in step with how much was taken of each the last time.

    Portions that are as different as the partitions' shares of the stream all end at about the same time, so that
    little goes back.
    """

    def __init__(self) -> None:
        self._taken: dict[TopicPartition, int] = {}

    def portions(self, partitions: Collection[TopicPartition], rows: int) -> Iterator[tuple[TopicPartition, int]]:
        """Yield how many of `rows` each partition may give, at least one."""
        known = [n for tp in partitions if (n := self._taken.get(tp)) is not None]
        usual = max(sum(known) // len(known), 1) if known else 1
        # The fewer, the more by chance: those that give few get some to spare, so that they do not stop the others.
        expected = {tp: self._taken.get(tp, usual) for tp in partitions}
        weights = {tp: n + 3 * math.isqrt(n) + 3 for tp, n in expected.items()}
        total, spare = sum(weights.values()), max(rows - len(weights), 0)
        for tp, weight in weights.items():
            yield tp, 1 + spare * weight // total

    def note(self, partition: TopicPartition, rows: int) -> None:
        """Note how many rows a partition gave."""
        self._taken[partition] = rows

    def returned(self, partition: TopicPartition, rows: int) -> None:
        """Note how many of them were given back."""
        self._taken[partition] -= rows

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that are no longer ours."""
        for tp in partitions:
            self._taken.pop(tp, None)


def record_times(n: int, fields: FeatureBatch, latest: float) -> Floats:
    """Return when each of n records was, seconds; −∞ where it has no row with a time up to `latest`."""
    time = np.full(n, UNKNOWN)
    known = fields.event_time <= latest  # not where it is NaN
    if known.all():
        time[fields.record] = fields.event_time
    else:
        time[fields.record[known]] = fields.event_time[known]
    return time


def merged(time: Floats, partition: Ints) -> Ints:
    """Return the order (n,) by time of rows of numbered partitions (n,), each of which keeps its own.

    `time` (n,) is in seconds, NaN where there is none.
    """
    known = np.where(np.isnan(time), UNKNOWN, time)
    for index in np.unique(partition):
        mine = partition == index
        known[mine] = np.maximum.accumulate(known[mine])
    return by_time(known, partition)


def by_time(time: Floats, second: Ints) -> Ints:
    """Return the order (n,) of rows by time, then by a second number, then as they came."""
    return np.lexsort((second, time))


def _chosen(
    batch: RecordBatch, fields: FeatureBatch, chosen: Ints, next_offsets: Back
) -> tuple[RecordBatch, FeatureBatch]:
    """Return the chosen records, in that order, and what was decoded of them."""
    place = np.full(len(batch), -1, dtype=np.int64)
    place[chosen] = np.arange(len(chosen))
    of_row = place[fields.record]
    rows = np.argsort(of_row, kind="stable")[np.count_nonzero(of_row < 0) :]
    rejects = [replace(r, record=int(place[r.record])) for r in fields.rejects if place[r.record] >= 0]
    passed = [p._replace(record=int(place[p.record])) for p in fields.passed if place[p.record] >= 0]
    left = place[fields.tombstones]
    return (
        replace(
            batch,
            partition=batch.partition[chosen],
            offset=batch.offset[chosen],
            timestamp=batch.timestamp[chosen],
            value=batch.value.take(chosen),
            key=batch.key.take(chosen),
            headers=_headers(batch, chosen),
            next_offsets=next_offsets,
        ),
        replace(
            fields,
            X=fields.X[rows],
            record=of_row[rows],
            row=fields.row[rows],
            event_time=fields.event_time[rows],
            rejects=tuple(sorted(rejects, key=lambda r: (r.record, r.row))),
            tombstones=np.sort(left[left >= 0]),
            passed=tuple(sorted(passed, key=lambda p: p.record)),
        ),
    )


def _headers(batch: RecordBatch, chosen: Ints) -> list[Headers]:
    take = getattr(batch.headers, "take", None)  # columns of slices have it, lists do not
    return [batch.headers[i] for i in chosen.tolist()] if take is None else take(chosen)
