# ruff: noqa: ANN401
# Callers may pass lists, data frames or scalars.
"""`GaussianMixture` with scikit-learn's interface, without scikit-learn."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from streamgmm.errors import FitError
from streamgmm.mixture import validation
from streamgmm.mixture.em import Protection, e_step, m_step, run
from streamgmm.mixture.factors import factors_of_precisions
from streamgmm.mixture.parameters import MixtureParameters, count_parameters
from streamgmm.mixture.parametrised import Parametrised
from streamgmm.mixture.parts import thread_count
from streamgmm.mixture.sampling import draw
from streamgmm.mixture.scoring import density_and_responsibilities, log_density, weighted_log_density
from streamgmm.mixture.seeding import kmeans, kmeans_plusplus, moments, one_hot, standardised
from streamgmm.mixture.statistics import SufficientStats
from streamgmm.mixture.verbosity import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.mixture.em import Fit

    Floats = NDArray[np.float64]

KMEANS_STEPS = 300


class GaussianMixture(Parametrised):
    """Gaussian mixture fitted by EM: scikit-learn's interface with sample weights, missing values and `partial_fit`.

    Parameters
    ----------
    n_components, covariance_type, tol, reg_covar, max_iter, n_init, init_params, weights_init, means_init, \
    precisions_init, random_state, warm_start, verbose, verbose_interval
        As in scikit-learn. `random_state` may also be a numpy Generator.
    shrinkage, floor, reseed
        Protection against collapse, see `Protection`. Default: off. `repairs_` lists its actions.
    step_exponent, step_offset
        The weight of the t-th batch of `partial_fit` is (t + step_offset)^−step_exponent (0.5 < exponent ≤ 1).
    n_jobs
        Number of threads for EM and scoring. None: one thread. −1: one per core. Results have the same bits with every
        number.

    Attributes
    ----------
    weights_, means_, covariances_, precisions_, precisions_cholesky_, converged_, n_iter_, lower_bound_, \
    lower_bounds_, n_features_in_, feature_names_in_
        As in scikit-learn.
    repairs_
        Actions of the protection, a tuple of `Repair`.

    Notes
    -----
    NaN in X is a missing feature. It is handled exactly: densities are marginal densities, and EM takes expectations
    over the missing features. K-means is the limit of spherical components of equal weight whose variance goes to zero.
    """

    _stats: SufficientStats | None

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        shrinkage: float = 0.0,
        floor: float = 0.0,
        reseed: bool = False,
        step_exponent: float = 0.6,
        step_offset: float = 2.0,
        n_jobs: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.shrinkage = shrinkage
        self.floor = floor
        self.reseed = reseed
        self.step_exponent = step_exponent
        self.step_offset = step_offset
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> GaussianMixture:
        """Fit by EM, n_init times, and keep the best fit. With `warm_start`, continue from the last fit.

        Parameters
        ----------
        X
            (n_samples, n_features); NaN is missing.
        sample_weight
            (n_samples,). A row of weight 2 counts as two rows.

        Raises
        ------
        ValueError
            Parameters or rows are invalid, or a component collapsed (`FitError`, with a remedy).
        """
        del y
        self._fit(X, sample_weight)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> NDArray[np.intp]:
        """Fit, and return the component of each row, (n_samples,)."""
        del y
        rows = self._fit(X, sample_weight)
        return np.asarray(weighted_log_density(self.parameters_, rows, n_threads=self._n_threads()).argmax(axis=1))

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> GaussianMixture:
        """Make one step of stepwise EM with a batch. The first batch is fitted by `fit`.

        Notes
        -----
        s ← (1 − ρ_t) s + ρ_t ŝ(batch), ρ_t = (t + t₀)^−κ: Cappé & Moulines (2009), "On-line expectation-maximization
        algorithm for latent data models". Batches instead of rows: Nguyen, Forbes & McLachlan (2020), "Mini-batch
        learning of exponential family finite mixture models".
        """
        del y
        if not hasattr(self, "parameters_"):
            rows = self._fit(X, sample_weight)
            self._step = 0
            self._stats = self._mean_statistics(rows, sample_weight)[0]
            return self
        validation.check_parameters(self.get_params())
        rows = self._rows(X)
        self._check_going_on(rows.shape[1])
        past = self._stats
        if past is None:
            self._step, past = 0, SufficientStats.expected(self._current())
        stats, self.lower_bound_ = self._mean_statistics(rows, sample_weight)
        self._step += 1
        rho = (self._step + self.step_offset) ** -self.step_exponent if self.step_offset + self._step > 1.0 else 1.0
        self._stats = stats.decay(rho).merge(past.decay(1.0 - rho))
        self._publish(m_step(self._stats, self.covariance_type, self._protection()))
        self.n_iter_ += 1
        return self

    def score_samples(self, X: Any) -> Floats:
        """Return log p(x) of each row, nats, (n_samples,)."""
        self._check_fitted()
        return log_density(self._current(), self._rows(X), n_threads=self._n_threads())

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the (weighted) mean of log p(x), nats per row."""
        del y
        densities = self.score_samples(X)
        return float(np.average(densities, weights=validation.as_weights(sample_weight, len(densities))))

    def predict(self, X: Any) -> NDArray[np.intp]:
        """Return the most probable component of each row, (n_samples,)."""
        self._check_fitted()
        joint = weighted_log_density(self._current(), self._rows(X), n_threads=self._n_threads())
        return np.asarray(joint.argmax(axis=1))

    def predict_proba(self, X: Any) -> Floats:
        """Return responsibilities, (n_samples, n_components); rows sum to one."""
        self._check_fitted()
        return density_and_responsibilities(self._current(), self._rows(X), n_threads=self._n_threads())[1]

    def bic(self, X: Any, sample_weight: Any = None) -> float:
        """Return the Bayesian information criterion on X. Lower is better."""
        n = self._mass(X, sample_weight)
        return -2.0 * self.score(X, sample_weight=sample_weight) * n + self._n_parameters() * float(np.log(n))

    def aic(self, X: Any, sample_weight: Any = None) -> float:
        """Return Akaike's information criterion on X. Lower is better."""
        n = self._mass(X, sample_weight)
        return -2.0 * self.score(X, sample_weight=sample_weight) * n + 2.0 * self._n_parameters()

    def sample(self, n_samples: int = 1) -> tuple[Floats, NDArray[np.intp]]:
        """Draw rows (n_samples, n_features). Return them and their components, ordered by component."""
        self._check_fitted()
        if n_samples < 1:
            raise ValueError(f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least one sample.")
        params, rng = self._current(), validation.generator(self.random_state)
        labels = np.repeat(np.arange(params.n_components), rng.multinomial(n_samples, params.weights))
        return draw(params, labels, rng), labels

    def _fit(self, X: Any, sample_weight: Any) -> Floats:
        validation.check_parameters(self.get_params())
        rows = self._rows(X, fitting=True)
        weights = validation.as_weights(sample_weight, len(rows))
        self._check_initial(rows.shape[1])
        resume = self.warm_start and hasattr(self, "converged_") and hasattr(self, "weights_")
        if resume:
            self._check_going_on(rows.shape[1])
        rng = validation.generator(self.random_state)
        best: Fit | None = None
        for init in range(1 if resume else self.n_init):
            found = self._one_run(rows, weights, rng, init, resume=resume)
            if best is None or found.lower_bound > best.lower_bound:
                best = found
        if best is None:  # pragma: no cover  # n_init ≥ 1 was checked
            raise FitError("no run was made")
        self._publish(best.parameters)
        self.converged_, self.n_iter_ = best.converged, best.n_iter
        self.lower_bound_, self.lower_bounds_ = best.lower_bound, list(best.history)
        self.repairs_ = best.repairs
        self._stats = None
        if not best.converged and self.max_iter > 0:
            warnings.warn(
                "Best performing initialization did not converge. Try different init parameters, or increase max_iter, "
                "tol, or check for degenerate data.",
                validation.sklearn_class(validation.ConvergenceWarning),
                stacklevel=3,
            )
        return rows

    def _one_run(
        self, rows: Floats, weights: Floats | None, rng: np.random.Generator, init: int, *, resume: bool
    ) -> Fit:
        progress = Progress(self.verbose, self.verbose_interval, init)
        found = run(
            self._current() if resume else self._start(rows, weights, rng),
            rows,
            self.max_iter,
            self.tol,
            self._protection(),
            sample_weight=weights,
            lower_bound=self.lower_bound_ if resume else -np.inf,
            on_pass=progress.on_pass,
            n_threads=self._n_threads(),
        )
        progress.end(found)
        return found

    def _start(self, X: Floats, weights: Floats | None, rng: np.random.Generator) -> MixtureParameters:
        """Return the start of EM: the initial values of the caller, and values by `init_params` for the others."""
        given = (self.weights_init, self.means_init, self.precisions_init)
        if all(part is not None for part in given):
            return self._initialize(X, None)
        return self._initialize(X, self._first_responsibilities(X, weights, rng), weights)

    def _first_responsibilities(self, X: Floats, weights: Floats | None, rng: np.random.Generator) -> Floats:
        n, K = len(X), self.n_components
        if self.init_params == "random":
            resp = rng.random((n, K))
            return np.asarray(resp / resp.sum(axis=1, keepdims=True))
        resp = np.zeros((n, K))
        if self.init_params == "random_from_data":
            p = None if weights is None else weights / weights.sum()
            resp[rng.choice(n, K, replace=False, p=p), np.arange(K)] = 1.0
            return resp
        filled = standardised(X)[0]
        unit = np.ones(n) if weights is None else weights
        rows = kmeans_plusplus(filled, K, rng, unit)
        if self.init_params == "k-means++":
            resp[rows, np.arange(K)] = 1.0
            return resp
        return one_hot(kmeans(filled, filled[rows], unit, KMEANS_STEPS), K)

    def _initialize(self, X: Floats, resp: Floats | None, weights: Floats | None = None) -> MixtureParameters:
        """Set the parameters from responsibilities, except those that the caller gave."""
        params: MixtureParameters | None = None
        if resp is not None:
            stats = moments(standardised(X)[0], resp, self.covariance_type, weights)
            params = m_step(stats, self.covariance_type, self._protection())
        w = params.weights if self.weights_init is None and params else np.asarray(self.weights_init, dtype=np.float64)
        means = params.means if self.means_init is None and params else np.asarray(self.means_init, dtype=np.float64)
        if self.precisions_init is None and params is not None:
            U, covariances = params.precisions_cholesky, params.covariances
        else:
            precisions = np.asarray(self.precisions_init, dtype=np.float64)
            U, covariances = factors_of_precisions(precisions, self.covariance_type)
        self._set_parameters((w, means, covariances, U))
        return self._current()

    def _check_initial(self, n_features: int) -> None:
        if self.weights_init is not None:
            validation.check_weights(self.weights_init, self.n_components)
        if self.means_init is not None:
            validation.check_means(self.means_init, self.n_components, n_features)
        if self.precisions_init is not None:
            validation.check_precisions(self.precisions_init, self.covariance_type, self.n_components, n_features)

    def _check_going_on(self, n_features: int) -> None:
        """Check that the fitted mixture has the shape that is now configured."""
        K, d = self.means_.shape
        kind = self.parameters_.covariance_type if hasattr(self, "parameters_") else self.covariance_type
        for name, fitted, wanted in (
            ("n_components", K, self.n_components),
            ("covariance_type", kind, self.covariance_type),
            ("n_features", d, n_features),
        ):
            if fitted != wanted:
                raise ValueError(
                    f"The fit cannot go on from one with {name}={fitted!r}: now it is {wanted!r}. Set warm_start=False "
                    "for a new fit, or make a new estimator instead of calling partial_fit."
                )

    def _rows(self, X: Any, *, fitting: bool = False) -> Floats:
        names = validation.column_names(X)
        rows = validation.as_matrix(X, least_rows=2 if fitting else 1)
        if fitting:
            if len(rows) < self.n_components:
                raise ValueError(
                    f"Expected n_samples >= n_components but got n_components = {self.n_components}, "
                    f"n_samples = {len(rows)}"
                )
            self.n_features_in_ = rows.shape[1]
            if names is not None:
                self.feature_names_in_ = names
            elif hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
            return rows
        validation.check_names(getattr(self, "feature_names_in_", None), names)
        validation.check_width(rows.shape[1], self.means_.shape[1])
        return rows

    def _mean_statistics(self, rows: Floats, sample_weight: Any) -> tuple[SufficientStats, float]:
        """Return the statistics per unit of weight, and the lower bound."""
        weights = validation.as_weights(sample_weight, len(rows))
        mass = float(len(rows) if weights is None else weights.sum())
        stats, likelihood = e_step(self._current(), rows, weights, n_threads=self._n_threads())
        return stats.decay(1.0 / mass), likelihood / mass

    def _n_threads(self) -> int:
        validation.check_n_jobs(self.n_jobs)
        return thread_count(self.n_jobs)

    def _protection(self) -> Protection:
        return Protection(self.reg_covar, self.shrinkage, self.floor, self.reseed)

    def _publish(self, params: MixtureParameters) -> None:
        self._set_parameters((params.weights, params.means, params.covariances, params.precisions_cholesky))
        self.parameters_ = params

    def _set_parameters(self, params: tuple[Any, ...]) -> None:
        self.weights_, self.means_, self.covariances_, self.precisions_cholesky_ = params
        U = self.precisions_cholesky_
        if self.covariance_type in {"full", "tied"}:
            self.precisions_ = np.einsum("...ij,...kj->...ik", U, U)
        else:
            self.precisions_ = np.square(U)

    def _current(self) -> MixtureParameters:
        """Return the parameters as a value. It includes attributes that a caller has replaced."""
        arrays = (self.weights_, self.means_, self.covariances_, self.precisions_cholesky_)
        known = getattr(self, "parameters_", None)
        if known is not None:
            own = (known.weights, known.means, known.covariances, known.precisions_cholesky)
            # Arrays of a memory-mapped pickle are read-only, but kernels are compiled for writable arrays.
            if all(a is b and a.flags.writeable for a, b in zip(arrays, own, strict=True)):
                return known  # type: ignore[no-any-return]  # set by _publish
        w, means, covariances, U = (np.require(a, np.float64, ["C", "W"]) for a in arrays)
        kind: Any = self.covariance_type  # checked in fit
        return MixtureParameters(w, means, covariances, kind, U)

    def _n_parameters(self) -> int:
        n_components, n_features = self.means_.shape
        return count_parameters(n_components, n_features, self.covariance_type)

    def _mass(self, X: Any, sample_weight: Any) -> float:
        n = len(X) if hasattr(X, "__len__") else X.shape[0]
        weights = validation.as_weights(sample_weight, n)
        return float(n if weights is None else weights.sum())

    def _check_fitted(self) -> None:
        if not hasattr(self, "weights_"):
            raise validation.sklearn_class(validation.NotFittedError)(
                f"This {validation.NAME} instance is not fitted yet. Call 'fit' with appropriate arguments before "
                "using this estimator."
            )
