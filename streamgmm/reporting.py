"""What one part of a turn did, as numbers: the only thing that metrics and status ever get to see."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.engine.window import latest
from streamgmm.records import SEVERITIES, STATUSES, Report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

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
    mine = slice(None) if counted.all() else counted  # nothing is copied where nothing is left out
    numbers = _by_number(scored.status[mine], len(STATUSES))
    unscored = {name: n for name, n in zip(STATUSES, numbers, strict=True) if n and name != "scored"}
    tombstones = part.tombstones(fields)
    if tombstones:
        unscored["tombstone"] = tombstones
    times = fields.event_time[part.rows]
    known = times[np.isfinite(times) & counted]
    flagged = scored.is_anomaly & counted
    return Report(
        consumed=_by_topic(batch, part),
        scored=numbers[STATUSES.index("scored")],
        unscored=unscored,
        rejected=Counter(r.reason for r in part.rejects(fields)),
        passed=part.passed(fields),
        replayed=int((~counted).sum()),
        anomalies=dict(zip(SEVERITIES, _by_number(scored.severity[flagged], len(SEVERITIES)), strict=True)),
        withdrawn=int(counted[list(scored.withdrawn)].sum()),
        incidents=int(counted[list(scored.opened)].sum()),
        p_values=scored.p_value[mine] if not unscored else scored.p_value[counted & (scored.status == 0)],
        latencies=clock - known,
        last_event_time=latest(times),
        missing={} if fields.complete else _missing(fields.X[part.rows][mine], names),
        sink_records=taken,
    )


def _missing(X: NDArray[np.float64], names: Sequence[str]) -> dict[str, int]:
    """Return how many rows lack a feature, for those that any row lacks."""
    return {name: int(n) for name, n in zip(names, np.isnan(X).sum(axis=0), strict=True) if n}


def _by_number(kinds: NDArray[np.int64], n: int) -> list[int]:
    """Return how often each of n numbers occurs; that all are 0, as they are most of the time, is seen quickly."""
    return np.bincount(kinds, minlength=n).tolist() if kinds.any() else [len(kinds), *[0] * (n - 1)][:n]


def _by_topic(batch: RecordBatch, part: Part) -> dict[str, int]:
    mine = batch.partition[part.records]
    muted = part.muted[part.records]
    mine = mine[~muted] if muted.any() else mine
    topics: Counter[str] = Counter()
    for tp, n in zip(batch.partitions, _by_number(mine, len(batch.partitions)), strict=True):
        topics[tp.topic] += n
    return +topics
