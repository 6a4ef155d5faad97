"""What changed between two models: members, and of mixtures the components, matched one to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from streamgmm.mixture.parameters import MixtureParameters
from streamgmm.offline.mixtures import in_columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.detector.member import Member

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Change:
    """Two mixtures of the same columns, in the units of these.

    Attributes
    ----------
    pairs
        Components (of the one, of the other) that are taken for the same: together their means have moved least, in
        standard deviations.
    gone, new
        Components of the one, and of the other, that have no counterpart.
    shift
        (pairs, n_columns): by how many standard deviations of the former component each mean has moved.
    spread
        (pairs, n_columns): the latter standard deviation over the former.
    """

    before: MixtureParameters
    after: MixtureParameters
    pairs: tuple[tuple[int, int], ...]
    gone: tuple[int, ...]
    new: tuple[int, ...]
    shift: Floats
    spread: Floats


def compare(before: Member, after: Member) -> Change | None:
    """Match the components of two members; None where one of them is no mixture of all columns."""
    one, other = in_columns(before), in_columns(after)
    if not (isinstance(one, MixtureParameters) and isinstance(other, MixtureParameters)):
        return None
    return _changes(one, other)


def _changes(before: MixtureParameters, after: MixtureParameters) -> Change:
    former, latter = (np.sqrt(np.einsum("kii->ki", p.full_covariances())) for p in (before, after))
    apart = (after.means[None] - before.means[:, None]) / former[:, None]
    rows, columns = linear_sum_assignment(np.square(apart).sum(axis=2))
    return Change(
        before,
        after,
        tuple(zip(rows.tolist(), columns.tolist(), strict=True)),
        tuple(sorted(set(range(before.n_components)) - set(rows.tolist()))),
        tuple(sorted(set(range(after.n_components)) - set(columns.tolist()))),
        np.asarray(apart[rows, columns]),
        np.asarray(latter[columns] / former[rows]),
    )
