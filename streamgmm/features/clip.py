"""Limit columns to a range."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamgmm.errors import ConfigError
from streamgmm.features import Stateless, _options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamgmm.features import Rows
    from streamgmm.records import Floats, Ints, Json


def build(spec: Mapping[str, Json], names: tuple[str, ...]) -> Clip:
    """Return the feature; options: `min`, `max`, at least one of them."""
    _options.check_options(spec, ("fields", "min", "max"))
    low, high = _bound(spec, "min"), _bound(spec, "max")
    if low is None and high is None:
        raise ConfigError("clip needs min, max, or both")
    if low is not None and high is not None and low >= high:
        raise ConfigError(f"min ({low:g}) must be below max ({high:g})")
    return Clip(_options.positions(spec, names), names, low, high)


def _bound(spec: Mapping[str, Json], option: str) -> float | None:
    value = spec.get(option)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value)):
        raise ConfigError(f"{option} must be a finite number, got {value!r}")
    return None if value is None else float(value)


class Clip(Stateless):
    """Replaces columns by their values within [low, high]; None is open."""

    def __init__(self, columns: Ints, names: tuple[str, ...], low: float | None, high: float | None) -> None:
        self.names = names
        self._columns = columns
        self._low = low
        self._high = high

    def apply(self, X: Floats, rows: Rows) -> Floats:  # noqa: ARG002 - part of the contract
        """Return X with the chosen columns limited."""
        out = X.copy()
        out[:, self._columns] = np.clip(X[:, self._columns], self._low, self._high)
        return out
