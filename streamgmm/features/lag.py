"""Add the value that a column had some rows of its key ago, `x.lag` (`x.lag3` for three rows)."""

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


def build(spec: Mapping[str, Json], names: tuple[str, ...]) -> Lag:
    """Return the feature; options: `steps`, 1 unless given; `by`, key (unless given) or stream."""
    _options.check_options(spec, ("fields", "steps", "by"))
    steps = _options.whole_number(spec, "steps", 1)
    columns = _options.positions(spec, names)
    added = _options.added(names, columns, "lag" if steps == 1 else f"lag{steps}")
    return Lag(columns, added, steps, by_key=_options.by_key(spec))


class Lag:
    """Earlier values beside the present ones. The first rows, before which nothing is known, get their own values."""

    def __init__(self, columns: Ints, names: tuple[str, ...], steps: int, *, by_key: bool) -> None:
        self.names = names
        self.by_key = by_key
        self._columns = columns
        self._history = History(steps, len(columns))

    def apply(self, X: Floats, rows: Rows) -> Floats:
        """Return X and one more column per chosen one."""
        return np.hstack([X, self._history.lagged(X[:, self._columns], rows)])

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the last rows."""
        return self._history.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from the last rows."""
        self._history.restore(state)
