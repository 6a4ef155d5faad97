"""Small record batches for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamgmm.records import ByteColumn, Headers, RecordBatch, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Sequence

PARTITION = TopicPartition("vectors", 0)


def record_batch(
    values: Sequence[bytes | None],
    *,
    keys: Sequence[bytes | None] | None = None,
    timestamp: int = -1,
    headers: Headers = (),
    first_offset: int = 0,
) -> RecordBatch:
    """Return consecutive records of one partition."""
    n = len(values)
    return RecordBatch(
        (PARTITION,) if n else (),
        np.zeros(n, dtype=np.int64),
        np.arange(first_offset, first_offset + n),
        np.full(n, timestamp, dtype=np.int64),
        ByteColumn.from_values(values),
        ByteColumn.from_values(keys if keys is not None else [None] * n),
        [headers] * n,
        {PARTITION: first_offset + n} if n else {},
    )
