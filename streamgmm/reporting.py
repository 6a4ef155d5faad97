"""What one part of a turn did, as numbers: the only thing that metrics and status ever get to see."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.records import STATUSES, Report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamgmm.ledger import Part
    from streamgmm.records import FeatureBatch, RecordBatch, ScoredBatch


def report_part(
    batch: RecordBatch,
    fields: FeatureBatch,
    part: Part,
    scored: ScoredBatch,
    taken: Mapping[str, int],
    names: Sequence[str],
    clock: float,
) -> Report:
    """Count a part's rows by what became of them; muted rows were counted before the restart."""
    counted = part.counted(fields)
    numbers = np.bincount(scored.status[counted], minlength=len(STATUSES)).tolist()
    unscored = {name: n for name, n in zip(STATUSES, numbers, strict=True) if n and name != "scored"}
    tombstones = part.tombstones(fields)
    if tombstones:
        unscored["tombstone"] = tombstones
    times = fields.event_time[part.rows]
    X = fields.X[part.rows][counted]
    flagged = scored.is_anomaly & counted
    return Report(
        consumed=_by_topic(batch, part),
        scored=numbers[STATUSES.index("scored")],
        unscored=unscored,
        rejected=Counter(r.reason for r in part.rejects(fields)),
        replayed=int((~counted).sum()),
        anomalies={
            "critical": int((scored.score[flagged] >= 50.0).sum()),
            "warning": int((scored.score[flagged] < 50.0).sum()),
        },
        p_values=scored.p_value[counted & (scored.status == 0)],
        latencies=clock - times[counted & np.isfinite(times)],
        last_event_time=float(np.nanmax(times)) if np.isfinite(times).any() else float("nan"),
        missing={name: int(n) for name, n in zip(names, np.isnan(X).sum(axis=0), strict=True) if n},
        sink_records=taken,
    )


def _by_topic(batch: RecordBatch, part: Part) -> dict[str, int]:
    mine = batch.partition[part.records][~part.muted[part.records]]
    topics: Counter[str] = Counter()
    for tp, n in zip(batch.partitions, np.bincount(mine, minlength=len(batch.partitions)).tolist(), strict=True):
        topics[tp.topic] += n
    return +topics
