"""Principal components: a mixture is fitted to few of them, and served as a mixture of all features.

What the components leave out is kept as one isotropic term, as in probabilistic PCA (Tipping & Bishop 1999, §3): with
orthonormal axes V and the rest's variance σ², a component (μ, Σ) of the scores is (V μ, V Σ Vᵀ + σ² (I − V Vᵀ)) of the
features. That is an ordinary mixture: densities stay in the units of the columns, missing cells are integrated out
exactly, and explanations name columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.mixture.parameters import MixtureParameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# A feature of less variance stands still: a constant, or one that the view blanks out.
STILL = 1e-12


@dataclass(frozen=True, slots=True)
class Reduction:
    """Few principal axes of standardised features.

    Attributes
    ----------
    axes
        (n_features, n_axes), orthonormal.
    centre
        (n_features,)
    rest
        Variance of every direction that is left out.
    """

    axes: Floats
    centre: Floats
    rest: float

    @classmethod
    def fit(cls, z: Floats, n_axes: int | None, explained: float | None, floor: float) -> Reduction:
        """Take the first axes of complete rows (n, n_features): a number of them, or a share of the variance.

        Parameters
        ----------
        floor
            Least variance of what is left out.
        """
        centre = z.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(z - centre, rowvar=False, bias=True).reshape(len(centre), -1))
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        lively = max(1, int((z.var(axis=0) > STILL).sum()))
        if n_axes is None:
            share = np.cumsum(values) / max(values.sum(), STILL)
            n_axes = 1 + int(np.searchsorted(share, explained or 1.0, side="left"))
        m = min(n_axes, lively)
        left_out = values[m:lively]
        rest = max(float(left_out.mean()) if len(left_out) else 0.0, floor)
        return cls(_signed(np.ascontiguousarray(vectors[:, :m])), centre, rest)

    def scores(self, z: Floats) -> Floats:
        """Return rows (n, n_features) along the axes (n, n_axes)."""
        return np.ascontiguousarray((z - self.centre) @ self.axes)

    def project(self, mixture: MixtureParameters, covariance_type: str) -> MixtureParameters:
        """Return what the scores are like under a mixture of the features."""
        V = self.axes
        means = (mixture.means - self.centre) @ V
        full = np.einsum("im,kij,jn->kmn", V, mixture.full_covariances(), V)
        variances = np.einsum("kmm->km", full)
        shaped = {
            "full": lambda: full,
            "tied": lambda: np.einsum("k,kmn->mn", mixture.weights, full),
            "diag": lambda: variances,
            "spherical": lambda: variances.mean(axis=1),
        }[covariance_type]()
        return MixtureParameters.from_covariances(mixture.weights, means, shaped, covariance_type)

    def expand(self, mixture: MixtureParameters) -> MixtureParameters:
        """Return the mixture of the features whose scores have this one, and the rest its own variance."""
        V = self.axes
        left_out = self.rest * (np.eye(len(V)) - V @ V.T)
        covariances = np.einsum("im,kmn,jn->kij", V, mixture.full_covariances(), V) + left_out
        symmetric = (covariances + np.swapaxes(covariances, 1, 2)) / 2.0
        means = mixture.means @ V.T + self.centre
        return MixtureParameters.from_covariances(mixture.weights, means, symmetric, "full")


def _signed(axes: Floats) -> Floats:
    """Return axes whose largest entry is positive: eigenvectors have no sign of their own."""
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return np.asarray(axes * np.where(largest < 0.0, -1.0, 1.0))
