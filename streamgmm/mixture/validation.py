# ruff: noqa: ANN401
# Callers pass what they have: lists, data frames, scalars.
"""What the estimator accepts: checks and messages as scikit-learn's, which need not be installed."""

from __future__ import annotations

import sys
import warnings
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NAME = "GaussianMixture"

# Parameter → (type, least value, where the interval is closed, how the type is called).
_NUMBERS: dict[str, tuple[type, float, str]] = {
    "n_components": (Integral, 1, "an int in the range [1, inf)"),
    "tol": (Real, 0.0, "a float in the range [0.0, inf)"),
    "reg_covar": (Real, 0.0, "a float in the range [0.0, inf)"),
    "max_iter": (Integral, 0, "an int in the range [0, inf)"),
    "n_init": (Integral, 1, "an int in the range [1, inf)"),
    "verbose": (Integral, 0, "an int in the range [0, inf)"),
    "verbose_interval": (Integral, 1, "an int in the range [1, inf)"),
    "shrinkage": (Real, 0.0, "a float in the range [0.0, inf)"),
    "floor": (Real, 0.0, "a float in the range [0.0, inf)"),
    "step_offset": (Real, 0.0, "a float in the range [0.0, inf)"),
}
_CHOICES = {
    "covariance_type": ("full", "tied", "diag", "spherical"),
    "init_params": ("kmeans", "k-means++", "random", "random_from_data"),
}


class NotFittedError(ValueError, AttributeError):
    """The estimator was asked before it was fitted (scikit-learn's own class where that is loaded)."""


class ConvergenceWarning(UserWarning):
    """EM ran out of passes (scikit-learn's own class where that is loaded)."""


def sklearn_class(own: type) -> type:
    """Return scikit-learn's class of the same name if a caller can have met it, else our own."""
    theirs = sys.modules.get("sklearn.exceptions")
    return getattr(theirs, own.__name__) if theirs is not None else own


def check_parameters(params: Mapping[str, Any]) -> None:
    """Check constructor parameters; raise ValueError with the offending value."""
    for name, (kind, least, words) in _NUMBERS.items():
        value = params[name]
        boolean = isinstance(value, bool) and name != "verbose"
        if not isinstance(value, kind) or boolean or not value >= least:  # type: ignore[operator]  # numbers compare
            raise ValueError(f"The {name!r} parameter of {NAME} must be {words}. Got {value!r} instead.")
    check_n_jobs(params["n_jobs"])
    for name, choices in _CHOICES.items():
        if params[name] not in choices:
            words = ", ".join(map(repr, choices))
            raise ValueError(
                f"The {name!r} parameter of {NAME} must be a str among {{{words}}}. Got {params[name]!r} instead."
            )
    exponent = params["step_exponent"]
    if not (isinstance(exponent, Real) and 0.5 < float(exponent) <= 1.0):
        raise ValueError(
            f"The 'step_exponent' parameter of {NAME} must be in the range (0.5, 1.0]. Got {exponent!r} instead."
        )


def as_matrix(X: Any, *, least_rows: int = 1) -> Floats:
    """Return X as finite-or-NaN C-contiguous float64 (n_samples, n_features)."""
    if type(X) is np.ndarray and X.dtype == np.float64 and X.ndim == 2 and X.flags.c_contiguous:
        array = X  # one row costs as little as it can
    else:
        array = _converted(X)
    for count, least, word in ((array.shape[0], least_rows, "sample"), (array.shape[1], 1, "feature")):
        if count < least:
            raise ValueError(
                f"Found array with {count} {word}(s) (shape={array.shape}) while a minimum of {least} is required by "
                f"{NAME}."
            )
    if np.isinf(array).any():
        raise ValueError(
            "Input X contains infinity or a value too large for dtype('float64'). "
            f"{NAME} takes NaN as missing, but no infinity."
        )
    return array


def numbers(X: Any) -> Any:
    """Return X with NaN where it says that a value is missing: masked, None, or pandas' NA.

    Raises
    ------
    TypeError
        It holds points in time or durations, which would pass for numbers.
    """
    timely = [str(name) for name, kind in _column_types(X) if getattr(kind, "kind", "") in {"m", "M"}]
    if timely:
        words = f"The column {timely[0]!r}" if timely[0] else "X"
        raise TypeError(f"{words} holds points in time or durations, not numbers. Leave it out, or give seconds.")
    if np.ma.isMaskedArray(X):
        return np.ma.asarray(X, dtype=np.float64).filled(np.nan)
    array = np.asarray(X)
    if array.dtype.kind == "O":
        absent = [value is None or type(value).__name__ in {"NAType", "NaTType"} for value in array.ravel()]
        if any(absent):
            array = array.copy()
            array[np.reshape(absent, array.shape)] = np.nan
    return array


def _column_types(X: Any) -> list[tuple[Any, Any]]:
    """Return the names of a data frame's columns with their types; of anything else one type without a name."""
    types: Any = getattr(X, "dtypes", None)
    if hasattr(types, "items"):
        return list(types.items())
    return [("", getattr(X, "dtype", None))]


def _converted(X: Any) -> Floats:
    if hasattr(X, "toarray"):
        raise TypeError(
            "Sparse data was passed for X, but dense data is required. Use '.toarray()' to convert to a dense numpy "
            "array."
        )
    array = numbers(X)
    if np.iscomplexobj(array):
        raise ValueError(f"Complex data not supported\n{X}\n")
    if array.dtype.kind in "SU":
        raise ValueError(
            "dtype='numeric' is not compatible with arrays of bytes/strings: could not convert "
            f"{array.ravel()[:1]!r} to float"
        )
    array = np.ascontiguousarray(array, dtype=np.float64) if array.ndim else array
    if array.ndim != 2:
        _complain_dimensions(array)
    return array


def check_width(n_features: int, expected: int) -> None:
    """Check that rows are as wide as those that were fitted."""
    if n_features != expected:
        raise ValueError(f"X has {n_features} features, but {NAME} is expecting {expected} features as input.")


def column_names(X: Any) -> NDArray[Any] | None:
    """Return the column names of a data frame, if all are strings; TypeError when some are."""
    columns = getattr(X, "columns", None)
    if columns is None or not hasattr(X, "shape"):
        return None
    names = np.asarray(columns, dtype=object)
    strings = {isinstance(name, str) for name in names}
    if strings == {True}:
        return names
    if strings == {True, False}:
        kinds = sorted({type(name).__name__ for name in names})
        raise TypeError(
            "Feature names are only supported if all input features have string names, but your input has "
            f"{kinds} as feature name / column name types. If you want feature names to be stored and validated, you "
            "must convert them all to strings, by using X.columns = X.columns.astype(str) for example. Otherwise you "
            "can remove feature / column names from your input data, or convert them all to a non-string data type."
        )
    return None


def name_complaint(fitted: NDArray[Any], given: NDArray[Any]) -> str:
    """Return scikit-learn's words for column names that are not those of the fit."""
    words = "The feature names should match those that were passed during fit.\n"
    unexpected, absent = sorted(set(given) - set(fitted)), sorted(set(fitted) - set(given))
    for title, names in (("unseen at fit time", unexpected), ("seen at fit time, yet now missing", absent)):
        if names:
            words += f"Feature names {title}:\n" + "".join(f"- {name}\n" for name in names[:5])
            words += "- ...\n" if len(names) > 5 else ""
    if not unexpected and not absent:
        words += "Feature names must be in the same order as they were in fit.\n"
    return words


def check_names(fitted: NDArray[Any] | None, names: NDArray[Any] | None) -> None:
    """Compare the column names of rows with those of the fit; warn where only one of them has any."""
    if names is not None and fitted is not None:
        if list(names) != list(fitted):
            raise ValueError(name_complaint(fitted, names))
    elif names is not None:
        words = f"X has feature names, but {NAME} was fitted without feature names"
        warnings.warn(words, UserWarning, stacklevel=4)
    elif fitted is not None:
        words = f"X does not have valid feature names, but {NAME} was fitted with feature names"
        warnings.warn(words, UserWarning, stacklevel=4)


def check_n_jobs(n_jobs: Any) -> None:
    """Check n_jobs; raise ValueError with the offending value."""
    if n_jobs is not None and (isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral) or n_jobs == 0):
        raise ValueError(
            f"The 'n_jobs' parameter of {NAME} must be None or an int other than 0. Got {n_jobs!r} instead."
        )


def as_weights(sample_weight: Any, n_samples: int) -> Floats | None:
    """Return sample_weight as float64 (n_samples,), or None for unit weights."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Real):
        return np.full(n_samples, float(sample_weight))
    weights = np.array(sample_weight, dtype=np.float64)
    if weights.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weights.ndim}D array.")
    if weights.shape != (n_samples,):
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(n_samples,)}!")
    if not np.isfinite(weights).all() or (weights < 0.0).any():
        raise ValueError("sample_weight must be finite and not negative")
    if not weights.sum() > 0.0:
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def check_weights(weights: Any, n_components: int) -> None:
    """Check weights_init."""
    weights = _floats(weights)
    _check_shape(weights, (n_components,), "weights")
    if (weights < 0.0).any() or (weights > 1.0).any():
        # The order of the two is scikit-learn's.
        raise ValueError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{weights.min():.5f}, min value {weights.max():.5f}"
        )
    if not np.isclose(weights.sum(), 1.0, rtol=0.0, atol=1e-8):
        raise ValueError(f"The parameter 'weights' should be normalized, but got sum(weights) = {weights.sum():.5f}")


def check_means(means: Any, n_components: int, n_features: int) -> None:
    """Check means_init."""
    means = _floats(means)
    _check_shape(means, (n_components, n_features), "means")


def check_precisions(precisions: Any, covariance_type: str, n_components: int, n_features: int) -> None:
    """Check precisions_init."""
    K, d = n_components, n_features
    precisions = _floats(precisions)
    shapes = {"full": (K, d, d), "tied": (d, d), "diag": (K, d), "spherical": (K,)}
    _check_shape(precisions, shapes[covariance_type], f"{covariance_type} precision")
    if covariance_type in {"diag", "spherical"}:
        if (precisions <= 0.0).any():
            raise ValueError(f"'{covariance_type} precision' should be positive")
    elif not (
        np.allclose(precisions, np.swapaxes(precisions, -1, -2)) and (np.linalg.eigvalsh(precisions) > 0.0).all()
    ):
        raise ValueError(f"'{covariance_type} precision' should be symmetric, positive-definite")


def generator(random_state: Any) -> np.random.Generator:
    """Return a generator from None, a seed, a RandomState or a Generator."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, 2**31 - 1, size=4))
    if random_state is None or isinstance(random_state, Integral):
        return np.random.default_rng(random_state)  # type: ignore[arg-type]  # Integral is what int is
    raise ValueError(f"{random_state!r} cannot be used to seed a numpy.random.Generator")


def _floats(values: Any) -> Floats:
    return np.array(values, dtype=np.float64)


def _check_shape(array: Floats, shape: tuple[int, ...], name: str) -> None:
    if array.shape != shape:
        raise ValueError(f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}")


def _complain_dimensions(array: NDArray[Any]) -> None:
    if array.ndim > 2:
        raise ValueError(f"Found array with dim {array.ndim}, while dim <= 2 is required by {NAME}.")
    words = "1D" if array.ndim else "scalar"
    raise ValueError(
        f"Expected 2D array, got {words} array instead:\narray={array}.\n"
        "Reshape your data either using array.reshape(-1, 1) if your data has a single feature or "
        "array.reshape(1, -1) if it contains a single sample."
    )
