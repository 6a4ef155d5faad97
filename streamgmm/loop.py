"""THE loop: poll → decode → features → step → deliver.

A turn takes one batch through all of it. A promotion cuts the batch: what is done is delivered and committed, the
snapshot is made durable, and then the new detector sees the next row. A disk or a group that refuses costs durability
(logged, counted, alerted), never detection.

The first fit cuts it as well. The rows that follow wait until it is done, so that which rows are scored depends on the
stream alone. Meanwhile the loop flushes, commits, reports and stays in its group.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from streamgmm.engine.drive import drive
from streamgmm.ledger import Ledger, Part
from streamgmm.order import Order
from streamgmm.paging import Paging
from streamgmm.records import Event, Report
from streamgmm.reporting import report_part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from streamgmm.codecs import Codec
    from streamgmm.delivery import Delivery
    from streamgmm.engine.core import Engine
    from streamgmm.engine.state import State
    from streamgmm.features import Pipeline
    from streamgmm.records import (
        FeatureBatch,
        Floats,
        OutputRecord,
        Position,
        Rebalance,
        RecordBatch,
        ScoredBatch,
        TopicPartition,
    )
    from streamgmm.sources import Source

    Arrays = Mapping[str, NDArray[Any]]
    Scored = tuple[int, ScoredBatch]

POLL_SECONDS = 0.1
# A turn costs as much in itself as some hundreds of rows do in it.
FEW_ROWS = 500


class Renderer(Protocol):
    """Converts the results of a part into messages, by kind of outlet."""

    def __call__(
        self, batch: RecordBatch, fields: FeatureBatch, columns: Floats, part: Part, scored: ScoredBatch
    ) -> Mapping[str, Sequence[OutputRecord]]:
        """Return the messages: anomalies, all, dead_letters, and those of every feed."""


class Save(Protocol):
    """Makes a state durable."""

    def __call__(
        self, state: State, features: Arrays, covered: Mapping[TopicPartition, Position], pages: Arrays
    ) -> bool:
        """Return whether it is on disk."""


@dataclass(slots=True)
class Loop:
    """Everything that one turn needs.

    `observe` is handed Reports; `busy` marks which part is at work, for the supervisor; `now` is monotonic, `clock`
    the time of day; `save_state` is None where nothing is kept (a dry run); `pages` are those that `render` fills.
    While turns bring few rows they begin at least `gather` seconds apart, by `sleep`. What a promotion takes is told to
    `spending`, as learning.
    """

    source: Source
    codec: Codec
    features: Pipeline
    engine: Engine
    delivery: Delivery
    render: Renderer
    observe: Callable[[Report], None]
    now: Callable[[], float]
    clock: Callable[[], float]
    save_state: Save | None = None
    save_interval: float = 60.0
    busy: Callable[[str], AbstractContextManager[object]] = field(default=lambda _: nullcontext())
    until_end: bool = False
    gather: float = 0.0
    sleep: Callable[[float], None] = time.sleep
    spending: Callable[[], AbstractContextManager[object]] = nullcontext
    pages: Paging = field(default_factory=Paging)
    ledger: Ledger = field(default_factory=Ledger)
    order: Order = field(default_factory=Order)
    _stages: dict[str, float] = field(default_factory=dict)
    _events: list[Event] = field(default_factory=list)
    _saved_at: float = 0.0
    _rows_at_save: int = 0
    _turned_at: float = 0.0
    _few: bool = False
    _stopped: Callable[[], bool] = field(default=lambda: False)

    def __post_init__(self) -> None:
        self.delivery.on_wait = lambda: self._report(Report())

    def run(self, stopped: Callable[[], bool]) -> None:
        """Turn until stopped, or until the end of the source was reached if that was asked for."""
        self._saved_at, self._rows_at_save = self.now(), self.engine.state.rows_seen
        self._stopped = stopped
        while not stopped():
            if not self.turn() and self.until_end and self.source.at_end():
                break
        with self._stage("deliver"):
            self.delivery.flush()

    def turn(self) -> bool:
        """Take one batch all the way; False when there was nothing to take."""
        self._gather()
        with self._stage("poll"):
            # Written records wait for their flush: do not block if no record is there.
            batch = self.source.poll(0.0 if self.delivery.waits else POLL_SECONDS)
        for change in self.source.rebalances():
            self._rebalanced(change)
        self._events.extend(self.source.events())
        if len(batch) or batch.next_offsets:
            self._take(batch)
        with self._stage("deliver"):
            self.delivery.tick(quiet=not len(batch))
        if self.now() - self._saved_at >= self.save_interval and self.engine.state.rows_seen > self._rows_at_save:
            self.save()
        self._report(Report())
        self._few = 0 < len(batch) < FEW_ROWS
        return len(batch) > 0

    def _gather(self) -> None:
        """Wait until a few more rows have come, where the last turn had only a few; after a quiet one wait for none."""
        left = self._turned_at + self.gather - self.now()
        if self._few and left > 0.0:
            self.sleep(left)
        self._turned_at = self.now()

    def save(self) -> bool:
        """Commit, then save everything up to here; True when it is on disk, or when nothing is to be kept.

        Nothing is saved when the commit is refused: a restart would begin at the older offsets, and the rows between
        would be learnt twice.
        """
        if self.save_state is None:
            return True
        with self._stage("commit"):
            committed = self.delivery.commit()
        with self._stage("snapshot"):
            saved = committed and self.save_state(
                self.engine.promoted(), self.features.state(), dict(self.ledger.covered), self.pages.state()
            )
        self._events.append(Event("snapshot", {"outcome": "ok" if saved else "failed"}))
        self._saved_at = self.now()
        if saved:
            self._rows_at_save = self.engine.state.rows_seen
        return bool(saved)

    def _take(self, batch: RecordBatch) -> None:
        with self._stage("decode"):
            batch, fields, back = self.order.arrange(batch, self.codec.decode(batch), self.clock())
            fields = self.ledger.without_rows_done(batch, fields)
        if back:
            self.source.give_back(back)
        muted = self.ledger.muted(batch)
        before = self.features.state()
        with self._stage("features"):
            columns = self.features.apply(fields.X, fields.event_time, batch.key.take(fields.record))
        done = 0
        for start, scored in self._scored(columns, fields, batch):
            stop = start + len(scored)
            records = len(batch) if stop == len(fields) else int(fields.record[stop])
            self._deliver(batch, fields, columns, Part(slice(start, stop), slice(done, records), muted), scored)
            done = records
            if self.engine.waits and not self._fitted():
                self._rewind(batch, fields, stop, before)
                return
            if self.engine.pending is not None:
                with self.spending():
                    self._promote(batch, fields, stop, before)

    def _fitted(self) -> bool:
        """Wait for the first fit with the source paused; False when a stop is requested before it is done."""
        self.source.pause()
        try:
            while not self.engine.wait(POLL_SECONDS):
                if self._stopped():
                    return False
                self.source.poll(0.0)
                with self._stage("deliver"):
                    self.delivery.tick(quiet=True)
                self._report(Report())
        finally:
            self.source.resume()
        return True

    def _scored(self, columns: Floats, fields: FeatureBatch, batch: RecordBatch) -> Iterator[Scored]:
        """Step through the rows (one empty part where there are none), timing only the engine's share."""
        parts = drive(self.engine, columns, fields.event_time, self.ledger.hashes(batch, fields))
        while True:
            with self._stage("score"):
                part = next(parts, None)
            if part is None:
                return
            yield part

    def _deliver(
        self, batch: RecordBatch, fields: FeatureBatch, columns: Floats, part: Part, scored: ScoredBatch
    ) -> None:
        with self._stage("render"):
            records = self.render(batch, fields, columns, part, scored)
        with self._stage("deliver"):
            taken = self.delivery.complete(records, self.ledger.advance(batch, fields, part))
        report = report_part(batch, fields, part, scored, taken, self._names, self.clock())
        self._report(replace(report, held_back=self.pages.held_back()))

    def _promote(self, batch: RecordBatch, fields: FeatureBatch, rows: int, before: Arrays) -> None:
        """Save the promoted detector with the feature state of exactly the rows that are done; then let it serve.

        Where it cannot be saved, that is tried again every `save_interval`; a restart before learns those rows anew.
        """
        ahead = self.features.state()
        self._rewind(batch, fields, rows, before)
        self.save()
        self.features.restore(ahead)
        self.engine.settle()

    def _rewind(self, batch: RecordBatch, fields: FeatureBatch, rows: int, before: Arrays) -> None:
        """Let the features have seen no more than so many rows of the batch."""
        self.features.restore(before)
        self.features.apply(fields.X[:rows], fields.event_time[:rows], batch.key.take(fields.record[:rows]))

    def _rebalanced(self, change: Rebalance) -> None:
        self.order.forget(change.partitions)
        if change.event == "assigned":
            starts = self.source.starts()
            self.ledger.assigned(starts, change.partitions)
            self.delivery.assigned({tp: starts[tp].muted_until for tp in change.partitions})
            lost = sum(starts[tp].not_learnt for tp in change.partitions)
            if lost:
                self._events.append(Event("not_learnt", {}, {"records": lost}))
        else:
            self.ledger.released(change.partitions)
            self.delivery.released(change.partitions)
        self._events.append(Event("rebalance", {"event": change.event}, {"partitions": len(change.partitions)}))

    def _report(self, report: Report) -> None:
        """Hand a report over, with the times and events since the last one."""
        stages, self._stages = self._stages, {}
        events = (*self._events, *self.engine.events(), *self.delivery.events())
        self._events = []
        self.observe(
            replace(
                report,
                stage_seconds=stages,
                events=events,
                lag=self._lag(),
                waiting=self.source.waiting(),
                contact=self.source.contact(),
                assigned=tuple(self.ledger.covered),
                ahead=self.order.ahead,
                next_offsets={tp: p.offset for tp, p in self.ledger.covered.items()},
                engine=self.engine.status(),
            )
        )

    def _lag(self) -> Mapping[TopicPartition, int]:
        """Return what waits: records that the source has not handed over, and those that no sink has taken yet."""
        behind = self.delivery.behind()
        return {tp: n + behind.get(tp, 0) for tp, n in self.source.lag().items()}

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.codec.fields)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = self.now()
        with self.busy(name):
            yield
        self._stages[name] = self._stages.get(name, 0.0) + self.now() - start
