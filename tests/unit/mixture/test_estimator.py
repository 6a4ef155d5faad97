"""What ours has and scikit-learn's has not: NaN, sample weights, partial_fit, protection."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from mixtures import TYPES, draw, random_mixture, with_holes
from sklearn.mixture import GaussianMixture as Theirs

from streamgmm import GaussianMixture
from streamgmm.mixture.scoring import log_density


@pytest.fixture
def truth(rng):
    return random_mixture(rng, "full", 3, 3, spread=5.0)


@pytest.mark.parametrize("kind", TYPES)
def test_missing_values_are_handled_everywhere(rng, truth, kind):
    X = with_holes(draw(truth, 600, rng), rng, 0.2)
    model = GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)
    np.testing.assert_array_equal(model.predict(X), model.predict_proba(X).argmax(axis=1))
    assert np.isfinite([model.bic(X), model.aic(X), model.score(X)]).all()


@pytest.mark.parametrize("kind", TYPES)
def test_score_samples_equals_scikit_learns_of_the_same_parameters(rng, truth, kind):
    X = draw(truth, 500, rng)
    model = GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)
    theirs = Theirs(3, covariance_type=kind)
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        setattr(theirs, name, getattr(model, name))
    np.testing.assert_allclose(model.score_samples(X), theirs.score_samples(X), rtol=1e-11)
    np.testing.assert_allclose(model.predict_proba(X), theirs.predict_proba(X), atol=1e-11)
    assert model.bic(X) == pytest.approx(theirs.bic(X), rel=1e-12)


def test_a_weight_is_a_repetition(rng, truth):
    X = draw(truth, 300, rng)
    times = rng.integers(0, 3, size=300)
    start = {"means_init": truth.means, "weights_init": truth.weights, "precisions_init": np.array([np.eye(3)] * 3)}
    weighted = GaussianMixture(3, **start).fit(X, sample_weight=times)
    repeated = GaussianMixture(3, **start).fit(np.repeat(X, times, axis=0))
    np.testing.assert_allclose(weighted.means_, repeated.means_, rtol=1e-8)
    assert weighted.n_iter_ == repeated.n_iter_
    assert weighted.bic(X, sample_weight=times) == pytest.approx(repeated.bic(np.repeat(X, times, axis=0)))


@pytest.mark.parametrize("bad", [[1.0], np.full(50, -1.0), np.full(50, np.nan), np.zeros(50), np.ones((50, 2))])
def test_bad_weights_are_refused(rng, bad):
    with pytest.raises(ValueError, match=r"[Ss]ample.weight"):
        GaussianMixture().fit(rng.normal(size=(50, 2)), sample_weight=bad)


@pytest.mark.parametrize("kind", TYPES)
def test_partial_fit_comes_to_the_same_place(rng, truth, kind):
    X = draw(truth, 20_000, rng)
    whole = GaussianMixture(3, covariance_type=kind, random_state=0, tol=1e-6).fit(X)
    stream = GaussianMixture(3, covariance_type=kind, random_state=0)
    for batch in np.split(X, 40):
        stream.partial_fit(batch)
    assert stream.n_iter_ >= 39
    assert stream.score(X) > whole.score(X) - 0.02


def test_partial_fit_follows_a_stream_that_moves(rng, truth):
    model = GaussianMixture(3, random_state=0).fit(draw(truth, 1000, rng))
    for shift in np.linspace(0.0, 5.0, 60):
        model.partial_fit(draw(truth, 200, rng) + shift)
    fresh = draw(truth, 1000, rng) + 5.0
    moved = log_density(truth, fresh - 5.0).mean()
    assert model.score(fresh) > moved - 2.0 > log_density(truth, fresh).mean()


def test_protection_says_what_it_did(rng):
    X = rng.normal(size=(200, 2))
    X[:, 1] = X[:, 0]
    model = GaussianMixture(2, reg_covar=0.0, floor=1e-3, random_state=0).fit(X)
    assert model.repairs_
    assert not GaussianMixture(2, random_state=0).fit(rng.normal(size=(200, 2))).repairs_


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_components", 0), ("tol", -1.0), ("covariance_type", "round"), ("step_exponent", 0.5), ("init_params", "best")],
)
def test_bad_parameters_are_named(rng, name, value):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of GaussianMixture must be"):
        GaussianMixture(**{name: value}).fit(rng.normal(size=(20, 2)))


def test_a_generator_is_a_random_state(rng, truth):
    X = draw(truth, 300, rng)
    one, two = (GaussianMixture(3, random_state=np.random.default_rng(3)).fit(X) for _ in range(2))
    np.testing.assert_array_equal(one.means_, two.means_)


def test_scikit_learn_is_not_needed():
    program = textwrap.dedent("""
        import sys
        sys.modules["sklearn"] = None
        import numpy as np
        from streamgmm import GaussianMixture
        model = GaussianMixture(2, random_state=0)
        try:
            model.predict(np.zeros((2, 2)))
        except ValueError as error:
            assert "not fitted" in str(error)
        X = np.random.default_rng(0).normal(size=(50, 2))
        assert np.isfinite(model.fit(X).score_samples(X)).all()
        assert not any(name.startswith("sklearn.") for name in sys.modules)
    """)
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
