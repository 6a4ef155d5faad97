"""Add the value that a column had some rows ago, `x.lag` (`x.lag3` for three rows)."""

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


def build(spec: Mapping[str, Json], names: tuple[str, ...]) -> Lag:
    """Return the feature; options: `steps`, 1 unless given."""
    _options.check_options(spec, ("steps",))
    steps = _options.whole_number(spec, "steps", 1)
    columns = _options.positions(spec, names)
    return Lag(columns, _options.added(names, columns, "lag" if steps == 1 else f"lag{steps}"), steps)


class Lag:
    """Earlier values beside the present ones. The first rows, before which nothing is known, get their own values."""

    def __init__(self, columns: Ints, names: tuple[str, ...], steps: int) -> None:
        self.names = names
        self._columns = columns
        self._history = History(steps, len(columns))

    def apply(self, X: Floats, slot: Slots) -> Floats:
        """Return X and one more column per chosen one."""
        return np.hstack([X, self._history.lagged(X[:, self._columns], slot)])

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the last rows."""
        return self._history.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from the last rows."""
        self._history.restore(state)
