"""Which rows are learnt: all of them on a slow stream, a repeatable sample on a fast one.

Memory has two units: so many rows, and so much event time. When rows come faster than rows / span, each one enters
with a probability that makes the window cover the span, decided by a hash of where the row stands in its stream.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.engine.thinning_kernels import has_ticks, hash_rows, median

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Hashes = NDArray[np.uint64]
    Ints = NDArray[np.int64]

MIN_TIMED_ROWS = 20
# Under thinning a step also ends when this share of the span has gone by, so that a stream that slows down is noticed;
# so many rows must say so one after the other, or every wild timestamp would end a step.
STEP_SPAN_SHARE = 0.1
MIN_LATE_ROWS = 20
# So many different times tell how fast rows come; fewer, and the clock's resolution would be measured instead.
MIN_TICKS = 8
# Where fewer rows enter the window it is told: event times of the wrong unit would stop the learning in silence.
SPARSE = 0.001
_FULL = 2.0**64


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows counted against a clock too coarse for one step: a thousand rows of a fast stream share a millisecond.

    Attributes
    ----------
    since, latest : float
        Event time at which counting began, and of the newest step; NaN before the first.
    ticks : int
        How often the time of a step differed from that of the one before.
    rows : int
        Rows of all steps after the first.
    """

    since: float = float("nan")
    latest: float = float("nan")
    ticks: int = 0
    rows: int = 0

    def add(self, rows: int, t: Floats) -> tuple[Tally, int, float]:
        """Count a step of `rows` rows whose learnt ones have event times t; return also what was measured.

        Returns
        -------
        (Tally, int, float)
            The tally to go on with, and rows and seconds of a measurement; no rows while it is not finished.
        """
        timed = t[~np.isnan(t)]
        if len(timed) == 0 or has_ticks(timed, min(MIN_TICKS, rows)):
            return Tally(), rows, elapsed(timed)
        middle = float(median(timed))
        if np.isnan(self.since) or middle < self.since:
            return Tally(middle, middle), 0, 0.0
        tally = Tally(self.since, middle, self.ticks + (middle != self.latest), self.rows + rows)
        if tally.ticks < MIN_TICKS:
            return tally, 0, 0.0
        return Tally(middle, middle), tally.rows, middle - self.since


@dataclass(frozen=True, slots=True)
class Thinning:
    """The share of rows that enter the window and the calibration buffer: `window` ≤ `calibration` ≤ 1."""

    window: float = 1.0
    calibration: float = 1.0
    rows_per_second: float = float("nan")

    def enters_calibration(self, row_hash: Hashes) -> NDArray[np.bool_]:
        """Return which rows (n,) enter the calibration buffer; those of the window are among them."""
        return _below(row_hash, self.calibration)

    def enters_window(self, row_hash: Hashes) -> NDArray[np.bool_]:
        """Return which rows (n,) enter the window."""
        return _below(row_hash, self.window)

    def follow(self, rows: int, seconds: float, window: float, calibration: float) -> Thinning:
        """Return the shares for a stream of which `rows` rows took `seconds` of event time.

        `window` and `calibration` are the rows per second that either may take; infinite while it is being filled.
        A step in which no time passed says nothing about the rate (a producer without a clock): shares stay.
        """
        rate = self.rows_per_second
        if seconds > 0.0 and rows > 0:
            measured = rows / seconds
            rate = measured if np.isnan(rate) else float(np.sqrt(rate * measured))
        if np.isnan(rate):
            return self
        shares = min(1.0, window / rate), min(1.0, calibration / rate)
        return replace(self, window=shares[0], calibration=max(shares), rows_per_second=rate)


def elapsed(timed: Floats) -> float:
    """Return the event time that rows (n,) took; medians of the two halves, so that outliers cannot stop it."""
    if len(timed) < 2:
        return 0.0
    if len(timed) < MIN_TIMED_ROWS:
        return float(timed[-1] - timed[0])
    half = len(timed) // 2
    return 2.0 * float(median(timed[half:]) - median(timed[:half]))


def started(t: Floats, already: float) -> float:
    """Return the event time at which a step started: that of its first timed row, NaN until there is one."""
    if not np.isnan(already):
        return already
    timed = t[~np.isnan(t)]
    return float(timed[0]) if len(timed) else already


def late_rows(t: Floats, since: float, limit: float, before: int) -> NDArray[np.int64]:
    """Return, for each row (n,), how many up to it lie more than `limit` seconds from `since`, one after the other.

    `before` of them came before these rows; rows without a time neither count nor interrupt.
    """
    late = np.abs(t - since) > limit  # never where either is NaN
    if before == 0 and not late.any():
        return np.zeros(len(t), dtype=np.int64)
    timed = ~np.isnan(t)
    counted = before + np.cumsum(late)
    interrupted: NDArray[np.int64] = np.maximum.accumulate(np.where(timed & ~late, counted, 0))
    return counted - interrupted


def stream_hash(name: str) -> int:
    """Return a stable 64-bit number for one ordered stream (topic and partition)."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def row_hashes(stream: Hashes, offset: Ints, record: Ints, row: Ints) -> Hashes:
    """Return a stable 64-bit hash (n,) of where each row stands: SplitMix64 over stream, offset and row number.

    Parameters
    ----------
    stream : (m,) uint64
    offset : (m,) int64
        Of every record.
    record, row : (n,) int64
        Which record each row is of, and its number within.
    """
    out = np.empty(len(row), dtype=np.uint64)
    hash_rows(stream, offset, record, row, out)
    return out


def _below(row_hash: Hashes, share: float) -> NDArray[np.bool_]:
    if share >= 1.0:
        return np.ones(len(row_hash), dtype=bool)
    return row_hash < np.uint64(share * _FULL)
