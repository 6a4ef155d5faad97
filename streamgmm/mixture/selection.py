"""How many components, and of which covariance type: BIC, AIC and held-out log-density over both.

Per type one fit from nothing, with the most components; then the two whose union costs least are merged (Runnalls
2007), EM settles what is left, and so on down. Measured against a grid of fresh fits: the same choice at a fraction of
the time, and a curve without the noise of new starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, get_args

import numpy as np

from streamgmm.errors import DetectorError, FitError
from streamgmm.mixture.em import Deadline, Fit, Protection, fit, run
from streamgmm.mixture.parameters import CovarianceType, MixtureParameters
from streamgmm.mixture.scoring import log_density

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Told components, covariance type, EM pass and lower bound.
OnPass: TypeAlias = Callable[[int, str, int, float], None]

CRITERIA = ("bic", "aic", "held_out")
MAX_ROWS = 20_000
HELD_OUT_SHARE = 0.2
MAX_ITER, TOL = 200, 1e-4


@dataclass(frozen=True, eq=False, slots=True)
class Trial:
    """One size and shape, fitted and judged.

    Attributes
    ----------
    n_parameters
        Free parameters, as BIC and AIC count them.
    log_density
        Mean over the fitted rows, nats.
    bic, aic
        Of the fitted rows; lower is better.
    held_out
        Mean log-density of the rows that were held out, nats; higher is better.
    converged
        Whether EM did before its last pass.
    """

    n_components: int
    covariance_type: CovarianceType
    n_parameters: int
    log_density: float
    bic: float
    aic: float
    held_out: float
    converged: bool
    parameters: MixtureParameters


@dataclass(frozen=True, eq=False, slots=True)
class Selection:
    """The table of all trials: by type as asked for, and by rising number of components.

    Attributes
    ----------
    n_fitted, n_held_out
        Rows that every trial was fitted to, and judged by.
    """

    trials: tuple[Trial, ...]
    n_fitted: int
    n_held_out: int

    def best(self, criterion: str = "bic") -> Trial:
        """Return the trial that a criterion chooses: bic, aic or held_out.

        Raises
        ------
        DetectorError
            Another criterion.
        """
        if criterion not in CRITERIA:
            raise DetectorError(f"criterion must be one of {', '.join(CRITERIA)}, got {criterion!r}")
        if criterion == "held_out":
            return max(self.trials, key=lambda trial: trial.held_out)
        return min(self.trials, key=lambda trial: float(getattr(trial, criterion)))


def select(
    X: Floats,
    n_components: Sequence[int],
    covariance_types: Sequence[str],
    rng: np.random.Generator,
    *,
    protection: Protection | None = None,
    max_rows: int = MAX_ROWS,
    on_pass: OnPass | None = None,
    n_threads: int = 1,
    deadline: Deadline | None = None,
) -> Selection:
    """Fit every number of components with every covariance type, and judge each.

    Parameters
    ----------
    X
        (n_samples, n_features); NaN is a missing feature.
    n_components
        The numbers to try, in any order.
    max_rows
        Of more rows than this a random sample of as many is used; a fifth of the rows is held out.
    n_threads
        Threads that share the rows; the choice does not depend on it.
    deadline
        Asked between EM passes: once it has passed, no more are taken.

    Raises
    ------
    DetectorError
        Too few rows, nothing to try, or an unknown covariance type.
    FitError
        No trial could be fitted; one that collapses is left out while others stand.
    """
    sizes = sorted(set(n_components))
    X = np.ascontiguousarray(X, dtype=np.float64)
    _check(X, sizes, covariance_types, max_rows)
    fitted, held_out = _split(X, rng, max_rows)
    trials: list[Trial] = []
    for covariance_type in dict.fromkeys(covariance_types):
        path = _path(fitted, sizes, covariance_type, rng, protection or Protection(), on_pass, n_threads, deadline)
        trials += [_judge(found, fitted, held_out) for found in path][::-1]
    if not trials:
        raise FitError(
            f"every trial collapsed on {len(fitted)} rows of {X.shape[1]} features",
            hint="try fewer components, scale the features, or raise reg_covar",
        )
    return Selection(tuple(trials), len(fitted), len(held_out))


def merge_cheapest(params: MixtureParameters) -> MixtureParameters:
    """Return the mixture in which the two components that are best replaced by one are one.

    Raises
    ------
    DetectorError
        There is but one component.
    """
    if params.n_components < 2:
        raise DetectorError("a mixture of one component cannot be merged")
    return merge(params, *cheapest_pair(params))


def cheapest_pair(params: MixtureParameters) -> tuple[int, int]:
    """Return the pair whose union costs least: Runnalls' upper bound of the Kullback-Leibler divergence."""
    weights, volumes = params.weights, _log_volumes(_own_covariances(params), params)
    costs = {}
    for i in range(params.n_components - 1):
        j = np.arange(i + 1, params.n_components)
        union = _log_volumes(_union(params, i, j), params)
        cost = (weights[i] + weights[j]) * union - weights[i] * volumes[i] - weights[j] * volumes[j]
        nearest = int(np.argmin(cost))
        costs[i, int(j[nearest])] = float(cost[nearest])
    return min(costs, key=lambda pair: costs[pair])


def merge(params: MixtureParameters, i: int, j: int) -> MixtureParameters:
    """Return the mixture with components i and j replaced by one of the same weight, mean and covariance."""
    weight = params.weights[i] + params.weights[j]
    share = _share(params, i, np.array([j]))[0]
    covariances = params.covariances
    if params.covariance_type == "tied":
        apart = params.means[i] - params.means[j]
        covariances = covariances + weight * share * (1.0 - share) * np.outer(apart, apart)
    else:
        covariances = np.delete(covariances, j, axis=0)
        covariances[i - (j < i)] = _union(params, i, np.array([j]))[0]
    weights, means = np.delete(params.weights, j), np.delete(params.means, j, axis=0)
    weights[i - (j < i)] = weight
    means[i - (j < i)] = share * params.means[i] + (1.0 - share) * params.means[j]
    return MixtureParameters.from_covariances(weights / weights.sum(), means, covariances, params.covariance_type)


def _share(params: MixtureParameters, i: int, j: NDArray[np.intp]) -> Floats:
    """Return the weight of i within its union with each of j."""
    weight = params.weights[i] + params.weights[j]
    return np.asarray(params.weights[i] / np.maximum(weight, np.finfo(np.float64).tiny))


def _own_covariances(params: MixtureParameters) -> Floats:
    """Return a covariance per component, also where all share one."""
    if params.covariance_type == "tied":
        return np.broadcast_to(params.covariances, (params.n_components, *params.covariances.shape))
    return params.covariances


def _union(params: MixtureParameters, i: int, j: NDArray[np.intp]) -> Floats:
    """Return the covariance, in the shape of the type, of the union of i with each of j."""
    own, share = _own_covariances(params), _share(params, i, j)
    apart = params.means[i] - params.means[j]
    spread = {
        "full": lambda: np.einsum("pi,pj->pij", apart, apart),
        "tied": lambda: np.einsum("pi,pj->pij", apart, apart),
        "diag": lambda: np.square(apart),
        "spherical": lambda: np.square(apart).mean(axis=1),
    }[params.covariance_type]()
    share = share.reshape(-1, *(1,) * (spread.ndim - 1))
    return np.asarray(share * own[i] + (1.0 - share) * own[j] + share * (1.0 - share) * spread)


def _log_volumes(covariances: Floats, params: MixtureParameters) -> Floats:
    """Return the log-determinant of each covariance (n,)."""
    if params.covariance_type == "spherical":
        return np.asarray(params.n_features * np.log(covariances))
    if params.covariance_type == "diag":
        return np.asarray(np.log(covariances).sum(axis=1))
    return np.asarray(np.linalg.slogdet(covariances)[1])


def _check(X: Floats, sizes: Sequence[int], covariance_types: Sequence[str], max_rows: int) -> None:
    unknown = [kind for kind in covariance_types if kind not in get_args(CovarianceType)]
    if unknown:
        raise DetectorError(f"covariance_type {unknown[0]!r} is not one of full, tied, diag, spherical")
    if not sizes or not covariance_types or sizes[0] < 1:
        raise DetectorError("there is nothing to try", hint="give numbers of components from 1 on, and a type")
    if X.ndim != 2:
        raise DetectorError(f"X must be (n_samples, n_features), got an array of shape {X.shape}")
    needed = 2 * sizes[-1] + 2
    if min(len(X), max_rows) < needed:
        raise DetectorError(
            f"{min(len(X), max_rows)} rows are too few for {sizes[-1]} components",
            hint=f"give at least {needed} rows, or try fewer components",
        )


def _split(X: Floats, rng: np.random.Generator, max_rows: int) -> tuple[Floats, Floats]:
    """Return the rows to fit and the rows to hold out, each in their order."""
    rows = rng.permutation(len(X))[:max_rows]
    n = max(1, round(HELD_OUT_SHARE * len(rows)))
    return np.ascontiguousarray(X[np.sort(rows[n:])]), np.ascontiguousarray(X[np.sort(rows[:n])])


def _path(
    X: Floats,
    sizes: Sequence[int],
    covariance_type: str,
    rng: np.random.Generator,
    protection: Protection,
    on_pass: OnPass | None,
    n_threads: int,
    deadline: Deadline | None,
) -> Iterator[Fit]:
    """Yield the fits of all sizes, the largest first; each starts from the one before with two components merged."""
    previous: MixtureParameters | None = None
    for k in range(sizes[-1], sizes[0] - 1, -1):
        told = None if on_pass is None else partial(on_pass, k, covariance_type)
        try:
            if previous is None:
                found = fit(
                    X,
                    k,
                    covariance_type,
                    rng,
                    max_iter=MAX_ITER,
                    tol=TOL,
                    protection=protection,
                    on_pass=told,
                    n_threads=n_threads,
                    deadline=deadline,
                )
            else:
                merged = merge_cheapest(previous)
                found = run(merged, X, MAX_ITER, TOL, protection, on_pass=told, n_threads=n_threads, deadline=deadline)
        except FitError:
            # Fewer components, fitted afresh, may hold where these collapsed.
            previous = None
            continue
        previous = found.parameters
        if k in sizes:
            yield found


def _judge(found: Fit, fitted: Floats, held_out: Floats) -> Trial:
    params, n = found.parameters, len(fitted)
    density = float(log_density(params, fitted).mean())
    return Trial(
        n_components=params.n_components,
        covariance_type=params.covariance_type,
        n_parameters=params.n_parameters,
        log_density=density,
        bic=-2.0 * n * density + params.n_parameters * float(np.log(n)),
        aic=-2.0 * n * density + 2.0 * params.n_parameters,
        held_out=float(log_density(params, held_out).mean()),
        converged=found.converged,
        parameters=params,
    )
