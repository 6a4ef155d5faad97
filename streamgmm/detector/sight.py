"""What a member sees of a row: all columns, the shown ones, or the past of some, which hidden columns tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Hidden columns that stem from one shown column: its level and its activity.
LOOKS = 2


@dataclass(frozen=True, slots=True)
class Sight:
    """Columns of the rows.

    Attributes
    ----------
    columns
        By index, ascending; None = all of them. Without stems, the first so many.
    stems
        Of each, the shown column that it stems from; empty where each is one itself.
    weight : float
        How much the member counts in the committee's mean; 0 = not at all.
    """

    columns: tuple[int, ...] | None = None
    stems: tuple[int, ...] = ()
    weight: float = 1.0

    def of(self, X: Floats) -> Floats:
        """Return what is seen of rows X (n, d), C-contiguous."""
        if self.columns is None or (not self.stems and X.shape[1] == len(self.columns)):
            return X
        first, last = self.columns[0], self.columns[-1]
        if last - first + 1 == len(self.columns):
            return np.ascontiguousarray(X[:, first : last + 1])
        return X.take(self.columns, axis=1)

    def holds(self, d: int) -> bool:
        """Return whether it is one of d columns."""
        columns = range(d) if self.columns is None else self.columns
        return len(columns) == d and min(columns) >= 0 and len(self.stems) in {0, d} and self.weight >= 0.0

    def folded(self, values: Floats, n_shown: int) -> Floats:
        """Average values (n, columns seen) over the looks at the shown column that each stems from: (n, n_shown)."""
        if not self.stems:
            return values
        out = np.zeros((len(values), n_shown))
        np.add.at(out.T, np.array(self.stems), values.T)
        return out / LOOKS

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as named arrays; nothing where it sees everything."""
        if self == WHOLE:
            return {}
        none = np.empty(0, dtype=np.int64)
        columns = none if self.columns is None else np.array(self.columns, dtype=np.int64)
        stems = np.array(self.stems, dtype=np.int64) if self.stems else none
        return {"columns": columns, "stems": stems, "weight": np.array(self.weight)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Sight:
        """Rebuild what `to_arrays` gave."""
        if not arrays:
            return WHOLE
        columns, stems = (tuple(int(i) for i in arrays[name]) for name in ("columns", "stems"))
        return cls(columns or None, stems, float(arrays["weight"]))


WHOLE = Sight()
