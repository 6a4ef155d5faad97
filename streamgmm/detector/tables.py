"""Columns whose values are counted, not fitted: categories, and numbers of few distinct values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.detector import column_kernels as kernels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from streamgmm.detector.exclusions import Exclusions

    Floats = NDArray[np.float64]

MAX_CATEGORIES = 64
# A numeric column is counted when it has so many distinct values at most.
MAX_VALUES = 8
# What a constant column may move by, as a share of its size, for one standard deviation.
CONSTANT_SHARE = 0.03
# Of fewer values than this nobody can tell whether there are few.
MIN_COUNTED = 100


@dataclass(frozen=True, slots=True)
class Table:
    """The values of one column in the window, and the surprise of each in nats.

    Attributes
    ----------
    codes
        Ascending.
    unseen
        Surprise of any other value; of a category, of one of those for which there was no room.
    numeric
        Whether values are numbers, so that an unseen one is the more surprising the farther off it is.
    """

    column: int
    codes: Floats
    surprise: Floats
    unseen: float
    numeric: bool

    @property
    def is_constant(self) -> bool:
        """Return whether the window held one value only, whatever was known from before."""
        return self.numeric and int((self.surprise < self.unseen).sum()) == 1

    @property
    def probabilities(self) -> Floats:
        """Return the share of each code, as if there were no others."""
        shares = np.exp(-self.surprise)
        return np.asarray(shares / shares.sum())

    @property
    def entropy(self) -> float:
        """Mean surprise of the codes, nats."""
        return float(self.probabilities @ self.surprise)

    @classmethod
    def of_categories(cls, column: int, values: Floats) -> Table:
        """Count the window's values, the commonest of them."""
        codes, counts = np.unique(values[~np.isnan(values)], return_counts=True)
        if len(codes) == 0:
            codes, counts = np.zeros(1), np.zeros(1, dtype=np.int64)
        common = np.sort(np.argsort(-counts, kind="stable")[:MAX_CATEGORIES])
        total = float(counts.sum()) + 0.5 * (len(codes) + 1)
        others = len(codes) - len(common)
        rest = float(counts.sum() - counts[common].sum()) / others if others else 0.0
        return cls._of(column, codes[common], counts[common].astype(np.float64), total, rest, numeric=False)

    @classmethod
    def of_numbers(cls, column: int, codes: Floats, counts: Floats) -> Table:
        """Make a table of values and their counts."""
        order = np.argsort(codes)
        total = float(counts.sum()) + 0.5 * (len(codes) + 1)
        return cls._of(column, codes[order], counts[order], total, 0.0, numeric=True)

    @classmethod
    def _of(cls, column: int, codes: Floats, counts: Floats, total: float, rest: float, *, numeric: bool) -> Table:
        """With the half counts of Krichevsky and Trofimov, one more for others, each of which occurs `rest` times."""
        return cls(column, codes, -np.log((counts + 0.5) / total), float(-np.log((rest + 0.5) / total)), numeric)

    def encode(self, values: Floats) -> Floats:
        """Replace each value by its surprise; NaN stays NaN."""
        at = np.clip(np.searchsorted(self.codes, values), 0, len(self.codes) - 1)
        encoded = np.where(self.codes[at] == values, self.surprise[at], self.unseen)
        return np.where(np.isnan(values), np.nan, encoded)

    def to_arrays(self) -> dict[str, Floats]:
        """Return everything as named arrays."""
        name = f"{'values' if self.numeric else 'category'}{self.column}"
        return {name: np.vstack([self.codes, self.surprise]), f"{name}_unseen": np.array(self.unseen)}


def from_arrays(arrays: Mapping[str, Floats]) -> tuple[Table, ...]:
    """Rebuild the tables, by column."""
    tables = []
    for kind in ("category", "values"):
        columns = [int(name.removeprefix(kind)) for name in arrays if name.removeprefix(kind).isdigit()]
        for j in columns:
            codes, surprise = arrays[f"{kind}{j}"]
            tables.append(Table(j, codes, surprise, float(arrays[f"{kind}{j}_unseen"]), kind == "values"))
    return tuple(sorted(tables, key=lambda table: table.column))


def of_few_values(X: Floats, skip: tuple[int, ...], previous: tuple[Table, ...]) -> tuple[Table, ...]:
    """Return a table for every numeric column of few distinct values.

    What a column was once seen to hold, it may hold again: a switch that rests for a window is no constant whose next
    move is a sensation (`test_a_switch_that_rests_is_still_a_switch`). A constant counts as a column of one value: as
    a Gaussian its density, and with it the level of all scores, would leap whenever it moves or comes to rest
    (`test_a_switch_does_not_move_the_level`).
    """
    d = X.shape[1]
    values, counts = np.zeros((d, MAX_VALUES)), np.zeros((d, MAX_VALUES))
    found = np.zeros(d, dtype=np.intp)
    kernels.count_values(np.ascontiguousarray(X), values, counts, found)
    few = np.flatnonzero(found <= MAX_VALUES)
    if not len(few):
        return ()
    known = {table.column: table.codes for table in previous if table.numeric}
    tables = []
    for j in few:
        if j in skip or not found[j]:
            continue
        codes, count = values[j, : found[j]], counts[j, : found[j]]
        rested = np.setdiff1d(known.get(int(j), codes), codes)
        if count.sum() >= MIN_COUNTED and len(codes) + len(rested) <= MAX_VALUES:
            count = np.append(count, np.zeros(len(rested)))
            tables.append(Table.of_numbers(int(j), np.append(codes, rested), count))
    return tuple(tables)


@dataclass(frozen=True)
class Tables:
    """All tables of a view as flat arrays: what the kernel reads.

    Attributes
    ----------
    columns
        (n_tables,)
    location, widths
        (n_tables,): an unseen number costs half its squared distance from the location, in widths, clipped at `clip`.
    """

    members: tuple[Table, ...]
    columns: NDArray[np.intp]
    location: Floats
    widths: Floats
    clip: float
    exclusions: Exclusions | None = None

    @classmethod
    def of(
        cls,
        members: tuple[Table, ...],
        location: Floats,
        scale: Floats,
        clip: float,
        ever_moved: NDArray[np.bool_] | None = None,
        exclusions: Exclusions | None = None,
    ) -> Tables:
        """Take the tables of a view and its scaling (d,).

        A column that has been zero and nothing else has no size and no unit: any other value is as far off as can be.
        """
        columns = np.array([table.column for table in members], dtype=np.intp)
        still = np.array([table.is_constant for table in members], dtype=bool)
        widths = np.where(still, CONSTANT_SHARE * scale[columns], scale[columns])
        if ever_moved is not None:
            sizeless = still & (location[columns] == 0.0) & ~ever_moved[columns]
            widths[sizeless] = np.finfo(np.float64).tiny
        return cls(members, columns, location[columns], widths, clip, exclusions)

    def explain(self, X: Floats) -> Floats:
        """Return how surprising each counted column (n, n_tables) is, nats: its value, and the pairs that it is in."""
        out = self.surprise(X)
        if self.exclusions is not None:
            excess = self.exclusions.by_pair(self._places(X), self._pairs)
            for t in range(len(self.members)):
                mine = excess[:, (self._pairs == t).any(axis=0)]
                out[:, t] += mine.mean(axis=1) if mine.size else 0.0
        return out

    def surprise(self, X: Floats) -> Floats:
        """Return the surprise of each counted column's value (n, n_tables), nats; 0 where it is missing."""
        out = np.empty((len(X), len(self.members)))
        kernels.surprise_of_values(np.ascontiguousarray(X), self.columns, *self._flat, self.clip, out)
        return out

    def log_mass(self, X: Floats) -> Floats:
        """Return what the counted columns add to a row's log-density (n,), nats.

        Switches are thrown together, so that their surprises count the same thing many times over. The sum is
        therefore taken as that of as many standard deviations: divided by the root of their number. Measured, that
        beats the sum and the greatest alone. Two values that exclude each other cost what they are rarer together than
        free columns would have them.
        """
        cost = self.surprise(X).sum(axis=1) / np.sqrt(len(self.members))
        if self.exclusions is not None:
            cost += self.exclusions.excess_of(self._places(X), self._pairs)
        return -np.asarray(cost)

    def _places(self, X: Floats) -> NDArray[np.intp]:
        out = np.empty((len(X), len(self.members)), dtype=np.intp)
        kernels.positions(np.ascontiguousarray(X), self.columns, *self._flat[:2], out)
        return out

    @cached_property
    def _pairs(self) -> NDArray[np.intp]:
        """Where the columns of each exclusion (2, p) stand among the tables."""
        return (
            np.zeros((2, 0), dtype=np.intp)
            if self.exclusions is None
            else np.searchsorted(self.columns, self.exclusions.columns)
        )

    @cached_property
    def _flat(self) -> tuple[NDArray[np.generic], ...]:
        starts = np.cumsum([0, *(len(table.codes) for table in self.members)]).astype(np.intp)
        return (
            starts,
            np.concatenate([table.codes for table in self.members]),
            np.concatenate([table.surprise for table in self.members]),
            np.array([table.unseen for table in self.members]),
            self.location,
            np.where([table.numeric for table in self.members], self.widths, np.inf),
        )
