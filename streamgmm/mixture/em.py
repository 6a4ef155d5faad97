"""Expectation-maximisation: the E-step leaves mergeable statistics, the M-step turns them into parameters.

Batch, incremental, mini-batch and stepwise EM are callers of the same two functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from streamgmm.errors import DetectorError, FitError
from streamgmm.mixture.e_step import e_step
from streamgmm.mixture.m_step import m_step, repaired_m_step
from streamgmm.mixture.protection import Protection, Repair, dying, reseed
from streamgmm.mixture.scoring import as_rows
from streamgmm.mixture.seeding import STARTS, cheap_start

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.mixture.parameters import MixtureParameters
    from streamgmm.mixture.statistics import SufficientStats

    Floats = NDArray[np.float64]

__all__ = ["Fit", "Protection", "Repair", "e_step", "fit", "m_step", "run"]

Deadline: TypeAlias = Callable[[], bool]


@dataclass(frozen=True, eq=False, slots=True)
class Fit:
    """The outcome of a fit.

    Attributes
    ----------
    lower_bound
        Mean log-likelihood per row of the parameters before the last M-step, nats.
    n_iter
        EM passes over the rows.
    converged
        Whether the last pass gained less than the tolerance.
    repairs
        What protection did, in order.
    history
        lower_bound after each pass.
    """

    parameters: MixtureParameters
    lower_bound: float
    n_iter: int
    converged: bool
    repairs: tuple[Repair, ...] = ()
    history: tuple[float, ...] = ()


def run(
    params: MixtureParameters,
    X: Floats,
    max_iter: int,
    tol: float,
    protection: Protection,
    *,
    sample_weight: Floats | None = None,
    lower_bound: float = -np.inf,
    deadline: Deadline | None = None,
    on_pass: Callable[[int, float], None] | None = None,
    n_threads: int = 1,
) -> Fit:
    """EM from a start, until a pass gains less than tol nats per row or max_iter is reached.

    lower_bound is that of the pass before, where EM goes on. on_pass is told the number and the bound of every pass.
    Results do not depend on the number of threads.
    """
    X = as_rows(params, X)
    mass = float(len(X) if sample_weight is None else np.sum(sample_weight))
    if not mass > 0.0:
        raise FitError("nothing to fit: no rows of positive weight")
    bound, repairs, history, converged = lower_bound, [], [], False
    for i in range(1, max_iter + 1):
        if deadline is not None and deadline():
            break
        stats, likelihood = e_step(params, X, sample_weight, n_threads=n_threads)
        params, lifted = repaired_m_step(stats, params.covariance_type, protection, i)
        repairs += lifted
        previous, bound = bound, likelihood / mass
        history.append(bound)
        if on_pass is not None:
            on_pass(i, bound)
        # A re-seeded component needs two passes to find its place.
        dead = dying(stats.weight) if protection.reseed and i <= max_iter - 2 else None
        if dead is not None and len(repairs) < 2 * params.n_components:
            params = reseed(params, dead)
            repairs.append(Repair("reseeded", dead, i))
        elif abs(bound - previous) < tol:
            converged = True
            break
    return Fit(params, bound, len(history), converged, tuple(repairs), tuple(history))


def fit(
    X: Floats,
    n_components: int,
    covariance_type: str,
    rng: np.random.Generator,
    *,
    max_iter: int = 100,
    tol: float = 1e-3,
    n_init: int = 1,
    protection: Protection | None = None,
    init: str = "k-means++",
    starts: int = STARTS,
    sample_weight: Floats | None = None,
    deadline: Deadline | None = None,
    on_pass: Callable[[int, float], None] | None = None,
    n_threads: int = 1,
) -> Fit:
    """Fit from nothing: each of n_init runs goes on from the best of many cheap starts; the best run is returned.

    Parameters
    ----------
    X
        (n_samples, n_features); NaN is a missing feature.
    tol
        Gain per pass, nats per row, below which EM has converged.
    init
        k-means++ (greedy, then Lloyd) or random (rows drawn as centres).
    starts
        Cheap starts of each run.

    Raises
    ------
    DetectorError
        Fewer rows than components, ±Inf.
    FitError
        Every run collapsed.
    """
    X = np.ascontiguousarray(X, dtype=np.float64)
    if X.ndim != 2 or not 1 <= n_components <= len(X):
        raise DetectorError(f"cannot fit {n_components} components to an array of shape {X.shape}")
    protection = Protection() if protection is None else protection
    best: Fit | None = None
    failure: FitError | None = None
    for _ in range(n_init):
        try:
            judge = _short_run(protection, deadline)
            start = cheap_start(X, n_components, covariance_type, rng, init, sample_weight, judge, starts, deadline)
            found = run(
                start,
                X,
                max_iter,
                tol,
                protection,
                sample_weight=sample_weight,
                deadline=deadline,
                on_pass=on_pass,
                n_threads=n_threads,
            )
        except FitError as error:
            failure = error
            continue
        if best is None or found.lower_bound > best.lower_bound:
            best = found
        if deadline is not None and deadline():
            break
    if best is None:
        raise failure or FitError("no run was made", hint="n_init must be at least 1")
    return best


def _short_run(
    protection: Protection, deadline: Deadline | None
) -> Callable[[SufficientStats, str, Floats, Floats | None], Fit]:
    """Return what judges a cheap start: its M-step and a few passes."""

    def judge(stats: SufficientStats, covariance_type: str, X: Floats, sample_weight: Floats | None) -> Fit:
        params = m_step(stats, covariance_type, protection)
        guard = replace(protection, reseed=False)
        return run(params, X, 5, 0.0, guard, sample_weight=sample_weight, deadline=deadline)

    return judge
