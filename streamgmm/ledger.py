"""Where every partition stands: what was done before a restart, what is done now, what may be committed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.engine.thinning import row_hashes, stream_hash
from streamgmm.records import Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from streamgmm.records import FeatureBatch, RecordBatch, Reject, TopicPartition
    from streamgmm.sources import Start


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of a batch that were scored between two interruptions, and the records that are done with them.

    Attributes
    ----------
    rows
        Slice of the FeatureBatch.
    records
        Slice of the RecordBatch that becomes complete with this part: its rejects and tombstones count here.
    muted : (n_records,) bool
        Records that were delivered before a restart: learnt again, not delivered again.
    """

    rows: slice
    records: slice
    muted: NDArray[np.bool_]

    def rejects(self, fields: FeatureBatch) -> list[Reject]:
        """Return the rejects that belong to this part and are to be delivered."""
        start, stop = self.records.start, self.records.stop
        return [r for r in fields.rejects if start <= r.record < stop and not self.muted[r.record]]

    def tombstones(self, fields: FeatureBatch) -> int:
        """Return how many of the part's records had a null value, the muted ones aside."""
        mine = (fields.tombstones >= self.records.start) & (fields.tombstones < self.records.stop)
        return int((~self.muted[fields.tombstones[mine]]).sum())

    def passed(self, fields: FeatureBatch) -> Counter[str]:
        """Return how much of the part's records was no row, by kind, the muted ones aside."""
        start, stop = self.records.start, self.records.stop
        return Counter(p.kind for p in fields.passed if start <= p.record < stop and not self.muted[p.record])

    def counted(self, fields: FeatureBatch) -> NDArray[np.bool_]:
        """Return which of the part's rows are not muted."""
        return ~self.muted[fields.record[self.rows]]


@dataclass(slots=True)
class Ledger:
    """Positions per partition. `covered` is what a snapshot taken now would cover."""

    covered: dict[TopicPartition, Position] = field(default_factory=dict)
    _starts: dict[TopicPartition, Start] = field(default_factory=dict)
    _streams: dict[TopicPartition, int] = field(default_factory=dict)

    def assigned(self, starts: Mapping[TopicPartition, Start], partitions: Iterable[TopicPartition]) -> None:
        """Note where newly assigned partitions start."""
        for tp in partitions:
            self._starts[tp] = starts[tp]
            self.covered[tp] = self._position(tp, starts[tp].offset, starts[tp].row)

    def released(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that are no longer ours."""
        for tp in partitions:
            self._starts.pop(tp, None)
            self.covered.pop(tp, None)

    def muted(self, batch: RecordBatch) -> NDArray[np.bool_]:
        """Return which records (n,) were delivered before the restart."""
        floors = np.array([self._starts[tp].muted_until if tp in self._starts else 0 for tp in batch.partitions])
        return batch.offset < floors[batch.partition] if len(batch) else np.zeros(0, dtype=bool)

    def without_rows_done(self, batch: RecordBatch, fields: FeatureBatch) -> FeatureBatch:
        """Drop the rows of a record that a snapshot already covers in part."""
        keep = np.ones(len(fields), dtype=bool)
        for index, tp in enumerate(batch.partitions):
            start = self._starts.get(tp)
            if start is not None and start.row:
                done = (batch.partition == index) & (batch.offset == start.offset)
                keep &= ~(done[fields.record] & (fields.row < start.row))
        if keep.all():
            return fields
        return replace(
            fields,
            X=np.ascontiguousarray(fields.X[keep]),
            record=fields.record[keep],
            row=fields.row[keep],
            event_time=fields.event_time[keep],
        )

    def hashes(self, batch: RecordBatch, fields: FeatureBatch) -> NDArray[np.uint64]:
        """Return the stable identity (n,) of each row: what decides whether a fast stream's row is learnt."""
        streams = np.array([self._stream(tp) for tp in batch.partitions], dtype=np.uint64)
        of_record = streams[batch.partition] if len(batch) else streams
        return row_hashes(of_record, np.ascontiguousarray(batch.offset), fields.record, fields.row)

    def advance(self, batch: RecordBatch, fields: FeatureBatch, part: Part) -> dict[TopicPartition, int]:
        """Move the covered positions past a part, and return the offsets to commit once it is flushed."""
        if part.records.stop == len(batch):
            self.covered |= {tp: self._position(tp, offset) for tp, offset in batch.next_offsets.items()}
            return dict(batch.next_offsets)
        done: dict[TopicPartition, int] = {}
        for index, tp in enumerate(batch.partitions):
            mine = np.flatnonzero(batch.partition[: part.records.stop] == index)
            if len(mine):
                done[tp] = int(batch.offset[mine[-1]]) + 1
        self.covered |= {tp: self._position(tp, offset) for tp, offset in done.items()}
        cut = part.records.stop
        if part.rows.stop < len(fields) and int(fields.record[part.rows.stop]) == cut:
            tp = batch.topic_partition(cut)
            self.covered[tp] = self._position(tp, int(batch.offset[cut]), int(fields.row[part.rows.stop]))
        return done

    def _position(self, tp: TopicPartition, offset: int, row: int = 0) -> Position:
        start = self._starts.get(tp)
        return Position(offset, row, start.identity if start is not None else "")

    def _stream(self, tp: TopicPartition) -> int:
        if tp not in self._streams:
            self._streams[tp] = stream_hash(f"{tp.topic}/{tp.partition}")
        return self._streams[tp]
