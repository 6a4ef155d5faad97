"""A member's mixture in the units of the columns: to draw rows from, to look at, to exchange as plain arrays.

The arrays have scikit-learn's names and shapes: whoever sets them on its `GaussianMixture` gets the same densities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamgmm.detector.member import Member
from streamgmm.detector.view import View
from streamgmm.errors import DetectorError, StopError
from streamgmm.mixture.marginals import Marginals
from streamgmm.mixture.parameters import MixtureParameters
from streamgmm.mixture.sampling import draw
from streamgmm.offline.arrays import load
from streamgmm.refit.fitting import between, rebase

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from streamgmm.detector.mixtures import Mixture

    Floats = NDArray[np.float64]
    Arrays = Mapping[str, NDArray[Any]]


def in_columns(member: Member) -> Mixture:
    """Return a member's mixture in the units of its columns (categories: their surprise in nats).

    The same densities as the member's, but for the clipping of far values. Spherical becomes diag where the columns
    were scaled differently.
    """
    mixture, view = member.mixture, member.view
    d = mixture.n_features
    columns = _view(np.zeros(d), np.ones(d))
    if isinstance(mixture, Marginals):
        return mixture.moved(*between(view, columns))
    if mixture.covariance_type == "spherical" and not np.allclose(view.scale, view.scale[0], rtol=1e-12, atol=0.0):
        variances = np.tile(mixture.covariances[:, None], d)
        mixture = MixtureParameters.from_covariances(mixture.weights, mixture.means, variances, "diag")
    return rebase(mixture, view, columns)


def restricted(mixture: Mixture, features: NDArray[np.intp]) -> Mixture:
    """Return the mixture of some of the features."""
    if isinstance(mixture, Marginals):
        return Marginals(mixture.weights[features], mixture.means[features], mixture.variances[features])
    return mixture.marginal(features)


def from_columns(params: MixtureParameters, name: str) -> Member:
    """Return a member that gives the densities of a mixture of the columns, to rounding and without any clipping.

    Its view scales each column by the mixture's own mean and standard deviation.

    Raises
    ------
    DetectorError
        Those are no finite numbers.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        location = params.weights @ params.means
        between = params.weights @ np.square(params.means - location)
        within = params.weights @ np.einsum("kii->ki", params.full_covariances())
        scale = np.sqrt(between + within)
    if not (np.isfinite(scale).all() and (scale > 0.0).all()):
        raise DetectorError("means_ or covariances_ are too far apart for float64", hint="fit it to scaled columns")
    if params.covariance_type == "spherical":
        scale = np.full_like(scale, np.sqrt(np.mean(np.square(scale))))  # or its spheres would be none any more
    view = _view(location, scale)
    return Member(name, view, rebase(params, _view(np.zeros_like(scale), np.ones_like(scale)), view), float("nan"))


def sample(member: Member, n: int, rng: np.random.Generator) -> Floats:
    """Draw n rows (n, n_columns) from a member, through the inverse of its view.

    Raises
    ------
    DetectorError
        A column holds categories, which have no way back.
    """
    if any(not table.numeric for table in member.view.counted):
        _numeric(member, "sampled")
    X = np.asarray(_draw(member.mixture, n, rng) * member.view.scale + member.view.location)
    for table in member.view.counted:
        X[:, table.column] = rng.choice(table.codes, size=n, p=table.probabilities)
    return X


def _draw(mixture: Mixture, n: int, rng: np.random.Generator) -> Floats:
    if isinstance(mixture, Marginals):
        return mixture.draw(n, rng)
    labels = rng.choice(mixture.n_components, size=n, p=mixture.weights / mixture.weights.sum())
    return draw(mixture, labels, rng)


def positions(columns: Sequence[str], names: Sequence[str]) -> NDArray[np.intp]:
    """Return where each of the named columns stands.

    Raises
    ------
    StopError
        There is no such column.
    """
    for name in names:
        if name not in columns:
            raise StopError(f"the model has no column {name!r}", hint=f"it has {', '.join(columns)}")
    return np.array([columns.index(name) for name in names], dtype=np.intp)


def to_export(member: Member, columns: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the arrays that scikit-learn's GaussianMixture scores by, and the columns' names.

    Of marginals, for which there is no such class, their own: weights, means and variances (columns, components).

    Raises
    ------
    DetectorError
        A column holds categories, whose encoding has no place there.
    """
    _numeric(member, "exported")
    params = in_columns(member)
    if isinstance(params, Marginals):
        return {**params.to_arrays(), "fields": np.array(columns)}
    return {
        "weights_": params.weights,
        "means_": params.means,
        "covariances_": params.covariances,
        "precisions_cholesky_": params.precisions_cholesky,
        "covariance_type": np.array(params.covariance_type),
        "fields": np.array(columns),
    }


def read_export(path: Path) -> tuple[MixtureParameters, tuple[str, ...]]:
    """Read a mixture and its columns' names (x0, x1 … where it has none) from an .npz with scikit-learn's names.

    `covariance_type` may be left out where the shapes tell it.

    Raises
    ------
    StopError
        The file cannot be read, lacks something, or holds no mixture.
    """
    arrays = load(path)
    absent = [name for name in ("weights_", "means_", "covariances_") if name not in arrays]
    if absent:
        raise StopError(f"{path} holds no {absent[0]}", hint="save weights_, means_ and covariances_ with numpy.savez")
    strange = [name for name in ("weights_", "means_", "covariances_") if arrays[name].dtype.kind not in "fiu"]
    if strange or arrays["means_"].ndim != 2:
        raise StopError(
            f"{path}: {(strange or ['means_'])[0]} is not an array of numbers of the right shape",
            hint="means_ is (components, columns), weights_ and covariances_ go with it",
        )
    params = MixtureParameters.from_covariances(
        arrays["weights_"], arrays["means_"], arrays["covariances_"], _covariance_type(arrays)
    )
    named = np.atleast_1d(arrays["fields"]) if "fields" in arrays else [f"x{j}" for j in range(params.n_features)]
    fields = tuple(str(name) for name in named)
    twice = next((name for name in fields if fields.count(name) > 1), None)
    if twice is not None:
        raise StopError(f"{path} names the field {twice!r} twice", hint="give each field a name of its own")
    if len(fields) != params.n_features:
        raise StopError(f"{path} names {len(fields)} fields for {params.n_features} features")
    return params, fields


def _covariance_type(arrays: Arrays) -> str:
    if "covariance_type" in arrays:
        return str(arrays["covariance_type"])
    shape, K, d = arrays["covariances_"].shape, *arrays["means_"].shape
    fitting = {"full": (K, d, d), "tied": (d, d), "diag": (K, d), "spherical": (K,)}
    kinds = [kind for kind, expected in fitting.items() if shape == expected]
    if len(kinds) != 1:
        raise StopError(
            f"covariances_ of shape {shape} could be {' or '.join(kinds) or 'of no type'}",
            hint="add an array covariance_type: full, tied, diag or spherical",
        )
    return kinds[0]


def _view(location: Floats, scale: Floats) -> View:
    return View(location, scale, scale, np.inf, (), np.zeros(len(scale)))


def _numeric(member: Member, done: str) -> None:
    if member.view.counted:
        raise DetectorError(
            f"column {member.view.counted[0].column} has categories or few values, which are counted, not fitted: such "
            f"a model cannot be {done}",
            hint="leave such columns out, or set model.count_few_values: false where they are numbers",
        )
