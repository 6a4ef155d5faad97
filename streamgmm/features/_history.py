"""The last known values of some columns, per slot: what lag and difference look back on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from streamgmm.features import Slots
    from streamgmm.records import Floats


class History:
    """A few rows of memory per slot, with gaps filled from the last value known.

    Parameters
    ----------
    steps
        How many rows it looks back.
    width
        Number of columns.
    """

    def __init__(self, steps: int, width: int) -> None:
        self._steps = steps
        # (slots, steps, width), oldest row first; NaN before anything is known.
        self._tail = np.full((0, steps, width), np.nan)

    def lagged(self, X: Floats, slot: Slots) -> Floats:
        """Return, for every row, its slot's row `steps` ago; a row before which nothing is known gets its own values.

        A missing value counts as the last one known, so that one gap does not cost two rows.
        """
        out = np.empty_like(X)
        if not len(X):
            return out
        tail = self._with_slots(int(slot.max()) + 1)
        for one in np.unique(slot):
            rows = np.flatnonzero(slot == one)
            known = _forward_filled(np.concatenate([tail[one], X[rows]]))
            out[rows] = known[: len(rows)]
            tail[one] = known[-self._steps :]
        self._tail = tail
        return np.where(np.isnan(out), X, out)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the memory."""
        return {"tail": self._tail}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from a memory."""
        self._tail = np.array(state["tail"], dtype=np.float64)

    def _with_slots(self, slots: int) -> Floats:
        """Return a copy of the memory with room for so many slots; the old one may stand in a snapshot."""
        new = max(0, slots - len(self._tail))
        return np.concatenate([self._tail, np.full((new, *self._tail.shape[1:]), np.nan)])


def _forward_filled(X: Floats) -> Floats:
    rows = np.arange(len(X))[:, None]
    last_known = np.maximum.accumulate(np.where(np.isnan(X), 0, rows), axis=0)
    return np.take_along_axis(X, last_known, axis=0)
