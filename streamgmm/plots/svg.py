"""Charts as inline SVG, written by hand: a report must open anywhere, and needs three kinds of mark."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WIDTH, HEIGHT = 960, 220
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 10, 34
TICKS = 5


@dataclass(slots=True)
class Chart:
    """A frame with axes, and marks in the units of its data; what lies beyond the range is drawn at its edge.

    Attributes
    ----------
    x, y
        Ranges (low, high).
    is_time
        x is seconds since the epoch.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    y_label: str
    is_time: bool = False
    _marks: list[str] = field(default_factory=list)

    def band(self, x: Floats, low: Floats, high: Floats, style: str) -> None:
        """Fill the area between two curves (n,)."""
        points = zip([*x, *x[::-1]], [*high, *low[::-1]], strict=True)
        self._marks.append(f'<polygon class="{style}" points="{self._path(list(points))}"/>')

    def line(self, x: Floats, y: Floats, style: str) -> None:
        """Draw a curve (n,); NaN is left out."""
        points = [(a, b) for a, b in zip(x, y, strict=True) if np.isfinite(b)]
        if points:
            self._marks.append(f'<polyline class="{style}" points="{self._path(points)}"/>')

    def dots(self, x: Floats, y: Floats, style: str) -> None:
        """Draw points (n,)."""
        for a, b in zip(x, y, strict=True):
            self._marks.append(f'<circle class="{style}" cx="{self._x(a):.1f}" cy="{self._y(b):.1f}" r="2.5"/>')

    def bar(self, start: float, stop: float, height: float, style: str) -> None:
        """Draw a bar from the bottom."""
        left, top, bottom = self._x(start), self._y(height), self._y(self.y[0])
        box = f'x="{left:.1f}" y="{top:.1f}" width="{max(1.0, self._x(stop) - left):.1f}" height="{bottom - top:.1f}"'
        self._marks.append(f'<rect class="{style}" {box}/>')

    def upright(self, x: float, style: str, title: str) -> None:
        """Draw a vertical line that says what it is when pointed at."""
        at = f'x1="{self._x(x):.1f}" x2="{self._x(x):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"'
        self._marks.append(f'<line class="{style}" {at}><title>{escape(title)}</title></line>')

    def __str__(self) -> str:
        """Return the SVG element."""
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.y_label, quote=True)}">'
            f"{''.join(self._marks)}{''.join(self._axes())}</svg>"
        )

    def _axes(self) -> list[str]:
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        parts = [f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>']
        parts += [
            f'<text class="tick" x="{self._x(value):.1f}" y="{bottom + 14}">{self._tick(value)}</text>'
            for value in np.linspace(*self.x, TICKS)
        ]
        parts += [
            f'<text class="tick y" x="{LEFT - 6}" y="{self._y(value) + 4:.1f}">{value:.3g}</text>'
            for value in np.linspace(*self.y, TICKS)
        ]
        middle = (TOP + bottom) / 2
        parts.append(f'<text class="name" x="{(LEFT + right) / 2}" y="{HEIGHT - 4}">{escape(self.x_label)}</text>')
        turned = f'transform="rotate(-90 12 {middle})"'
        parts.append(f'<text class="name" x="12" y="{middle}" {turned}>{escape(self.y_label)}</text>')
        return parts

    def _tick(self, value: float) -> str:
        span = self.x[1] - self.x[0]
        return moment(value, "seconds" if span < 600 else "minutes") if self.is_time else f"{value:.6g}"

    def _path(self, points: list[tuple[float, float]]) -> str:
        return " ".join(f"{self._x(a):.1f},{self._y(b):.1f}" for a, b in points)

    def _x(self, value: float) -> float:
        return LEFT + _share(value, self.x) * (WIDTH - LEFT - RIGHT)

    def _y(self, value: float) -> float:
        return HEIGHT - BOTTOM - _share(value, self.y) * (HEIGHT - TOP - BOTTOM)


def moment(t: float, precision: str = "seconds") -> str:
    """Return a point in time (seconds since the epoch) in UTC; nothing where it is NaN."""
    try:
        return "" if np.isnan(t) else datetime.fromtimestamp(t, UTC).isoformat(sep=" ", timespec=precision)[:-6]
    except (OverflowError, ValueError, OSError):
        return f"{t:g}"


def _share(value: float, between: tuple[float, float]) -> float:
    low, high = between
    return 0.5 if high <= low else float(np.clip((value - low) / (high - low), 0.0, 1.0))
