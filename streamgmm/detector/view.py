"""A fitted view of the columns: scaling with a remembered floor, clipping, and categories by their frequency."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# A column that stands still in the window keeps this share of the largest scale it is remembered to have had.
REMEMBERED_SHARE = 0.02
FORGETTING = 0.999
CONSTANT = 1e-9
MAX_CATEGORIES = 64


@dataclass(frozen=True, slots=True)
class Frequencies:
    """The commonest values of one category column in the window, and the surprise of each in nats."""

    column: int
    codes: Floats
    surprise: Floats
    unseen: float

    def encode(self, values: Floats) -> Floats:
        """Replace each code by −log of its smoothed relative frequency; NaN stays NaN."""
        at = np.clip(np.searchsorted(self.codes, values), 0, len(self.codes) - 1)
        encoded = np.where(self.codes[at] == values, self.surprise[at], self.unseen)
        return np.where(np.isnan(values), np.nan, encoded)

    @classmethod
    def fit(cls, column: int, values: Floats) -> Frequencies:
        """Count the window's values; with the half counts of Krichevsky and Trofimov, one more for the unseen."""
        codes, counts = np.unique(values[~np.isnan(values)], return_counts=True)
        if len(codes) == 0:
            codes, counts = np.zeros(1), np.zeros(1, dtype=np.int64)
        total = counts.sum() + 0.5 * (len(codes) + 1)
        common = np.sort(np.argsort(-counts, kind="stable")[:MAX_CATEGORIES])
        return cls(column, codes[common], -np.log((counts[common] + 0.5) / total), float(-np.log(0.5 / total)))


@dataclass(frozen=True, slots=True)
class View:
    """Columns in the units of the data → features of mean 0 and standard deviation 1, clipped.

    Attributes
    ----------
    location, scale : (d,) float64
    remembered : (d,) float64
        The largest standard deviation seen, slowly forgotten: a column frozen in the window keeps a sane scale.
    clip : float
        Features beyond ±clip count as ±clip: no single cell can outweigh the rest of a fit.
    categories
        One entry per category column.
    """

    location: Floats
    scale: Floats
    remembered: Floats
    clip: float
    categories: tuple[Frequencies, ...] = field(default=())

    @property
    def log_jacobian(self) -> float:
        """Return log |dz/dx|: what turns a density of features into one in the units of the columns."""
        continuous = np.ones(len(self.scale), dtype=bool)
        continuous[[c.column for c in self.categories]] = False
        return -float(np.log(self.scale[continuous]).sum())

    def apply(self, X: Floats) -> Floats:
        """Map columns (n, d) to features (n, d)."""
        z = self.scaled(X)
        return np.ascontiguousarray(np.clip(z, -self.clip, self.clip, out=z))

    def scaled(self, X: Floats) -> Floats:
        """Map columns (n, d) to features (n, d) without clipping: explanations tell the far from the very far."""
        with np.errstate(over="ignore"):
            return np.ascontiguousarray((self.encode(X) - self.location) / self.scale)

    def encode(self, X: Floats) -> Floats:
        """Replace category codes by their surprise; numbers stay as they are."""
        if not self.categories:
            return X
        encoded = X.copy()
        for frequencies in self.categories:
            encoded[:, frequencies.column] = frequencies.encode(X[:, frequencies.column])
        return encoded

    @classmethod
    def fit(cls, X: Floats, clip: float, category_columns: tuple[int, ...], previous: View | None = None) -> View:
        """Fit to the window's rows, remembering the scales of the view before.

        What is remembered is the usual scale: one wild reading would blind its column for hundreds of thousands of
        rows after it has left the window (`test_one_wild_reading_is_forgotten_with_its_window`).
        """
        categories = tuple(Frequencies.fit(j, X[:, j]) for j in category_columns)
        d = X.shape[1]
        blank = cls(np.zeros(d), np.ones(d), np.zeros(d), clip, categories)
        encoded = blank.encode(X)
        location, spread = _moments(encoded)
        remembered = spread if previous is None else previous.remember(encoded, spread)
        floored = np.maximum(spread, REMEMBERED_SHARE * remembered)
        magnitude = np.maximum(np.abs(location), 1.0)
        scale = np.where(floored > CONSTANT * magnitude, floored, magnitude)
        return cls(location, scale, remembered, clip, categories)

    def remember(self, encoded: Floats, spread: Floats) -> Floats:
        """Return the larger of the remembered scale, slowly forgotten, and of the one now without wild cells."""
        remembered = FORGETTING * self.remembered
        grown = np.flatnonzero(~(spread <= remembered))
        for j in grown:
            remembered[j] = max(remembered[j], self._usual(int(j), encoded[:, j], float(spread[j])))
        return remembered

    def _usual(self, j: int, x: Floats, spread: float) -> float:
        """Return the standard deviation of a column, its cells clipped about the median at so many remembered ones."""
        x = x[~np.isnan(x)]
        known = self.remembered[j]
        if known > 0.0 and np.abs(x - self.location[j]).max() <= self.clip * known:
            return spread
        middle = np.median(x)
        alive = known > CONSTANT * max(abs(middle), 1.0)
        reach = self.clip * (known if alive else self.scale[j])
        return float(np.std(np.clip(x, middle - reach, middle + reach)))

    def to_arrays(self) -> dict[str, Floats]:
        """Return everything as named arrays."""
        arrays = {
            "location": self.location,
            "scale": self.scale,
            "remembered": self.remembered,
            "clip": np.array(self.clip),
        }
        for c in self.categories:
            arrays[f"category{c.column}"] = np.vstack([c.codes, c.surprise])
            arrays[f"category{c.column}_unseen"] = np.array(c.unseen)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats]) -> View:
        """Rebuild what `to_arrays` gave."""
        columns = sorted(int(k.removeprefix("category")) for k in arrays if k.removeprefix("category").isdigit())
        categories = tuple(
            Frequencies(j, table[0], table[1], float(arrays[f"category{j}_unseen"]))
            for j in columns
            for table in (arrays[f"category{j}"],)
        )
        return cls(arrays["location"], arrays["scale"], arrays["remembered"], float(arrays["clip"]), categories)


def _moments(X: Floats) -> tuple[Floats, Floats]:
    """Return the mean and standard deviation of each column, about a first mean so that offsets cost no digits."""
    seen = ~np.isnan(X)
    count = np.maximum(seen.sum(axis=0), 1)
    centre = np.where(seen, X, 0.0).sum(axis=0) / count
    delta = np.where(seen, X - centre, 0.0)
    shift = delta.sum(axis=0) / count
    with np.errstate(over="ignore", invalid="ignore"):  # not finite then, and the fit is refused
        variance = (delta * delta).sum(axis=0) / count - shift * shift
    return centre + shift, np.sqrt(np.maximum(variance, 0.0))
