"""One member of the committee: a fitted view of the columns and a mixture in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.detector import mixtures
from streamgmm.detector.view import View
from streamgmm.mixture.attribution import Attribution
from streamgmm.mixture.marginals import Marginals

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from numpy.typing import NDArray

    from streamgmm.detector.mixtures import Mixture

    Floats = NDArray[np.float64]


# Squares of standardised values beyond this may overflow, and an explanation would hold no numbers any more.
FARTHEST = 1e100


@dataclass(frozen=True, slots=True)
class Member:
    """A view and a mixture in it; log-densities are in the units of the columns.

    Attributes
    ----------
    name
        As in the configuration: single, slow, fast, marginals …
    trained_at
        Event time (seconds since the epoch) of the newest row of its last fit; NaN where rows have no time.
    """

    name: str
    view: View
    mixture: Mixture
    trained_at: float

    @property
    def is_full(self) -> bool:
        """Return whether its components span all features, so that there is a nearest one."""
        return not isinstance(self.mixture, Marginals)

    def log_density(self, X: Floats) -> Floats:
        """Return the log-density of each row, nats per unit of the columns: (n, d) → (n,)."""
        return mixtures.log_density(self.mixture, self.view.apply(X)) + self.view.log_jacobian

    def explain(self, x: Floats) -> Attribution:
        """Attribute rows (n, d) to features: expected and stddev in the units of the columns.

        The surprise stays per standardised unit, so that features of different units can be ranked; nothing is
        clipped but what would overflow.
        """
        a = mixtures.attribute(self.mixture, np.clip(self.view.scaled(x), -FARTHEST, FARTHEST))
        expected = a.expected * self.view.scale + self.view.location
        return Attribution(
            surprise=a.surprise,
            expected=expected,
            stddev=a.stddev * self.view.scale,
            share=a.share,
            distance2=a.distance2,
            component=a.component,
            responsibilities=a.responsibilities,
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as named arrays."""
        arrays = {f"view.{k}": v for k, v in self.view.to_arrays().items()}
        arrays |= {f"mixture.{k}": v for k, v in self.mixture.to_arrays().items()}
        return arrays | {"name": np.array(self.name), "trained_at": np.array(self.trained_at)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Member:
        """Rebuild what `to_arrays` gave."""
        return cls(
            name=str(arrays["name"]),
            view=View.from_arrays(select(arrays, "view.")),
            mixture=mixtures.from_arrays(select(arrays, "mixture.")),
            trained_at=float(arrays["trained_at"]),
        )


def select(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Return the arrays whose name starts with a prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
