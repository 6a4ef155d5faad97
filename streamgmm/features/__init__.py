"""Derived columns: nothing fitted, applied before anything learns. A member has `build(spec, names) -> Feature`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from streamgmm import registry
from streamgmm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from streamgmm.records import Floats, Json

    Slots = NDArray[np.integer[Any]]
    Arrays = Mapping[str, NDArray[Any]]


class Feature(Protocol):
    """The contract of derived columns; `tests/conformance` holds every member to it.

    Results depend on the rows and their order, never on how they are cut into blocks. NaN (missing) in a row spoils
    nothing but that row's own cells.
    """

    names: tuple[str, ...]

    def apply(self, X: Floats, slot: Slots) -> Floats:
        """Return the columns (n, len(names)) of rows X (n, d); never infinite where X is finite.

        `slot` (n,) says whose row it is: state is kept per slot.
        """

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what has to survive a restart; later calls of `apply` leave the arrays alone."""

    def restore(self, state: Arrays) -> None:
        """Continue from a state."""


class Stateless:
    """The state of a feature that looks at one row at a time."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Return nothing."""
        return {}

    def restore(self, state: Arrays) -> None:
        """Do nothing."""


class Pipeline:
    """Features one after the other.

    Parameters
    ----------
    inputs
        Names of the columns that go in.
    features
        In order; each was built for the names that the one before gives out.
    """

    def __init__(self, inputs: Sequence[str], features: Sequence[Feature] = ()) -> None:
        self.inputs = tuple(inputs)
        self.features = tuple(features)

    @classmethod
    def build(cls, specs: Sequence[Mapping[str, Json]], names: Sequence[str]) -> Pipeline:
        """Build the features that a configuration lists; `type` names the member.

        Raises
        ------
        ConfigError
            With the position of the spec that is wrong.
        """
        features: list[Feature] = []
        current = tuple(names)
        for i, spec in enumerate(specs):
            try:
                feature: Feature = registry.member("features", str(spec.get("type"))).build(spec, current)
            except ConfigError as error:
                raise ConfigError(f"features[{i}]: {error}") from None
            features.append(feature)
            current = feature.names
        return cls(names, features)

    @classmethod
    def identity(cls, names: Sequence[str]) -> Pipeline:
        """Return the pipeline that leaves every column as it is."""
        return cls(names)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that come out."""
        return self.features[-1].names if self.features else self.inputs

    @property
    def n_inputs(self) -> int:
        """Number of columns that go in."""
        return len(self.inputs)

    def apply(self, X: Floats, slot: Slots | None = None) -> Floats:
        """Return the columns (n, len(names)), C-contiguous, of rows X (n, n_inputs) in stream order."""
        slots = np.zeros(len(X), dtype=np.int64) if slot is None else slot
        for feature in self.features:
            X = feature.apply(X, slots)
        return np.ascontiguousarray(X)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the state of every feature, by position."""
        return {f"{i}.{key}": value for i, f in enumerate(self.features) for key, value in f.state().items()}

    def restore(self, state: Arrays) -> None:
        """Continue from a state of the same features."""
        for i, feature in enumerate(self.features):
            prefix = f"{i}."
            feature.restore({key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)})
