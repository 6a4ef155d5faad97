"""Add how far a column is from the exponentially weighted mean of its key, `x.ewma`; 0 for the first row.

The mean is of the rows before: a row that shifts its own yardstick would hide itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamgmm.features import _options
from streamgmm.features._slots import grown
from streamgmm.features.ewma_kernels import deviations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from streamgmm.features import Rows
    from streamgmm.records import Floats, Ints, Json


def build(spec: Mapping[str, Json], names: tuple[str, ...]) -> Ewma:
    """Return the feature; options: `half_life` in rows, 100 unless given; `by`, key (unless given) or stream."""
    _options.check_options(spec, ("fields", "half_life", "by"))
    half_life = _options.half_life(spec, 100)
    columns = _options.positions(spec, names)
    added = _options.added(names, columns, "ewma")
    return Ewma(columns, added, half_life, by_key=_options.by_key(spec))


class Ewma:
    """Deviations beside the present values."""

    def __init__(self, columns: Ints, names: tuple[str, ...], half_life: float, *, by_key: bool) -> None:
        self.names = names
        self.by_key = by_key
        self._columns = columns
        self._weight = -np.expm1(-np.log(2.0) / half_life)
        # By slot and row, see `deviations`; NaN at first.
        self._past = np.full((0, 4, len(columns)), np.nan)

    def apply(self, X: Floats, rows: Rows) -> Floats:
        """Return X and one more column per chosen one."""
        present = np.array(X[:, self._columns], order="C")
        self._past = grown(self._past, rows.slot, np.nan)
        out = np.empty_like(present)
        deviations(present, rows.slot, rows.fresh, self._weight, self._past, out)
        return np.hstack([X, out])

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the means."""
        return {"past": self._past.copy()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from them."""
        self._past = np.array(state["past"], dtype=np.float64, order="C")
