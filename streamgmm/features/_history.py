"""The last known values of some columns, per slot: what lag and difference look back on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamgmm.features._slots import grown
from streamgmm.features.history_kernels import lagged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from streamgmm.features import Rows
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
        # A ring per slot, NaN before anything is known; and where its oldest row stands.
        self._ring = np.full((0, steps, width), np.nan)
        self._at = np.zeros(0, dtype=np.int64)

    def lagged(self, X: Floats, rows: Rows) -> Floats:
        """Return, for every row, its slot's row `steps` ago; a row before which nothing is known gets its own values.

        A missing value counts as the last one known, so that one gap does not cost two rows.
        """
        self._ring, self._at = grown(self._ring, rows.slot, np.nan), grown(self._at, rows.slot, 0)
        out = np.empty(X.shape)
        lagged(np.ascontiguousarray(X), rows.slot, rows.fresh, self._ring, self._at, out)
        return out

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the memory (slots, steps, width), oldest row first."""
        steps = self._ring.shape[1]
        order = (self._at[:, None] + np.arange(steps)) % steps
        return {"tail": np.take_along_axis(self._ring, order[:, :, None], axis=1)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from a memory."""
        self._ring = np.array(state["tail"], dtype=np.float64, order="C")
        self._at = np.zeros(len(self._ring), dtype=np.int64)
