"""The rolling window: sealed blocks of learnt rows, newest last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Block:
    """Rows (n, d) and their event times (n,), which nobody writes to any more."""

    X: Floats
    t: Floats

    @classmethod
    def seal(cls, X: Floats, t: Floats) -> Block:
        """Copy rows out of whatever buffer they came in and lock them."""
        block = cls(np.array(X, order="C"), np.array(t))
        block.X.setflags(write=False)
        block.t.setflags(write=False)
        return block


@dataclass(frozen=True, slots=True)
class Window:
    """At most `capacity` rows as a value: adding makes a new one, so a refit can keep the old."""

    capacity: int
    blocks: tuple[Block, ...] = ()

    def __len__(self) -> int:
        return sum(len(b.t) for b in self.blocks)

    def add(self, block: Block) -> Window:
        """Return the window with a block more, and without the oldest rows beyond the capacity."""
        if not len(block.t):
            return self
        blocks = [*self.blocks, block]
        excess = sum(len(b.t) for b in blocks) - self.capacity
        while excess > 0:
            oldest = blocks.pop(0)
            if len(oldest.t) > excess:
                blocks.insert(0, Block(oldest.X[excess:], oldest.t[excess:]))
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

    def rows(self, newest: int | None = None) -> Floats:
        """Return the newest rows (n, d), oldest of them first; all of them unless told."""
        blocks = self.blocks
        if not blocks:
            return np.empty((0, 0))
        first, rows = 0, len(self)
        while newest is not None and rows - len(blocks[first].t) >= newest:
            rows -= len(blocks[first].t)
            first += 1
        X = np.concatenate([b.X for b in blocks[first:]])
        return X if newest is None else np.ascontiguousarray(X[-newest:])

    def times(self) -> Floats:
        """Return the event times (n,)."""
        return np.concatenate([b.t for b in self.blocks]) if self.blocks else np.empty(0)

    def newest(self) -> float:
        """Return the latest event time, NaN where rows have none."""
        return float(np.fmax.reduce(self.times(), initial=np.nan))

    def span(self, newest: int | None = None) -> float:
        """Return the event time between the oldest and the newest of the newest rows, seconds."""
        times = self.times() if newest is None else self.times()[-newest:]
        known = times[np.isfinite(times)]
        return float(known.max() - known.min()) if len(known) else 0.0
