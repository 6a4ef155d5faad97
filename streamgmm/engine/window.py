"""The rolling window: sealed blocks of learnt rows, newest last."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


# A time is wrong where it lies so many seconds, and ten times what the others span, from the median.
FAR_OFF = 86_400.0


def believable(t: Floats) -> Floats:
    """Return those of times (n,) that are known, without a few that lie far off all others.

    One wrong clock would else stop what is due by event time (`test_one_row_of_another_century_stops_nothing`).
    """
    known: Floats = t[np.isfinite(t)]
    if not len(known) or float(known.max() - known.min()) <= FAR_OFF:
        return known
    low, middle, high = np.quantile(known, [0.1, 0.5, 0.9])
    near: Floats = known[np.abs(known - middle) <= FAR_OFF + 10.0 * (high - low)]
    return near


def latest(t: Floats) -> float:
    """Return the latest believable one of times (n,), NaN where none is known."""
    return float(np.fmax.reduce(believable(t), initial=np.nan))


@dataclass(frozen=True, slots=True)
class Block:
    """Rows (n, d) and their event times (n,), which nobody writes to any more.

    `newest` is the latest believable time, NaN if there is none: see `latest`.
    """

    X: Floats
    t: Floats
    newest: float

    @classmethod
    def of(cls, X: Floats, t: Floats) -> Block:
        """Return rows that nobody writes to as a block."""
        return cls(X, t, latest(t))

    @classmethod
    def seal(cls, X: Floats, t: Floats) -> Block:
        """Copy rows out of whatever buffer they came in and lock them."""
        return cls.locked(np.array(X, order="C"), np.array(t))

    @classmethod
    def locked(cls, X: Floats, t: Floats) -> Block:
        """Lock rows that are nobody else's."""
        X.setflags(write=False)
        t.setflags(write=False)
        return cls.of(X, t)


@dataclass(frozen=True)
class Window:
    """At most `capacity` rows as a value: adding makes a new one, so a refit can keep the old."""

    capacity: int
    blocks: tuple[Block, ...] = ()

    def __len__(self) -> int:
        return self._length

    @cached_property
    def _length(self) -> int:
        return sum([len(b.t) for b in self.blocks])

    def add(self, block: Block) -> Window:
        """Return the window with a block more, and without the oldest rows beyond the capacity."""
        if not len(block.t):
            return self
        blocks = [*self.blocks, block]
        excess = len(self) + len(block.t) - self.capacity
        while excess > 0:
            oldest = blocks.pop(0)
            if len(oldest.t) > excess:
                rest = Block.of(oldest.X[excess:], oldest.t[excess:])
                # Too few rows may be left to tell a wrong time by: it stays unbelievable.
                blocks.insert(0, replace(rest, newest=min(rest.newest, oldest.newest)))
            excess -= len(oldest.t)
        return Window(self.capacity, tuple(blocks))

    def newest_rows(self, n: int) -> Window:
        """Return a window of the same capacity that holds the newest n rows only."""
        return Window(self.capacity, Window(n).joined(self.blocks).blocks)

    def joined(self, blocks: tuple[Block, ...]) -> Window:
        """Return the window with several blocks more."""
        window = self
        for block in blocks:
            window = window.add(block)
        return window

    def rows(self, newest: int | None = None, width: int | None = None) -> Floats:
        """Return the newest rows (n, d), oldest of them first, and their first columns; all of both unless told."""
        blocks = self.blocks
        if not blocks:
            return np.empty((0, 0))
        if newest is None or newest >= len(self):
            return np.concatenate([b.X[:, :width] for b in blocks])
        first, rows = len(blocks), 0
        while rows < newest:
            first -= 1
            rows += len(blocks[first].t)
        head = blocks[first].X[rows - newest :, :width]
        return np.concatenate([head, *[b.X[:, :width] for b in blocks[first + 1 :]]])

    def times(self) -> Floats:
        """Return the event times (n,)."""
        return np.concatenate([b.t for b in self.blocks]) if self.blocks else np.empty(0)

    def newest(self) -> float:
        """Return the latest event time, NaN where rows have none."""
        return max([b.newest for b in self.blocks if not math.isnan(b.newest)], default=math.nan)

    def span(self, newest: int | None = None) -> float:
        """Return the event time between the oldest and the newest of the newest rows, seconds; see `believable`."""
        known = believable(self.times() if newest is None else self.times()[-newest:])
        return float(known.max() - known.min()) if len(known) else 0.0
