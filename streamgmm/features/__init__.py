"""Derived columns: nothing fitted, applied before anything learns. A member has `build(spec, names) -> Feature`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from streamgmm import registry
from streamgmm.errors import ConfigError, SnapshotError
from streamgmm.features._keys import KeyTable
from streamgmm.records import ByteColumn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from streamgmm.records import Bools, Floats, Ints, Json

    Arrays = Mapping[str, NDArray[Any]]

MAX_KEYS = 10_000
HISTORY = "history"


class Rows(NamedTuple):
    """Whose rows they are, and when.

    Attributes
    ----------
    slot : (n,) int64
        State is kept per slot.
    fresh : (n,) bool
        The slot has a new owner from this row on: what it held is void.
    time : (n,) float64
        Event time, seconds since the epoch; NaN where unknown.
    """

    slot: Ints
    fresh: Bools
    time: Floats


class Feature(Protocol):
    """The contract of derived columns; `tests/conformance` holds every member to it.

    Results depend on the rows and their order, never on how they are cut into blocks. NaN (missing) in a row spoils
    nothing but that row's own cells.
    """

    names: tuple[str, ...]
    by_key: bool
    """Whether slots stand for keys; otherwise all rows are of slot 0."""

    def apply(self, X: Floats, rows: Rows) -> Floats:
        """Return the columns (n, len(names)) of rows X (n, d); never infinite where X is finite."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what has to survive a restart: arrays (slots, …), which later calls of `apply` leave alone."""

    def restore(self, state: Arrays) -> None:
        """Continue from a state."""


class Stateless:
    """The state of a feature that looks at one row at a time."""

    by_key = False

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
    keys
        Most keys that state is kept for; beyond, the key seen longest ago starts anew.
    history
        What the hidden columns behind all others are, as `with_history` says it; None where there are none.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        features: Sequence[Feature] = (),
        keys: int = MAX_KEYS,
        *,
        history: Mapping[str, Any] | None = None,
    ) -> None:
        self.inputs = tuple(inputs)
        self.features = tuple(features)
        self.history = history
        self._most_keys = keys
        self._keys = KeyTable(keys) if any(feature.by_key for feature in features) else None

    @classmethod
    def build(cls, specs: Sequence[Mapping[str, Json]], names: Sequence[str], keys: int = MAX_KEYS) -> Pipeline:
        """Build the features that a configuration lists; `type` names the member. What `history` holds may come last.

        Raises
        ------
        ConfigError
            With the position of the spec that is wrong.
        """
        features: list[Feature] = []
        current = tuple(names)
        for i, spec in enumerate(specs):
            if spec.get("type") == HISTORY:
                return cls(names, features, keys).with_history(spec["columns"], spec["half_life"])
            try:
                feature: Feature = registry.member("features", str(spec.get("type"))).build(spec, current)
            except ConfigError as error:
                raise ConfigError(f"features[{i}]: {error}") from None
            features.append(feature)
            current = feature.names
        return cls(names, features, keys)

    @classmethod
    def identity(cls, names: Sequence[str]) -> Pipeline:
        """Return the pipeline that leaves every column as it is."""
        return cls(names)

    @property
    def stems(self) -> tuple[int, ...]:
        """Of each hidden column, the shown one that it stems from, by index."""
        return () if self.history is None else 2 * tuple(self.history["columns"])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that come out, the hidden ones aside."""
        names = self.features[-1].names if self.features else self.inputs
        return names[: len(names) - len(self.stems)]

    def with_history(self, columns: Sequence[int], half_life: float) -> Pipeline:
        """Return the pipeline with hidden columns behind: recent level, then activity, of shown ones (by index)."""
        if not columns:
            return self
        names = (*self.names, *(f"{self.names[j]} {what}" for what in ("level", "activity") for j in columns))
        activity = registry.member("features", "activity")
        chosen = np.array(columns, dtype=np.int64)
        # A 0 where nothing is known would make short-lived keys look calm.
        past = activity.Activity(chosen, names, half_life, by_key=True, unknown=np.nan)
        spec = {"type": HISTORY, "columns": list(columns), "half_life": half_life}
        return Pipeline(self.inputs, (*self.features, past), self._most_keys, history=spec)

    @property
    def n_inputs(self) -> int:
        """Number of columns that go in."""
        return len(self.inputs)

    def apply(self, X: Floats, time: Floats | None = None, keys: ByteColumn | None = None) -> Floats:
        """Return the columns (n, len(names) + hidden ones), C-contiguous, of rows X (n, n_inputs) in stream order.

        Parameters
        ----------
        time : (n,), optional
            Event times, seconds; unknown unless given.
        keys : n byte strings, optional
            Whose row each is; all of one key (null) unless given.
        """
        if not self.features:
            return np.ascontiguousarray(X)
        n = len(X)
        times = np.full(n, np.nan) if time is None else time
        together = Rows(np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool), times)
        apart = together
        if self._keys is not None:
            apart = Rows(*self._keys.slots(ByteColumn.nulls(n) if keys is None else keys), times)
        for feature in self.features:
            X = feature.apply(X, apart if feature.by_key else together)
        return np.ascontiguousarray(X)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the state of every feature, by position, and of the keys."""
        keys = {} if self._keys is None else {f"keys.{name}": value for name, value in self._keys.state().items()}
        return keys | {f"{i}.{key}": value for i, f in enumerate(self.features) for key, value in f.state().items()}

    def restore(self, state: Arrays) -> None:
        """Continue from a state of the same features.

        Raises
        ------
        SnapshotError
            It is the state of others.
        """
        kinds = [{name: (a.dtype, a.shape[1:]) for name, a in arrays.items()} for arrays in (self.state(), state)]
        if kinds[0] != kinds[1]:
            raise SnapshotError("the snapshot does not contain the state of the derived columns")
        kept = None if self._keys is None else self._keys.restore(_part(state, "keys."))
        for i, feature in enumerate(self.features):
            mine = _part(state, f"{i}.")
            if kept is not None and feature.by_key:
                mine = {name: value[kept] for name, value in mine.items()}
            feature.restore(mine)


def origins(
    specs: Sequence[Mapping[str, Json]], fields: Sequence[str], categories: Sequence[str] = ()
) -> dict[str, Json]:
    """Return what each column that comes out, hidden ones included, is made of: columns of equal origin mean the same.

    Fields that are not named by a feature, and features that do not touch a column, leave its origin as it is.
    """
    made: dict[str, Json] = {name: ["category" if name in categories else "number", name] for name in fields}
    for i, spec in enumerate(specs):
        names, shown = Pipeline.build(specs[: i + 1], fields).features[-1].names, tuple(made)
        replaces = names == shown and spec["type"] != "select"
        taken = [shown[j] for j in spec["columns"]] if spec["type"] == HISTORY else list(spec.get("fields", ()))
        options = {key: value for key, value in spec.items() if key not in {"fields", "columns", "rename"}}
        before = {new: old for old, new in (spec.get("rename") or {}).items()}
        after: dict[str, Json] = {}
        for name in names:
            base = before.get(name, name)
            if base in made:
                after[name] = [options, made[base]] if replaces and base in taken else made[base]
            else:
                source = max((f for f in taken if name.startswith((f"{f}.", f"{f} "))), key=len, default=None)
                after[name] = [options, name if source is None else name.removeprefix(source), made.get(source or "")]
        made = after
    return made


def _part(state: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
