"""Push a block through the engine, settling promotions as they come up: the one loop that every face shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from streamgmm.engine.core import Engine
    from streamgmm.records import ScoredBatch

    Floats = NDArray[np.float64]


WAIT_SECONDS = 60.0


def drive(engine: Engine, X: Floats, t: Floats, row_hash: NDArray[np.uint64]) -> Iterator[tuple[int, ScoredBatch]]:
    """Yield (first row, what was scored) until the block is done; an empty block gives one empty part.

    When a promotion interrupts, the caller sees `engine.pending` between two parts and may settle it; one that is left
    pending is taken as durable, as it is for callers that keep nothing on disk. A first fit is waited for, unless the
    caller has done so.
    """
    start = 0
    while start == 0 or start < len(X):
        part = slice(start, start + engine.settings.portion)
        scored = engine.step(X[part], t[part], row_hash[part])
        yield start, scored
        start += len(scored)
        while engine.waits:
            engine.wait(WAIT_SECONDS)
        engine.settle()
        if not len(X):
            return
