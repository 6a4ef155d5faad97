"""Add how much a column changed since the row before of its key, `x.difference`; 0 for the first row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamgmm.features import _options
from streamgmm.features._history import History

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from streamgmm.features import Rows
    from streamgmm.records import Floats, Ints, Json


def build(spec: Mapping[str, Json], names: tuple[str, ...]) -> Difference:
    """Return the feature; options: `by`, key (unless given) or stream."""
    _options.check_options(spec, ("fields", "by"))
    columns = _options.positions(spec, names)
    return Difference(columns, _options.added(names, columns, "difference"), by_key=_options.by_key(spec))


class Difference:
    """Changes beside the present values. After a gap the change is since the last value known."""

    def __init__(self, columns: Ints, names: tuple[str, ...], *, by_key: bool) -> None:
        self.names = names
        self.by_key = by_key
        self._columns = columns
        self._history = History(1, len(columns))

    def apply(self, X: Floats, rows: Rows) -> Floats:
        """Return X and one more column per chosen one."""
        present = X[:, self._columns]
        with np.errstate(over="ignore"):
            change = _options.finite(present - self._history.lagged(present, rows))
        return np.hstack([X, change])

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the last row."""
        return self._history.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from the last row."""
        self._history.restore(state)
