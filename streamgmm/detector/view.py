"""A fitted view of the columns: scaling with a remembered floor, clipping, and columns whose values are counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.detector import column_kernels, tables
from streamgmm.detector.exclusions import Exclusions
from streamgmm.detector.tables import MAX_VALUES, Table, Tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# A column that stands still in the window keeps this share of the largest scale it is remembered to have had.
REMEMBERED_SHARE = 0.02
FORGETTING = 0.999
# Rounding alone spreads a constant column by as much of its size.
CONSTANT = 1e-15
# The mass of a counted number that was fitted before is spread over so many remembered scales. Measured on streams with
# columns that come to rest, 6 and less cost up to .24 of average precision, 40 up to .03.
MASS_WIDTH = 20.0


@dataclass(frozen=True)
class View:
    """Columns in the units of the data → features of mean 0 and standard deviation 1, clipped.

    Attributes
    ----------
    location, scale : (d,) float64
    remembered : (d,) float64
        The largest standard deviation seen, slowly forgotten: a column frozen in the window keeps a sane scale.
    clip : float
        Features beyond ±clip count as ±clip: no single cell can outweigh the rest of a fit.
    counted
        One table per column whose values are counted, not fitted: categories, and numbers of few distinct values.
    shift : (d,) float64
        Nats that each column adds to every log-density; NaN for a column that has never been fitted.
    exclusions
        Values of two such columns that are rarely or never held together.
    """

    location: Floats
    scale: Floats
    remembered: Floats
    clip: float
    counted: tuple[Table, ...]
    shift: Floats
    exclusions: Exclusions | None = None

    @cached_property
    def log_jacobian(self) -> float:
        """Return log |dz/dx|: what turns a density of features into one in the units of the columns.

        A counted column has a mass, which has no unit. Where such a column was fitted before, its mass is spread over
        a width in the unit of the column. Without it, the level of all scores would leap by the log of the unit when
        the column changes its kind. A column that was counted first gets the same width as its unit, by `shift`.
        """
        units = self.scale.copy()
        counted = [table.column for table in self.counted]
        units[counted] = self.mass_width[counted]
        once_fitted = ~np.isnan(self.shift)
        return float((self.shift[once_fitted] - np.log(units[once_fitted])).sum())

    @property
    def mass_width(self) -> Floats:
        """The width (d,) over which the mass of a counted column is spread, in the unit of the column."""
        return MASS_WIDTH * np.where(self.remembered > 0.0, self.remembered, self.scale)

    @cached_property
    def tables(self) -> Tables:
        """The tables as kernels read them."""
        return Tables.of(self.counted, self.location, self.scale, self.clip, self.remembered > 0.0, self.exclusions)

    def apply(self, X: Floats, blank: float = 0.0) -> Floats:
        """Map columns (n, d) to features (n, d); counted columns, which no mixture is to see, are `blank`."""
        z = np.empty(X.shape)
        column_kernels.scale_and_clip(np.ascontiguousarray(X), self.location, self.scale, self.clip, z)
        if self.counted:
            z[:, self.tables.columns] = blank
        return z

    def scaled(self, X: Floats) -> Floats:
        """Map columns (n, d) to features (n, d) without clipping: explanations tell the far from the very far."""
        with np.errstate(over="ignore"):
            return np.ascontiguousarray((self.encode(X) - self.location) / self.scale)

    def encode(self, X: Floats) -> Floats:
        """Replace category codes by their surprise; numbers stay as they are."""
        return _encoded(X, self.counted)

    @classmethod
    def fit(
        cls,
        X: Floats,
        clip: float,
        category_columns: tuple[int, ...],
        previous: View | None = None,
        *,
        count_few: bool = True,
        robust: bool = False,
    ) -> View:
        """Fit to the window's rows, remembering the scales of the view before.

        `robust` scales by median and quantiles, which a few far rows do not move, instead of mean and deviation.

        What is remembered is the usual scale: one wild reading would blind its column for hundreds of thousands of
        rows after it has left the window (`test_one_wild_reading_is_forgotten_with_its_window`).
        """
        counted = tuple(Table.of_categories(j, X[:, j]) for j in category_columns)
        encoded = np.ascontiguousarray(_encoded(X, counted))
        if robust or previous is None:
            location, remembered, scale = _scaling(encoded, previous, robust=robust)
        else:
            location, remembered, scale = previous.follow(encoded)
        if count_few:
            counted += tables.of_few_values(X, category_columns, () if previous is None else previous.counted)
        counted = tuple(sorted(counted, key=lambda table: table.column))
        exclusions = Exclusions.of(X, counted, MAX_VALUES) if count_few else None
        shift = np.full(X.shape[1], np.nan) if previous is None else previous.shift
        found = cls(location, scale, remembered, clip, counted, shift, exclusions)
        found = found if previous is None else found.without_silent(X, previous)
        return found.with_first_fits(first=previous is None)

    def with_first_fits(self, *, first: bool) -> View:
        """Return the view with the shift of the columns that it is the first to fit; `first` is no view before it."""
        begins = np.isnan(self.shift)
        begins[[table.column for table in self.counted]] = False
        if not begins.any():
            return self
        return replace(self, shift=np.where(begins, 0.0 if first else np.log(self.mass_width), self.shift))

    def without_silent(self, X: Floats, previous: View) -> View:
        """Return the view in which columns without any value in X (n, d) stay what they were.

        A sensor that is silent for a window must not come back to a scale of nothing
        (`test_a_column_that_falls_silent_keeps_its_scale`).
        """
        if len(X) and not np.isnan(X[-1]).any():
            return self  # the newest row alone shows it: this is the usual case, and X is large
        silent = np.asarray(np.isnan(X).all(axis=0))
        if not silent.any():
            return self
        counted = [t for t in self.counted if not silent[t.column]] + [t for t in previous.counted if silent[t.column]]
        return replace(
            self,
            location=np.where(silent, previous.location, self.location),
            scale=np.where(silent, previous.scale, self.scale),
            remembered=np.where(silent, previous.remembered, self.remembered),
            counted=tuple(sorted(counted, key=lambda table: table.column)),
        )

    def follow(self, encoded: Floats) -> tuple[Floats, Floats, Floats]:
        """Return location, remembered scale and scale (d,) of the view that follows, of rows (n, d).

        What is remembered is the larger of what was, slowly forgotten, and of the scale now without wild cells.
        """
        before, known = self.location, self.remembered
        location, spread, low, high, remembered, scale = (np.empty(len(known)) for _ in range(6))
        floors = REMEMBERED_SHARE, CONSTANT
        if column_kernels.follow(
            encoded, before, known, self.clip, FORGETTING, *floors, location, spread, low, high, remembered, scale
        ):
            tame = (known > 0.0) & (np.maximum(high - before, before - low) <= self.clip * known)
            for j in np.flatnonzero(~tame & ~(spread <= remembered)):
                remembered[j] = max(remembered[j], self._usual(int(j), encoded[:, j]))
            column_kernels.floored(spread, remembered, location, *floors, scale)
        return location, remembered, scale

    def _usual(self, j: int, x: Floats) -> float:
        """Return the standard deviation of a column, its cells clipped about the median at so many remembered ones."""
        x = x[~np.isnan(x)]
        if not len(x):
            return 0.0
        known, middle = self.remembered[j], np.median(x)
        alive = known > CONSTANT * abs(middle)
        reach = self.clip * (known if alive else self.scale[j])
        return float(np.std(np.clip(x, middle - reach, middle + reach)))

    def to_arrays(self) -> dict[str, Floats]:
        """Return everything as named arrays."""
        arrays = {
            "location": self.location,
            "scale": self.scale,
            "remembered": self.remembered,
            "clip": np.array(self.clip),
            "shift": self.shift,
        }
        for table in self.counted:
            arrays |= table.to_arrays()
        return arrays if self.exclusions is None else arrays | self.exclusions.to_arrays()

    def holds(self, d: int) -> bool:
        """Return whether it is a view of d columns: finite numbers of the right shape."""
        arrays = (self.location, self.scale, self.remembered)
        sizes = {t.column: len(t.codes) for t in self.counted}
        return (
            all(a.shape == (d,) and a.dtype == np.float64 and np.isfinite(a).all() for a in arrays)
            and bool((self.scale > 0.0).all())
            and self.clip > 0.0
            and self.shift.shape == (d,)
            and self.shift.dtype == np.float64
            and not np.isinf(self.shift).any()
            and all(0 <= t.column < d and len(t.codes) > 0 and t.codes.dtype == np.float64 for t in self.counted)
            and (self.exclusions is None or self.exclusions.holds(sizes, MAX_VALUES))
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats]) -> View:
        """Rebuild what `to_arrays` gave."""
        counted = tables.from_arrays(arrays)
        scaling = arrays["location"], arrays["scale"], arrays["remembered"]
        shift = arrays.get("shift")
        if shift is None:  # saved before there were shifts
            shift = np.zeros(len(arrays["scale"]))
            shift[[table.column for table in counted]] = np.nan
        return cls(*scaling, float(arrays["clip"]), counted, shift, Exclusions.from_arrays(arrays))


def _encoded(X: Floats, tables: tuple[Table, ...]) -> Floats:
    """Return columns (n, d) with the codes of categories replaced by their surprise; X itself where there are none."""
    categories = [table for table in tables if not table.numeric]
    if not categories:
        return X
    encoded = X.copy()
    for table in categories:
        encoded[:, table.column] = table.encode(X[:, table.column])
    return encoded


def _scaling(X: Floats, previous: View | None, *, robust: bool) -> tuple[Floats, Floats, Floats]:
    """Return location, remembered scale and scale (d,) of rows (n, d): of a first view, or of a robust one."""
    location, spread, low, high, scale = (np.empty(X.shape[1]) for _ in range(5))
    column_kernels.moments(X, location, spread, low, high)
    if robust:
        location, spread = _by_quantiles(X, spread)
    remembered = spread if previous is None else np.maximum(FORGETTING * previous.remembered, spread)
    column_kernels.floored(spread, remembered, location, REMEMBERED_SHARE, CONSTANT, scale)
    return location, remembered, scale


def _by_quantiles(X: Floats, deviation: Floats) -> tuple[Floats, Floats]:
    """Return the median and a scale of each column: of the inner half or four fifths, whichever is wider.

    Both are those of a normal distribution. Where both vanish, for a column that rests most of the time, a tenth of the
    standard deviation is left.
    """
    known = np.where(np.isnan(X).all(axis=0), 0.0, X)
    tenth, quarter, middle, three_quarters, nine_tenths = np.nanquantile(known, [0.1, 0.25, 0.5, 0.75, 0.9], axis=0)
    inner = np.maximum((three_quarters - quarter) / 1.349, (nine_tenths - tenth) / 2.563)
    rests = inner <= CONSTANT * np.abs(middle)
    return np.ascontiguousarray(middle), np.where(rests, 0.1 * deviation, inner)
