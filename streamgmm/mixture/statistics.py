"""Sufficient statistics of a mixture as a value: moments about a stated centre, mergeable."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.mixture.parameters import CovarianceType, MixtureParameters

    Floats = NDArray[np.float64]

_PRODUCTS = {"full": "ki,kj->kij", "tied": "ki,kj->ij", "diag": "ki,ki->ki", "spherical": "ki,ki->k"}


@dataclass(frozen=True, eq=False)
class SufficientStats:
    """What an E-step leaves of the rows; moments are about `centre`, never raw (raw ones cancel far from the origin).

    Attributes
    ----------
    weight
        (n_components,): Σ r.
    first
        (n_components, n_features): Σ r (x − centre).
    second
        Σ r (x − centre)(x − centre)ᵀ in the shape of the covariance type: full (n_components, n_features, n_features),
        tied (n_features, n_features) summed over components, diag (n_components, n_features),
        spherical (n_components,) summed over features.
    centre
        (n_components, n_features).
    covariance_type
        What `second` is: its shape alone cannot tell tied from diag.
    """

    weight: Floats
    first: Floats
    second: Floats
    centre: Floats
    covariance_type: CovarianceType

    @classmethod
    def expected(cls, params: MixtureParameters) -> SufficientStats:
        """Return the statistics per row that a mixture expects of its own rows: an M-step gives it back."""
        w, c, kind = params.weights, params.covariances, params.covariance_type
        second = {
            "full": lambda: w[:, None, None] * c,
            "tied": lambda: 1.0 * c,
            "diag": lambda: w[:, None] * c,
            "spherical": lambda: w * c * params.n_features,
        }[kind]()
        return cls(w, np.zeros_like(params.means), second, params.means, kind)

    def merge(self, other: SufficientStats) -> SufficientStats:
        """Return the statistics of both; those of other are moved to this centre first (Chan et al. 1983)."""
        if not np.array_equal(other.centre, self.centre):
            other = other.about(self.centre)
        return replace(
            self,
            weight=self.weight + other.weight,
            first=self.first + other.first,
            second=self.second + other.second,
        )

    def decay(self, rho: float) -> SufficientStats:
        """Return the statistics with every row's weight multiplied by rho."""
        return replace(self, weight=rho * self.weight, first=rho * self.first, second=rho * self.second)

    def about(self, centre: Floats) -> SufficientStats:
        """Return the same statistics about another centre."""
        shift = self.centre - centre
        moved = self.weight[:, None] * shift
        # Σ r (δ + s)(δ + s)ᵀ = Σ r δδᵀ + Σ r δ sᵀ + s (Σ r δ + Σ r s)ᵀ
        second = self.second + self._outer(self.first, shift) + self._outer(shift, self.first + moved)
        return replace(self, first=self.first + moved, second=second, centre=centre)

    def scatter(self, weight: Floats | None = None) -> Floats:
        """Return `second` about the components' own means; weight replaces Σ r where a rule changes it."""
        weight = self.weight if weight is None else weight
        return self.second - self._outer(self.first, self.first / weight[:, None])

    def _outer(self, a: Floats, b: Floats) -> Floats:
        return np.asarray(np.einsum(_PRODUCTS[self.covariance_type], a, b))
