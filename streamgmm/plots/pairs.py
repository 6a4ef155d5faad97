"""Pairs of columns with the components' ellipses, one mixture or two (before and after), and rows if there are any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.mixture.scoring import log_density
from streamgmm.plots import new_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from streamgmm.mixture.marginals import Marginals
    from streamgmm.mixture.parameters import MixtureParameters

    Floats = NDArray[np.float64]

MAX_POINTS = 2000
# Standard deviations at which ellipses are drawn, and to which the axes reach.
RINGS = (1.0, 2.0)
REACH = 4.0
GRID = 300


@dataclass(frozen=True, slots=True)
class Layer:
    """One mixture of a picture: what it is called, and how its lines are drawn."""

    label: str
    params: MixtureParameters | Marginals
    color: str = "C0"
    style: str = "-"


def pair_plot(layers: Sequence[Layer], names: Sequence[str], X: Floats | None = None) -> Figure:
    """Draw the marginal density of each column, and below, for each pair, the ellipses at 1 and 2 standard deviations.

    Parameters
    ----------
    layers
        Mixtures of the same columns, drawn over each other; stronger lines are weightier components.
    names
        Of the columns, (d,).
    X
        Rows (n, d) to draw; of more than 2000, as many evenly spaced.
    """
    d = len(names)
    figure = new_figure(2.2 * d + 1.0, 2.2 * d + 0.5)
    grid = figure.subplots(d, d, squeeze=False)
    if X is not None:
        X = X[np.linspace(0, len(X) - 1, min(len(X), MAX_POINTS)).astype(np.intp)]
    limits = [_limits(layers, j, X) for j in range(d)]
    for i in range(d):
        for j in range(d):
            axes = grid[i, j]
            if j > i:
                axes.set_axis_off()
                continue
            if i == j:
                _marginal(axes, layers, i, limits[i], X)
            else:
                _pair(axes, layers, (j, i), X)
                axes.set_ylim(*limits[i])
            axes.set_xlim(*limits[j])
            axes.tick_params(labelsize="x-small", labelbottom=i == d - 1, labelleft=j == 0 and i > 0)
            axes.set_xlabel(names[j] if i == d - 1 else "")
            axes.set_ylabel(names[i] if j == 0 and i > 0 else "")
    grid[0, 0].legend(fontsize="x-small")
    return figure


def _limits(layers: Sequence[Layer], j: int, X: Floats | None) -> tuple[float, float]:
    """Return the range of a column that holds the components, and all rows but the farthest."""
    low, high = [], []
    for layer in layers:
        own = layer.params.marginal(np.array([j]))
        means = own.means[:, 0]
        spread = REACH * np.sqrt(own.full_covariances()[:, 0, 0])
        low.append(float((means - spread).min()))
        high.append(float((means + spread).max()))
    if X is not None and np.isfinite(X[:, j]).any():
        low.append(float(np.nanquantile(X[:, j], 0.002)))
        high.append(float(np.nanquantile(X[:, j], 0.998)))
    return min(low), max(high)


def _marginal(axes: Axes, layers: Sequence[Layer], j: int, limits: tuple[float, float], X: Floats | None) -> None:
    values = np.empty(0) if X is None else X[np.isfinite(X[:, j]), j]
    if len(values):
        axes.hist(values, bins=60, range=limits, density=True, color="0.85")
    x = np.linspace(*limits, GRID)
    for layer in layers:
        density = np.exp(log_density(layer.params.marginal(np.array([j])), x[:, None]))
        axes.plot(x, density, layer.style, color=layer.color, lw=1.2, label=layer.label)
    axes.set_yticks([])


def _pair(axes: Axes, layers: Sequence[Layer], pair: tuple[int, int], X: Floats | None) -> None:
    from matplotlib.patches import Ellipse  # noqa: PLC0415 - an extra: only those who draw need it

    if X is not None:
        axes.plot(X[:, pair[0]], X[:, pair[1]], ".", ms=1.5, color="0.7", zorder=1)
    for layer in layers:
        params = layer.params.marginal(np.array(pair))
        strength = 0.25 + 0.75 * params.weights / params.weights.max()
        for mean, covariance, alpha in zip(params.means, params.full_covariances(), strength, strict=True):
            width, height, angle = ellipse(covariance)
            for ring in RINGS:
                axes.add_patch(
                    Ellipse(
                        (float(mean[0]), float(mean[1])),
                        2.0 * ring * width,
                        2.0 * ring * height,
                        angle=angle,
                        fill=False,
                        ls=layer.style,
                        ec=layer.color,
                        alpha=float(alpha),
                        zorder=2,
                    )
                )


def ellipse(covariance: Floats) -> tuple[float, float, float]:
    """Return the half-axes of a covariance (2, 2) at one standard deviation, and the angle of the first in degrees."""
    values, vectors = np.linalg.eigh(covariance)
    width, height = np.sqrt(np.maximum(values[::-1], 0.0))
    return float(width), float(height), float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
