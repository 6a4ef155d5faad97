"""The values of a refit: what to fit, on which rows, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.detector.member import Member

    Floats = NDArray[np.float64]

Kind: TypeAlias = Literal["first", "warm", "challenger"]
RefusalReason: TypeAlias = Literal[
    "non_finite",
    "not_positive_definite",
    "overflow",
    "no_complete_row",
    "no_fit",
    "dead_component",
    "condition",
    "shadow_density",
    "shadow_flag_rate",
    "deadline",
]

SMALLER_FIT = (
    "raise learning.refit_deadline, or make the fit smaller: fewer columns, covariance_type: diag, or model.pca"
)


@dataclass(frozen=True, slots=True)
class MemberSettings:
    """How one member of the committee is fitted, and when.

    Attributes
    ----------
    kind
        A mixture of all features, or a product of one-dimensional ones.
    n_components : int
        Of the mixture, or of each feature's; the most, where a fit from nothing chooses.
    fewest_components : int
        Of a mixture that a fit from nothing chooses the size of; absent: there is nothing to choose.
    choose_by
        The criterion of that choice.
    window : int
        Rows it remembers.
    refresh_every, refit_every : int
        Learnt rows between refreshes and between refits.
    refit_seconds : float
        Event time after which a refit is due as well; infinite = rows alone decide.
    shrinkage : float
        κ: pulls each covariance towards the pooled one, (S + κ d S_pool) / (N_k + κ d).
    floor : float
        Added to the variances, in units of the scaled variance.
    clip : float
        Scaled features beyond ±clip count as ±clip.
    count_few : bool
        Whether values of columns with few distinct ones are counted instead of fitted.
    scaling
        By mean and standard deviation, or by median and quantiles.
    pca_components, pca_share
        How many principal axes the mixture is fitted along, or the share of the variance they shall hold; neither: it
        is fitted to the features themselves.
    n_columns : int
        It sees the first so many columns of the rows; 0 = all of them.
    stems
        Of each hidden column, which a temporal member sees instead: the column that it stems from, by index.
    weight : float
        How much its log-density counts in the committee's mean.
    """

    name: str = "single"
    kind: Literal["mixture", "marginals"] = "mixture"
    n_components: int = 4
    fewest_components: int | None = None
    choose_by: Literal["bic", "aic", "held_out"] = "bic"
    covariance_type: str = "full"
    window: int = 1000
    refresh_every: int = 100
    refit_every: int = 2000
    refit_seconds: float = np.inf
    shrinkage: float = 1.0
    floor: float = 1e-3
    clip: float = 30.0
    category_columns: tuple[int, ...] = ()
    count_few: bool = True
    scaling: Literal["standard", "robust"] = "standard"
    pca_components: int | None = None
    pca_share: float | None = None
    n_columns: int = 0
    stems: tuple[int, ...] = ()
    weight: float = 1.0

    def width(self, columns: int) -> int:
        """Return how many of so many columns a mixture's covariances span; 0 where they have no off-diagonal."""
        if self.kind == "marginals" or self.covariance_type not in {"full", "tied"}:
            return 0
        return min(self.n_columns or columns, self.pca_components or columns)

    def row_work(self, columns: int) -> float:
        """Return about how many multiplications a row of so many columns takes, when it is scored or learnt from."""
        return float(self.n_components * (self.width(columns) ** 2 or self.n_columns or columns))

    def pass_work(self, columns: int, rows: int) -> float:
        """Return about how many multiplications an EM pass over so many rows takes."""
        return self.row_work(columns) * (rows + self.width(columns))

    @property
    def reduces(self) -> bool:
        """Return whether the mixture is fitted along principal axes."""
        return self.pca_components is not None or self.pca_share is not None


@dataclass(frozen=True, slots=True)
class Job:
    """One refit. Its rows are sealed: nothing may write to them while a worker reads.

    Attributes
    ----------
    epoch : int
        The engine's epoch when it was made; a candidate of an older epoch is stale.
    number : int
        Counts jobs; with the seed it makes a fit repeatable.
    targets
        The members to fit, by index; `settings` and `incumbents` go with it.
    X : (n, d) float64
    newest : float
        Event time of the newest row.
    """

    epoch: int
    number: int
    kind: Kind
    targets: tuple[int, ...]
    settings: tuple[MemberSettings, ...]
    incumbents: tuple[Member, ...]
    X: Floats
    newest: float
    seed: int
    deadline: float

    def rows(self, newest: int, width: int | None = None) -> Floats:
        """Return so many of the newest rows, C-contiguous, and their first columns; all of these unless told."""
        return np.ascontiguousarray(self.X[-newest:, :width])

    def rng(self) -> np.random.Generator:
        """Return the job's own generator: the same job gives the same candidate."""
        return np.random.default_rng([self.seed, self.number])


@dataclass(frozen=True, slots=True)
class Candidate:
    """Fitted members, waiting for the shadow's verdict.

    Attributes
    ----------
    members
        One per target of the job.
    held_out : (m,) float64
        A first fit's log-densities of the rows it had not seen: the first calibration scores.
    """

    job: Job
    members: tuple[Member, ...]
    seconds: float
    held_out: Floats = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, slots=True)
class Failure:
    """A job without a candidate: refused by a gate (a reason of the closed set), or failed (no reason)."""

    job: Job
    reason: RefusalReason | None
    message: str
    seconds: float
