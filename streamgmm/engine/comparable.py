"""Scores of rows with missing cells, put on the scale of complete ones: p-values are ranks, and ranks need one scale.

A marginal density is a density of fewer features: larger, and less spread. What that makes of a row is found by
scoring complete rows of the window with the same cells hidden: the quantiles of the two scores make the map. Both are
of rows that the model has learnt, so that what learning does to them cancels; only rows scored before they were learnt
tell how rare a score is (`calibration`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from streamgmm.detector.committee import Detector
    from streamgmm.engine.window import Window

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

# What a standardised cell adds to a log-density on average, while nothing better is known: −log(2πe) / 2.
USUAL_CELL = -0.5 * math.log(2.0 * math.pi * math.e)
# Patterns of missing cells that get a map of their own; the others share one per number of missing cells.
MOST_PATTERNS = 8
MIN_ROWS_OF_PATTERN = 20
# Rows that are scored with cells hidden: so many at most, and fewer than these say nothing about quantiles.
DONORS = 500
MIN_DONORS = 50
# Learnt rows after which maps are made anew.
RENEWED_EVERY = 500
PROBABILITIES = np.array([0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99])
MEDIAN = 8
# Below the lowest quantile a map goes on straight, by the ratio of the spreads; an odd sample must not bend it more.
STEEPEST = 2.0


@dataclass(frozen=True, slots=True)
class Comparable:
    """Maps from scores of rows with missing cells to the scale of complete rows.

    Attributes
    ----------
    patterns : (k, n_features) bool
        Sets of missing cells that have a map of their own.
    maps
        By index of a pattern, or k − 1 + number of missing cells: quantiles (2, q), nats, with cells hidden and
        without; empty ones are the identity.
    age : int
        Learnt rows since they were made.
    stems
        Of each hidden column, the shown one that it stems from: where that is missing, so is the hidden one.
    """

    patterns: Bools
    maps: Mapping[int, Floats] = field(default_factory=dict)
    age: int = 0
    stems: tuple[int, ...] = ()

    @classmethod
    def of_window(cls, X: Floats, stems: tuple[int, ...] = ()) -> Comparable:
        """Choose the patterns that the window's rows (n, d) have most often; maps are made when needed."""
        patterns, counts = _patterns(_shown(X, stems))
        common = np.flatnonzero(counts >= MIN_ROWS_OF_PATTERN)
        common = common[np.argsort(-counts[common], kind="stable")][:MOST_PATTERNS]
        return cls(patterns[common], stems=stems)

    def after(self, X: Floats, window: Window) -> Comparable:
        """Return what serves after a step that taught rows X (n, d); the window holds them already."""
        patterns, counts = _patterns(_shown(X, self.stems))
        new = any(not (self.patterns == p).all(axis=1).any() for p in patterns[counts >= MIN_ROWS_OF_PATTERN])
        if self.age + len(X) >= RENEWED_EVERY or (new and len(self.patterns) < MOST_PATTERNS):
            return Comparable.of_window(window.rows(), self.stems)
        return replace(self, age=self.age + len(X))

    def keys(self, absent: Bools) -> NDArray[np.int64]:
        """Return which map each row (n, n_features) needs; −1 for complete rows."""
        counts = absent.sum(axis=1)
        keys = np.where(counts > 0, len(self.patterns) - 1 + counts, -1)
        for k, pattern in enumerate(self.patterns):
            keys[(absent == pattern).all(axis=1)] = k
        return keys

    def extended(self, needed: Sequence[int], detector: Detector, window: Floats, seed: int) -> Comparable:
        """Return the same with maps for all needed keys, made by the serving detector on the window's rows."""
        new = [key for key in needed if key not in self.maps]
        if not new:
            return self
        donors = _donors(window, self.stems)
        return replace(self, maps=dict(self.maps) | {key: self._map(key, detector, donors, seed) for key in new})

    def correction(self, log_density: Floats, absent: Bools, keys: NDArray[np.int64]) -> Floats:
        """Return what must be added to each log-density (n,), nats, to make it that of as rare a complete row."""
        usual = log_density + USUAL_CELL * absent.sum(axis=1)
        out = np.where(keys < 0, log_density, usual)
        for key in np.unique(keys[keys >= 0]):
            rows = keys == key
            out[rows] = mapped(self.maps[int(key)], usual[rows])
        return out - log_density

    def _map(self, key: int, detector: Detector, donors: Floats, seed: int) -> Floats:
        absent = np.isnan(_shown(donors, self.stems))
        hidden = self._hidden(key, absent, np.random.default_rng([seed, key]))
        chosen = (hidden != absent).any(axis=1)
        if chosen.sum() < MIN_DONORS:
            return np.empty((2, 0))
        masked = np.where(np.hstack([hidden, hidden[:, self.stems]]), np.nan, donors)[chosen]
        scores = (detector.log_density(rows) for rows in (masked, np.ascontiguousarray(donors[chosen])))
        usual = [s + USUAL_CELL * a.sum(axis=1) for s, a in zip(scores, (hidden[chosen], absent[chosen]), strict=True)]
        return np.array([np.quantile(s, PROBABILITIES) for s in usual])

    def _hidden(self, key: int, absent: Bools, rng: np.random.Generator) -> Bools:
        """Return which cells of donors to hide: the pattern, or any, until so many are missing."""
        if key < len(self.patterns):
            return np.asarray(absent | self.patterns[key])
        order = np.where(absent, -1.0, rng.random(absent.shape))
        rank = np.argsort(np.argsort(order, axis=1), axis=1)
        return np.asarray(absent | (rank < key + 1 - len(self.patterns)))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as named arrays."""
        maps = {f"map{key}": quantiles for key, quantiles in self.maps.items()}
        stems = {"stems": np.array(self.stems, dtype=np.int64)} if self.stems else {}
        return maps | stems | {"patterns": self.patterns, "age": np.array(self.age)}

    def holds(self, width: int) -> bool:
        """Return whether its maps are of rows of so many columns."""
        shown = width - len(self.stems)
        maps = all(a.dtype == np.float64 and a.ndim == 2 and len(a) == 2 for a in self.maps.values())
        right = self.patterns.dtype == np.bool_ and self.patterns.ndim == 2
        return maps and right and self.patterns.shape[1] == shown and all(0 <= j < shown for j in self.stems)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Comparable:
        """Rebuild what `to_arrays` gave."""
        maps = {int(name.removeprefix("map")): a for name, a in arrays.items() if name.startswith("map")}
        stems = tuple(int(j) for j in arrays.get("stems", ()))
        return cls(arrays["patterns"], maps, int(arrays["age"]), stems)


def _patterns(X: Floats) -> tuple[Bools, NDArray[np.int64]]:
    """Return the distinct sets of missing cells of incomplete rows, and how often each occurs."""
    absent = np.isnan(X)
    absent = absent[absent.any(axis=1) & ~absent.all(axis=1)]
    if not len(absent):
        return absent, np.empty(0, dtype=np.int64)
    patterns, counts = np.unique(absent, axis=0, return_counts=True)
    return patterns, counts


def _shown(X: Floats, stems: tuple[int, ...]) -> Floats:
    """Return rows (n, d) without the hidden columns."""
    return X[:, : X.shape[1] - len(stems)]


def _donors(window: Floats, stems: tuple[int, ...]) -> Floats:
    """Return the newest complete rows; where there are too few, those with the fewest missing cells."""
    counts = np.isnan(_shown(window, stems)).sum(axis=1)
    allowed = 0 if not len(counts) else np.sort(counts)[min(len(counts), MIN_DONORS) - 1]
    return np.ascontiguousarray(window[counts <= allowed][-DONORS:])


def mapped(quantiles: Floats, scores: Floats) -> Floats:
    """Map scores (n,) by quantiles (2, q): straight lines between them and beyond."""
    if quantiles.shape[1] == 0:
        return scores
    hidden, whole = quantiles
    out: Floats = np.interp(scores, hidden, whole)
    low, high = scores < hidden[0], scores > hidden[-1]
    spread = (hidden[MEDIAN] - hidden[0], whole[MEDIAN] - whole[0])
    slope = np.clip(spread[1] / spread[0], 1.0 / STEEPEST, STEEPEST) if min(spread) > 0.0 else 1.0
    out[low] = whole[0] + slope * (scores[low] - hidden[0])
    out[high] = whole[-1] + scores[high] - hidden[-1]
    return out
