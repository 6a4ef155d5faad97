"""The hard cases against 60 digits: ill-conditioned, far from the origin, far out, weights next to nothing."""

import mpmath as mp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from streamgmm.mixture.parameters import MixtureParameters
from streamgmm.mixture.scoring import log_density


def exact(params, X):
    """Return log p(x) of the stored parameters to 60 digits."""
    with mp.workdps(60):
        return [_exact_row(params, x) for x in X]


def _exact_row(params, x):
    joint = []
    for w, mean, c in zip(params.weights, params.means, params.full_covariances(), strict=True):
        if w == 0.0:
            continue
        L = mp.cholesky(mp.matrix(c.tolist()))
        y = mp.lu_solve(L, mp.matrix([mp.mpf(float(a)) - mp.mpf(float(b)) for a, b in zip(x, mean, strict=True)]))
        half = sum(mp.log(L[i, i]) for i in range(len(x)))
        joint.append(mp.log(mp.mpf(float(w))) - sum(v * v for v in y) / 2 - half - len(x) * mp.log(2 * mp.pi) / 2)
    return mp.log(sum(mp.e ** (value - max(joint)) for value in joint)) + max(joint)


def worst(found, truth):
    """Return the largest error relative to max(1, |log p|)."""
    return max(float(abs(mp.mpf(float(f)) - t) / max(1, abs(t))) for f, t in zip(found, truth, strict=True))


def scipys(params, X):
    parts = [
        np.log(w) + multivariate_normal(m, c, allow_singular=True).logpdf(X)
        for w, m, c in zip(params.weights, params.means, params.full_covariances(), strict=True)
    ]
    return logsumexp(parts, axis=0)


def hard_case(rng, kind, condition, offset, distance2, tiny):
    d, K = 6, 3
    spectrum = np.logspace(0, -np.log10(condition), d)
    full = np.empty((K, d, d))
    for k in range(K):
        basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
        full[k] = (basis * spectrum) @ basis.T
        full[k] = (full[k] + full[k].T) / 2
    covariances = {
        "full": full,
        "tied": full[0],
        "diag": np.tile(spectrum, (K, 1)),
        "spherical": np.full(K, 1.0 / condition),
    }[kind]
    weights = np.array([tiny, 0.4, 0.6])
    weights /= weights.sum()
    params = MixtureParameters.from_covariances(weights, offset + 3.0 * rng.normal(size=(K, d)), covariances, kind)
    roots = np.linalg.cholesky(params.full_covariances())
    labels = rng.integers(K, size=40)
    noise = rng.normal(size=(40, d))
    if distance2:
        noise *= np.sqrt(distance2) / np.linalg.norm(noise, axis=1, keepdims=True)
    return params, params.means[labels] + np.einsum("nij,nj->ni", roots[labels], noise)


@pytest.mark.parametrize("rows", [3, 40])
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize(
    ("condition", "offset", "distance2", "tiny"),
    [
        (10.0, 0.0, 0.0, 0.2),
        (1e8, 0.0, 0.0, 0.2),
        (10.0, 1e9, 0.0, 0.2),
        (10.0, 0.0, 1e12, 0.2),
        (10.0, 0.0, 0.0, 1e-300),
        (1e6, 1e6, 0.0, 0.2),
        (1e8, 1e9, 1e12, 1e-300),
    ],
)
def test_as_good_as_scipy_and_within_the_promise(rng, kind, condition, offset, distance2, tiny, rows):
    params, X = hard_case(rng, kind, condition, offset, distance2, tiny)
    X = X[:rows]
    truth = exact(params, X)
    error = worst(log_density(params, X), truth)
    theirs = scipys(params, X)
    if np.isfinite(theirs).all():
        assert error <= 10.0 * max(worst(theirs, truth), 1e-15)
    assert error <= 1e-14 + 1e-15 * condition
