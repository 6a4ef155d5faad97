import numpy as np
import pytest
from mixtures import TYPES, random_mixture
from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky

from streamgmm.errors import DetectorError, FitError
from streamgmm.mixture.factors import factors_of_precisions
from streamgmm.mixture.parameters import MixtureParameters


@pytest.mark.parametrize("kind", TYPES)
def test_factors_are_scikit_learns(rng, kind):
    params = random_mixture(rng, kind, 3, 5)
    expected = _compute_precision_cholesky(params.covariances, kind)
    np.testing.assert_allclose(params.precisions_cholesky, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", TYPES)
def test_factors_of_precisions(rng, kind):
    params = random_mixture(rng, kind, 3, 4)
    invert = np.linalg.inv if kind in {"full", "tied"} else np.reciprocal
    U, covariances = factors_of_precisions(invert(params.covariances), kind)
    np.testing.assert_allclose(U, params.precisions_cholesky, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(covariances, params.covariances, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", TYPES)
def test_arrays_round_trip(rng, kind):
    params = random_mixture(rng, kind, 3, 4)
    back = MixtureParameters.from_arrays(params.to_arrays())
    assert back.covariance_type == kind
    for name in ("weights", "means", "covariances", "precisions_cholesky"):
        np.testing.assert_array_equal(getattr(back, name), getattr(params, name))


@pytest.mark.parametrize("kind", TYPES)
def test_condition_numbers(rng, kind):
    params = random_mixture(rng, kind, 3, 4)
    expected = [np.linalg.cond(c) for c in params.full_covariances()]
    np.testing.assert_allclose(params.condition_numbers(), expected, rtol=1e-8)


@pytest.mark.parametrize("kind", TYPES)
def test_marginal_is_the_mixture_of_some_features(rng, kind):
    params = random_mixture(rng, kind, 3, 4)
    marginal = params.marginal(np.array([0, 2]))
    np.testing.assert_array_equal(marginal.means, params.means[:, [0, 2]])
    np.testing.assert_array_equal(marginal.full_covariances(), params.full_covariances()[:, [0, 2]][:, :, [0, 2]])


def test_not_positive_definite_is_a_fit_error_with_the_remedy():
    singular = np.array([np.eye(2), np.ones((2, 2))])
    with pytest.raises(FitError, match=r"increase reg_covar.*Component 1"):
        MixtureParameters.from_covariances([0.5, 0.5], np.zeros((2, 2)), singular, "full")
    with pytest.raises(FitError):
        MixtureParameters.from_covariances([0.5, 0.5], np.zeros((2, 2)), [1.0, 0.0], "spherical")


@pytest.mark.parametrize(
    ("weights", "means", "covariances", "kind", "words"),
    [
        ([1.0], np.zeros((1, 2)), np.eye(2), "round", "covariance_type"),
        ([1.0], np.zeros(2), np.eye(2), "tied", "means"),
        ([0.5, 0.5], np.zeros((1, 2)), np.eye(2), "tied", "weights must have shape"),
        ([1.0], np.zeros((1, 2)), np.eye(3), "tied", "covariances must have shape"),
        ([1.0], np.full((1, 2), np.nan), np.eye(2), "tied", "not finite"),
        ([0.4], np.zeros((1, 2)), np.eye(2), "tied", "sum to one"),
        ([1.5, -0.5], np.zeros((2, 2)), np.eye(2), "tied", "positive"),
    ],
)
def test_bad_parameters_are_refused(weights, means, covariances, kind, words):
    with pytest.raises(DetectorError, match=words):
        MixtureParameters.from_covariances(weights, means, covariances, kind)
