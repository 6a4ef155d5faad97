"""From a log-density to how improbable it is: the rank among recent scores of rows that no fit had seen.

Nothing is ever excluded from the buffer: leaving flagged rows out lets the rate of flags run away.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.engine.calibration_kernels import (
    bucket_starts,
    exchange,
    follow_level,
    rank,
    rank_earlier,
    share_of_rank,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Ranks below this are beyond what the buffer can count; from there an exponential tail takes over.
MIN_RANK = 5
TAIL_SHARE = 0.02
MIN_TAIL_ROWS = 10
# A score is far beyond the tail from so many scales on. A few far ones, as one wild reading after the other leaves
# them, say nothing about what comes next: the tail begins above them.
FAR_SCALES = 20.0
FEW_FAR, FEW_FAR_SHARE = 10, 0.001
# A block of rows gets its ranks by a table of the buffer, where that costs less than searching each.
ROWS_FOR_TABLE = 16
MOST_BUCKETS = 1 << 17
LONG_TAIL = 1e-3
# Of the adaptive level: per row, in log units. Measured on 32 streams, 0.002 follows too slowly, 0.05 loses events.
LEVEL_GAIN = 0.02
LEVEL_BOUND = 4.0
HIGHEST_LEVEL = 0.5
# Rows of a running step that others of it are ranked among: those of any usual step.
MOST_EARLIER = 1000


@dataclass(frozen=True)
class Calibration:
    """The buffer of prequential log-densities, and the level that holds the realised rate.

    Attributes
    ----------
    capacity : int
    recent : (m,) float64
        Log-densities in order of arrival, nats.
    ordered : (m,) float64
        The same, ascending: most improbable first.
    log_gain : float
        How far the adaptive level has moved from the target, in log units.
    """

    capacity: int
    recent: Floats
    ordered: Floats
    log_gain: float = 0.0

    @classmethod
    def of(cls, capacity: int, recent: Floats, log_gain: float = 0.0) -> Calibration:
        """Make a calibration from scores in order of arrival; one that is not finite is left out."""
        recent = np.array(recent[-capacity:])
        recent = recent[np.isfinite(recent)]
        return cls(capacity, recent, np.sort(recent), log_gain)

    @property
    def full(self) -> bool:
        """Return whether the buffer holds all the scores it can."""
        return len(self.recent) >= self.capacity

    def add(self, scores: Floats) -> Calibration:
        """Return the calibration with newer scores (k,), the finite ones; the oldest beyond the capacity leave."""
        scores = scores[np.isfinite(scores)]
        recent = np.concatenate([self.recent, scores])
        leaving, recent = recent[: -self.capacity], recent[-self.capacity :]
        if len(leaving) > len(self.recent):
            return Calibration(self.capacity, recent, np.sort(recent), self.log_gain)
        ordered = np.empty(len(recent))
        exchange(self.ordered, np.sort(leaving), np.sort(scores), ordered)
        return Calibration(self.capacity, recent, ordered, self.log_gain)

    def newest(self, n: int) -> Calibration:
        """Return the calibration of the n newest scores alone."""
        return Calibration.of(self.capacity, self.recent[-n:] if n > 0 else self.recent[:0], self.log_gain)

    def p_values(self, log_density: Floats) -> Floats:
        """Return, for each log-density (n,), the share of normal rows that are at least as improbable.

        The rank in the buffer, (1 + #{scores ≤ x}) / (m + 1) (conformal, so valid at any m); beyond the fifth rank that
        is not far out, an exponential tail of the scale of the most improbable 2 %, joined so that the p-value stays
        monotone in the log-density.
        """
        m = len(self.ordered)
        if m == 0:
            return np.ones(len(log_density))
        log_density = np.ascontiguousarray(log_density)
        first, anchor, scale = self._tail
        p = np.empty(len(log_density))
        share_of_rank(self._ranks(log_density), log_density, m, first, anchor, scale, p)
        return p

    def worn(self, p: Floats, log_density: Floats, earlier: Floats, counts: NDArray[np.bool_]) -> Floats:
        """Return the p-values (n,) that flags are decided by: those of rows that are rare in the running step as well.

        The buffer takes a step's rows only at its end, so that a change that begins with a step would look new for all
        of it. Each row is therefore ranked among the buffer and the step's rows before it, and the larger p-value
        counts (`test_a_burst_within_a_step_wears_off`). p-values themselves stay monotone in the log-density.

        Parameters
        ----------
        earlier : (k,) float64
            Scores of the step's rows before these.
        counts : (n,) bool
            Rows that the buffer will take.
        """
        m, first = len(self.ordered), np.sort(earlier[:MOST_EARLIER])
        if m == 0:
            return p
        known, sizes = np.empty(MOST_EARLIER), np.empty(len(p), dtype=np.int64)
        known[: len(first)] = first
        log_density = np.ascontiguousarray(log_density)
        ranks = self._ranks(log_density)
        rank_earlier(known, len(first), log_density, counts, ranks, sizes)
        return np.where(ranks >= max(self._tail[0], MIN_RANK), np.maximum(p, (1.0 + ranks) / (m + sizes + 1.0)), p)

    def threshold(self, rate: float) -> float:
        """Return the log-density whose p-value is `rate`, nats; −inf while there is nothing to compare with."""
        return float(self.thresholds(np.array([rate]))[0])

    def thresholds(self, rates: Floats) -> Floats:
        """Return the log-densities (n,) below which p-values are at most these (n,), nats.

        A row is below its threshold exactly where its p-value is at or below its rate
        (`test_a_flag_and_its_numbers_agree`).
        """
        m = len(self.ordered)
        first, anchor, scale = self._tail
        # The largest rank whose p-value is at most the rate, by the same division as in `p_values`: rounding aside.
        rank = np.floor(rates * (m + 1.0) - 1.0)
        rank += (2.0 + rank) / (m + 1.0) <= rates
        rank -= (1.0 + rank) / (m + 1.0) > rates
        beyond = anchor + scale * np.log(rates * (m + 1.0) / (1.0 + first))
        if not m:
            return beyond
        counted = rank >= first
        places = np.where(counted, np.minimum(rank, m - 1.0), 0.0).astype(np.int64)
        return np.where(counted, self.ordered[places], beyond)

    def level(self, target: float) -> float:
        """Return the p-value at or below which the next row is flagged."""
        return float(min(HIGHEST_LEVEL, target * np.exp(self.log_gain)))

    def adapt(self, p: Floats, counts: NDArray[np.bool_], target: float) -> tuple[Floats, Calibration]:
        """Return the level (n,) by which each row is flagged, and the calibration after the last one.

        It holds the realised rate at the target (Gibbs & Candès 2021, in log units): every row moves it, so that
        within a burst it falls after the first flags. One move for all rows of a step, which shared a level, would
        flag the whole burst and forget most of that at the bound (`test_a_burst_is_paid_for`).

        Parameters
        ----------
        p : (n,) float64
            p-values in stream order; NaN is no row.
        counts : (n,) bool
            Rows that move the level: those that the buffer takes.
        """
        level = np.empty(len(p))
        gain = LEVEL_GAIN * min(1.0, 100.0 * target)
        after = follow_level(
            np.ascontiguousarray(p), counts, target, gain, LEVEL_BOUND, HIGHEST_LEVEL, self.log_gain, level
        )
        # Not `replace`: that would throw the cached table of ranks away.
        following = copy(self)
        object.__setattr__(following, "log_gain", after)
        return level, following

    def _ranks(self, log_density: Floats) -> NDArray[np.int64]:
        """Return how many scores of the buffer are at most as large as each of (n,)."""
        m, n = len(self.ordered), len(log_density)
        if n * ROWS_FOR_TABLE < m or n < ROWS_FOR_TABLE:
            return self.ordered.searchsorted(log_density, side="right")
        low, scale = self._buckets
        if not np.isfinite(scale):
            return self.ordered.searchsorted(log_density, side="right")
        out = np.empty(n, dtype=np.int64)
        rank(self.ordered, self._starts, low, scale, np.ascontiguousarray(log_density), out)
        return out

    @property
    def _n_buckets(self) -> int:
        """Return about as many buckets as there are scores: most then hold one or two."""
        return min(MOST_BUCKETS, 1 << len(self.ordered).bit_length())

    @property
    def _buckets(self) -> tuple[float, float]:
        """Return where buckets of equal width begin (the lower tail is too long for them), and how many a nat holds."""
        low = float(self.ordered[int(LONG_TAIL * len(self.ordered))])
        width = float(self.ordered[-1]) - low
        return low, self._n_buckets / width if width > 0.0 else np.inf

    @cached_property
    def _starts(self) -> NDArray[np.int32]:
        starts = np.empty(self._n_buckets + 1, dtype=np.int32)
        bucket_starts(self.ordered, *self._buckets, starts)
        return starts

    @cached_property
    def _tail(self) -> tuple[int, float, float]:
        """Return the ranks that an exponential tail stands for, the score where it begins and its scale, nats.

        The scale is the most likely one of an exponential tail of which the lowest third is known by number only, so
        that a few scores, however far out, do not move it (`test_a_few_wild_scores_leave_the_tail_as_it_is`).
        """
        m, ordered = len(self.ordered), self.ordered
        if m <= MIN_RANK:
            return 0, -np.inf, 1.0
        count = min(max(MIN_TAIL_ROWS, int(TAIL_SHARE * m)), m - 1)
        unknown = count // 3
        excess = ordered[count] - ordered[unknown:count]
        scale = max(float(excess.sum() + unknown * excess[0]) / len(excess), 1e-9)
        few = min(max(FEW_FAR, int(FEW_FAR_SHARE * m)), unknown)
        far = int(ordered[:few].searchsorted(ordered[count] - FAR_SCALES * scale))
        first = min(MIN_RANK + far, m - 1)
        return first, float(ordered[first - 1]), scale
