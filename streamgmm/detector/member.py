"""One member of the committee: a fitted view of the columns and a mixture in it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.detector import mixtures
from streamgmm.detector.sight import LOOKS, WHOLE, Sight
from streamgmm.detector.view import View
from streamgmm.errors import DetectorError
from streamgmm.mixture.marginals import Marginals

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from numpy.typing import NDArray

    from streamgmm.detector.mixtures import Mixture
    from streamgmm.mixture.attribution import Attribution

    Floats = NDArray[np.float64]


# Squares of standardised values beyond this may overflow, and an explanation would hold no numbers any more.
FARTHEST = 1e100
HALF_LOG_2_PI_E = 0.5 * math.log(2.0 * math.pi * math.e)


@dataclass(frozen=True, slots=True)
class Member:
    """A view and a mixture in it; log-densities are in the units of the columns.

    Attributes
    ----------
    name
        As in the configuration: single, slow, fast, marginals …
    trained_at
        Event time (seconds since the epoch) of the newest row of its last fit; NaN where rows have no time.
    sight
        What it sees of a row, and how much it has to say.
    """

    name: str
    view: View
    mixture: Mixture
    trained_at: float
    sight: Sight = WHOLE

    @property
    def is_full(self) -> bool:
        """Return whether its components span all features, so that there is a nearest one."""
        return not isinstance(self.mixture, Marginals)

    def log_density(self, X: Floats) -> Floats:
        """Return the log-density of each row, nats per unit of the columns: (n, d) → (n,)."""
        return self.seen_log_density(self.sight.of(X))

    def seen_log_density(self, X: Floats) -> Floats:
        """Return the same of what it sees of the rows."""
        log_density = mixtures.log_density(self.mixture, self.features(X)) + self.view.log_jacobian
        if self.view.counted:
            log_density += self._blank_log_density() + self.view.tables.log_mass(X)
        # One density per column, or the committee's would not be in the units of the columns any more.
        return log_density / LOOKS if self.sight.stems else log_density

    def features(self, X: Floats) -> Floats:
        """Return what the mixture sees of the columns that the member sees."""
        return self.view.apply(X, mixtures.blank(self.mixture))

    def _blank_log_density(self) -> float:
        """Return what the counted columns, all zero, must not contribute."""
        if isinstance(self.mixture, Marginals):
            return 0.0
        variances = self.mixture.variances(0)[self.view.tables.columns]
        return float(0.5 * np.log(2.0 * np.pi * variances).sum())

    def explain(self, X: Floats) -> Attribution:
        """Attribute what the member sees of rows (n, d): expected and stddev in the units of its columns.

        The surprise stays per standardised unit, so that features of different units can be ranked; nothing is
        clipped but what would overflow. Of a counted column it is that of the value by itself.
        """
        view, X = self.view, self.sight.of(X)
        z = np.clip(view.scaled(X), -FARTHEST, FARTHEST)
        z[:, view.tables.columns] = mixtures.blank(self.mixture)
        a = mixtures.attribute(self.mixture, z)
        expected, stddev = a.expected * view.scale + view.location, a.stddev * view.scale
        surprise, share = a.surprise, a.share
        if view.counted:
            counted = view.tables.columns
            surprise[:, counted], share[:, counted] = view.tables.explain(X), 0.0
            expected[:, counted], stddev[:, counted] = view.tables.location, view.tables.widths
        return replace(a, surprise=surprise, expected=expected, stddev=stddev, share=share)

    def usual_surprise(self, stddev: Floats) -> Floats:
        """Return the mean surprise (n, n_features) of columns with these standard deviations given the others, nats.

        Of a number it is the entropy of a normal distribution, per standardised unit as its surprise is; of a counted
        column, that of its table.
        """
        relative = np.asarray(stddev / self.view.scale)
        known = (relative > 0.0) & np.isfinite(relative)
        usual = np.where(known, HALF_LOG_2_PI_E + np.log(np.where(known, relative, 1.0)), 0.0)
        for table in self.view.counted:
            usual[:, table.column] = table.entropy
        return usual

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as named arrays."""
        arrays = {f"view.{k}": v for k, v in self.view.to_arrays().items()}
        arrays |= {f"mixture.{k}": v for k, v in self.mixture.to_arrays().items()}
        arrays |= {f"sight.{k}": v for k, v in self.sight.to_arrays().items()}
        return arrays | {"name": np.array(self.name), "trained_at": np.array(self.trained_at)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Member:
        """Rebuild what `to_arrays` gave.

        Raises
        ------
        DetectorError
            The parts do not belong together: compiled code trusts their shapes.
        """
        found = cls(
            name=str(arrays["name"]),
            view=View.from_arrays(select(arrays, "view.")),
            mixture=mixtures.from_arrays(select(arrays, "mixture.")),
            trained_at=float(arrays["trained_at"]),
            sight=Sight.from_arrays(select(arrays, "sight.")),
        )
        d = found.mixture.n_features
        if not (found.view.holds(d) and found.sight.holds(d)):
            raise DetectorError(f"member {found.name}: its view, its mixture and its columns do not match")
        return found

    def sees(self, width: int) -> bool:
        """Return whether rows of so many columns hold what it sees."""
        columns = self.sight.columns
        return len(self.view.location) == width if columns is None else max(columns) < width


def select(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Return the arrays whose name starts with a prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
