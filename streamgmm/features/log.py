"""Compress heavy tails: sign(x) · log(1 + |x|), defined everywhere and close to x near zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamgmm.features import Stateless, _options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamgmm.features import Rows
    from streamgmm.records import Floats, Ints, Json


def build(spec: Mapping[str, Json], names: tuple[str, ...]) -> Log:
    """Return the feature; it has no options."""
    _options.check_options(spec, ("fields",))
    return Log(_options.positions(spec, names), names)


class Log(Stateless):
    """Replaces columns by their signed logarithm."""

    def __init__(self, columns: Ints, names: tuple[str, ...]) -> None:
        self.names = names
        self._columns = columns

    def apply(self, X: Floats, rows: Rows) -> Floats:  # noqa: ARG002 - part of the contract
        """Return X with the chosen columns transformed."""
        out = X.copy()
        values = X[:, self._columns]
        out[:, self._columns] = np.copysign(np.log1p(np.abs(values)), values)
        return out
