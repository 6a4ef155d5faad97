"""Add where a column of its key has been of late, `x.level`, and how much it moved a row, `x.activity`.

Both are exponentially weighted means, this row's value and change included. One row of a frozen, hurried or missing
cycle looks like any other; these columns do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamgmm.features import _options
from streamgmm.features._slots import grown
from streamgmm.features.ewma_kernels import levels_and_activities

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from streamgmm.features import Rows
    from streamgmm.records import Floats, Ints, Json


def build(spec: Mapping[str, Json], names: tuple[str, ...]) -> Activity:
    """Return the feature; options: `half_life` in rows, 40 unless given; `by`, key (unless given) or stream."""
    _options.check_options(spec, ("fields", "half_life", "by"))
    half_life = _options.half_life(spec, 40)
    columns = _options.positions(spec, names)
    added = _options.added(_options.added(names, columns, "level"), columns, "activity")
    return Activity(columns, added, half_life, by_key=_options.by_key(spec))


class Activity:
    """Levels and mean changes beside the present values. After a gap the change is since the last value known.

    `unknown` is the activity in the first row of a key.
    """

    def __init__(
        self, columns: Ints, names: tuple[str, ...], half_life: float, *, by_key: bool, unknown: float = 0.0
    ) -> None:
        self.names = names
        self.by_key = by_key
        self._columns = columns
        self._unknown = unknown
        self._weight = -np.expm1(-np.log(2.0) / half_life)
        # By slot and row, see `levels_and_activities`; NaN at first.
        self._past = np.full((0, 5, len(columns)), np.nan)

    def apply(self, X: Floats, rows: Rows) -> Floats:
        """Return X and two more columns per chosen one, all levels first."""
        present = np.array(X[:, self._columns], order="C")
        self._past = grown(self._past, rows.slot, np.nan)
        first = X.shape[1]
        out = np.empty((len(X), first + 2 * len(self._columns)))
        out[:, :first] = X
        levels_and_activities(present, rows.slot, rows.fresh, self._weight, self._past, first, self._unknown, out)
        return out

    def state(self) -> dict[str, NDArray[Any]]:
        """Return last values, levels and activities."""
        return {"past": self._past.copy()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from them."""
        self._past = np.array(state["past"], dtype=np.float64, order="C")
