"""How well scores and flags agree with labels; no point adjustment anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Ints = NDArray[np.int64]


def auroc(faulty: Bools, score: Floats) -> float:
    """Return the probability that a faulty row (n,) scores above a normal one; NaN where one kind is missing."""
    n = int(faulty.sum())
    if n in {0, len(faulty)}:
        return float("nan")
    ranks = rankdata(score)[faulty].sum()
    return float((ranks - n * (n + 1) / 2) / (n * (len(faulty) - n)))


def average_precision(faulty: Bools, score: Floats) -> float:
    """Return the precision, averaged over the recall as the threshold falls; rows of one score are one step."""
    if not faulty.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    found = np.cumsum(faulty[order])[last]
    gained = np.diff(found, prepend=0) / faulty.sum()
    return float((gained * found / (last + 1)).sum())


def events(faulty: Bools) -> tuple[Ints, Ints]:
    """Return where runs of faulty rows start, and where they have ended."""
    edges = np.diff(np.concatenate([[0], faulty.astype(np.int64), [0]]))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def events_found(faulty: Bools, flagged: Bools) -> tuple[int, int]:
    """Return how many runs of faulty rows have a flagged row, and how many there are."""
    starts, ends = events(faulty)
    sums = np.concatenate([[0], np.cumsum(flagged)])
    return int((sums[ends] > sums[starts]).sum()), len(starts)
