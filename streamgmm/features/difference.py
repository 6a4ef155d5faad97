"""Add how much a column changed since the row before, `x.difference`; 0 for the first row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamgmm.features import _options
from streamgmm.features._history import History

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from streamgmm.features import Slots
    from streamgmm.records import Floats, Ints, Json


def build(spec: Mapping[str, Json], names: tuple[str, ...]) -> Difference:
    """Return the feature; it has no options."""
    _options.check_options(spec, ())
    columns = _options.positions(spec, names)
    return Difference(columns, _options.added(names, columns, "difference"))


class Difference:
    """Changes beside the present values. After a gap the change is since the last value known."""

    def __init__(self, columns: Ints, names: tuple[str, ...]) -> None:
        self.names = names
        self._columns = columns
        self._history = History(1, len(columns))

    def apply(self, X: Floats, slot: Slots) -> Floats:
        """Return X and one more column per chosen one."""
        present = X[:, self._columns]
        with np.errstate(over="ignore"):
            change = _options.finite(present - self._history.lagged(present, slot))
        return np.hstack([X, change])

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the last row."""
        return self._history.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from the last row."""
        self._history.restore(state)
