"""Pairs of values that exclude each other: what columns of few values hold in the same row.

Switches that are thrown together show a fault when one of them is not. No column by itself shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.detector import column_kernels as kernels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from streamgmm.detector.tables import Table

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

# A pair of values counts when free columns would have shown it so many times, and it was seen this much less often.
MIN_EXPECTED, MIN_EXCESS = 10.0, 3.0
# Most pairs of columns that are looked at, those with the strongest exclusions first.
MAX_PAIRS = 200


@dataclass(frozen=True)
class Exclusions:
    """Pairs of columns with values that are rarely or never held together.

    Attributes
    ----------
    columns : (2, p) int
        The pairs.
    excess : (p, most, most) float64
        Nats by which two values, by their positions in the tables, are rarer together than if the columns were free:
        log(expected / (count + ½)), 0 where that is too little to tell.
    """

    columns: Ints
    excess: Floats

    @classmethod
    def of(cls, X: Floats, tables: tuple[Table, ...], most: int) -> Exclusions | None:
        """Count the pairs in the window's rows X (n, d), of columns that have 2 to `most` values; None without any."""
        members = [table for table in tables if 2 <= len(table.codes) <= most]
        if len(members) < 2:
            return None
        shown = np.column_stack([X[:, [t.column]] == t.codes for t in members]).astype(np.float32)
        owner = np.repeat(np.arange(len(members)), [len(t.codes) for t in members])
        place = np.concatenate([np.arange(len(t.codes)) for t in members])
        count = (shown.T @ shown).astype(np.float64)
        single = np.diag(count)
        expected = np.outer(single, single) / max(len(X), 1)
        excess = np.log(np.maximum(expected, MIN_EXPECTED) / (count + 0.5))
        excess[(expected < MIN_EXPECTED) | (excess < MIN_EXCESS) | (owner[:, None] >= owner)] = 0.0
        rows, others = np.nonzero(excess)
        if not len(rows):
            return None
        by_pair = np.zeros((len(members), len(members), most, most))
        by_pair[owner[rows], owner[others], place[rows], place[others]] = excess[rows, others]
        strongest = by_pair.max(axis=(2, 3))
        first, second = np.nonzero(strongest)
        kept = np.sort(np.argsort(-strongest[first, second], kind="stable")[:MAX_PAIRS])
        first, second = first[kept], second[kept]
        columns = np.array([t.column for t in members], dtype=np.intp)
        return cls(np.vstack([columns[first], columns[second]]), np.ascontiguousarray(by_pair[first, second]))

    def holds(self, counted: Mapping[int, int], most: int) -> bool:
        """Return whether it is of these columns, by their numbers of values, and its arrays belong together."""
        shaped = self.columns.ndim == 2 and self.excess.shape == (self.columns.shape[1], most, most)
        return shaped and all(counted.get(j, most + 1) <= most for j in self.columns.ravel().tolist())

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return everything as named arrays."""
        return {"pairs": self.columns, "excess": self.excess}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Exclusions | None:
        """Rebuild what `to_arrays` gave; None where there was nothing."""
        if "pairs" not in arrays:
            return None
        excess = np.array(arrays["excess"], dtype=np.float64, order="C")
        return cls(np.array(arrays["pairs"], dtype=np.intp, order="C"), excess)

    def by_pair(self, place: Ints, pairs: Ints) -> Floats:
        """Return the excess of each pair (n, p).

        Parameters
        ----------
        place : (n, m) int
            The positions of values in their tables; −1 is none.
        pairs : (2, p) int
            Where the columns of each pair stand among these m.
        """
        a, b = place[:, pairs[0]], place[:, pairs[1]]
        found = self.excess[np.arange(pairs.shape[1]), np.maximum(a, 0), np.maximum(b, 0)]
        return np.where((a >= 0) & (b >= 0), found, 0.0)

    def excess_of(self, place: Ints, pairs: Ints) -> Floats:
        """Return the excess of each row (n,), nats: that of its pairs, over the root of their number; see `by_pair`."""
        out = np.zeros(len(place))
        kernels.excess_of_pairs(place, pairs[0], pairs[1], self.excess, out)
        return out
