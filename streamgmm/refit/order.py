"""Whether the order of rows carries information. Only then does the temporal member have a weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamgmm.detector.column_kernels import count_values
from streamgmm.detector.readings import measured
from streamgmm.detector.sight import WHOLE, Sight
from streamgmm.detector.tables import MAX_VALUES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.refit.job import MemberSettings

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

# Mean change from row to row, in mean differences of rows drawn at random: 1 where the order says nothing. Measured on
# 32 streams: 0.57 at most where rows are in order, 0.89 at least where they are not.
MOST_CHANGE = 0.6
# Random pairs of rows that a column's differences are measured by.
PAIRS = 2000
_SEED = 0x5EED


def sight_of(settings: MemberSettings, X: Floats) -> Sight:
    """Return what a member that is fitted to rows X (n, d) is to see.

    A temporal member sees level and activity of the columns with more than a few values, and has a say only where half
    of these columns are in order.
    """
    if not settings.stems:
        return Sight(tuple(range(settings.n_columns))) if settings.n_columns else WHOLE
    X = measured(X, skip=settings.category_columns)
    first, k = X.shape[1] - len(settings.stems), len(settings.stems) // 2
    columns = np.array(settings.stems[:k])
    shown = np.ascontiguousarray(X[:, columns])
    with np.errstate(invalid="ignore", divide="ignore"):
        changes = change(shown, X[:, first + k :])
    lively = _lively(shown) & np.isfinite(changes)
    in_order = bool(lively.any()) and float(np.median(changes[lively])) < MOST_CHANGE
    chosen = np.flatnonzero(lively if in_order else np.ones(k, dtype=bool))
    hidden = np.concatenate([first + chosen, first + k + chosen])
    stems = np.tile(columns[chosen], 2)
    return Sight(tuple(hidden.tolist()), tuple(stems.tolist()), settings.weight if in_order else 0.0)


def change(X: Floats, activity: Floats) -> Floats:
    """Return the mean activity of each column of rows (n, k), in mean differences of random pairs of its values (k,).

    Activity is about neighbours in the stream even where the rows are a thinned sample of it.
    """
    one, other = np.random.default_rng(_SEED).integers(len(X), size=(2, PAIRS))
    return np.asarray(_mean(activity[one]) / _mean(np.abs(X[one] - X[other])))


def _lively(X: Floats) -> Bools:
    """Return which columns (k,) of rows (n, k) have more than a few distinct values."""
    k = X.shape[1]
    values, counts, found = np.zeros((k, MAX_VALUES)), np.zeros((k, MAX_VALUES)), np.zeros(k, dtype=np.intp)
    count_values(X, values, counts, found)
    return np.asarray(found > MAX_VALUES)


def _mean(X: Floats) -> Floats:
    known = ~np.isnan(X)
    with np.errstate(over="ignore"):  # of values near the largest float
        return np.asarray(np.where(known, X, 0.0).sum(axis=0) / known.sum(axis=0))
