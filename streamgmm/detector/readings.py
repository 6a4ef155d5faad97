"""Cells that cannot be measurements: so far out that they alone would set the scale of their column.

They are scored like any other, so that they are flagged; a fit leaves them out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamgmm.detector import column_kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.detector.view import View

    Floats = NDArray[np.float64]

# Wild cells are this many times as far from the median as the farthest of the others. The tails of real columns are
# long, but they have no such gaps: measured on 32 streams, a bound on the distance alone took rare loads for wild.
GAP = 50.0
# How many cells can be wild. What more of them show is how the column is now.
FEW_SHARE = 0.01
# Of fewer rows nobody can tell which are the few.
MIN_ROWS = 20
# A column that rests is measured by the cells that move where these are several, else by its size.
MIN_MOVERS = 4
# The square of a larger number may overflow, whatever the column.
LARGEST = 1e150
# Columns that reach no farther than this from where they were, in standard deviations, need no closer look.
NEAR = 5.0


def measured(X: Floats, previous: View | None = None, skip: tuple[int, ...] = ()) -> Floats:
    """Return rows (n, d) whose wild cells are missing (NaN), without rows that hold no other; X itself if none is wild.

    `previous` is an earlier view of the same columns; it tells cheaply where nothing can be wild. Columns to `skip`
    hold codes.
    """
    found = None
    for j in _suspects(X, previous):
        if j in skip:
            continue
        centre, reach = bounds(X[:, j])
        with np.errstate(over="ignore", invalid="ignore"):
            wild = np.abs(X[:, j] - centre) > reach
        if wild.any():
            found = X.copy() if found is None else found
            found[wild, j] = np.nan
    return X if found is None else np.ascontiguousarray(found[~np.isnan(found).all(axis=1)])


def bounds(x: Floats) -> tuple[float, float]:
    """Return where the cells (n,) of a column lie, and how far from there a measurement can be."""
    known = x[np.abs(x) <= LARGEST]
    if len(known) < MIN_ROWS:
        return 0.0, LARGEST
    centre = float(np.median(known))
    away = np.abs(known - centre)
    few = max(1, int(FEW_SHARE * len(known)))
    top = np.sort(away)[-few - 1 :]
    rests = abs(centre) if np.count_nonzero(away) < MIN_MOVERS else np.inf
    limits = GAP * np.where(top > 0.0, top, rests)
    gaps = np.flatnonzero((top[1:] > limits[:-1]) & (limits[:-1] > 0.0))
    return centre, min(float(limits[gaps[0]]), LARGEST) if len(gaps) else LARGEST


def _suspects(X: Floats, previous: View | None) -> list[int]:
    """Return the columns in which a cell may be wild."""
    if previous is None or not len(X):
        return list(range(X.shape[1]))
    suspect = np.empty(X.shape[1], dtype=np.bool_)
    limits = NEAR, 2.0 / GAP, 2.0 * FEW_SHARE, LARGEST
    column_kernels.suspects(np.ascontiguousarray(X), previous.location, previous.scale, *limits, suspect)
    return [int(j) for j in np.flatnonzero(suspect)]
