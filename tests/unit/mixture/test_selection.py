import numpy as np
import pytest
from sklearn.mixture import GaussianMixture as Theirs

from streamgmm.errors import DetectorError, FitError
from streamgmm.mixture import selection
from streamgmm.mixture.em import Protection, fit
from streamgmm.mixture.parameters import MixtureParameters
from streamgmm.mixture.selection import cheapest_pair, merge, merge_cheapest, select

TYPES = ("full", "tied", "diag", "spherical")


def blobs(rng, n=3000, centres=5, d=3, apart=8.0):
    means = apart * np.stack([rng.permutation(centres) for _ in range(d)], axis=1)
    return means[rng.integers(centres, size=n)] + rng.normal(size=(n, d))


def mixture(rng, kind, K=5, d=3):
    factors = rng.normal(size=(K, d, 2 * d))
    full = np.einsum("kij,klj->kil", factors, factors) / d
    variances = np.einsum("kii->ki", full)
    covariances = {"full": full, "tied": full[0], "diag": variances, "spherical": variances.mean(axis=1)}[kind]
    return MixtureParameters.from_covariances(
        rng.dirichlet(np.full(K, 3.0)), rng.normal(size=(K, d)), covariances, kind
    )


def moments(params):
    mean = params.weights @ params.means
    apart = params.means - mean
    full = params.full_covariances() + np.einsum("ki,kj->kij", apart, apart)
    return mean, np.einsum("k,kij->ij", params.weights, full)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("criterion", selection.CRITERIA[::2])
def test_the_number_of_clusters_is_found(rng, kind, criterion):
    best = select(blobs(rng), range(1, 10), [kind], rng).best(criterion)
    if criterion == "bic":
        assert best.n_components == 5
    else:
        assert best.n_components >= 5
    assert best.covariance_type == kind


def test_the_shape_is_found(rng):
    X = blobs(rng, centres=2, apart=6.0) @ np.array([[1.0, 0.9, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 1.0]])
    assert select(X, [1, 2, 3], ["spherical", "diag", "tied"], rng).best().covariance_type == "tied"


def test_rows_are_by_type_and_rising_components(rng):
    table = select(blobs(rng, n=400), [4, 2, 4], ["diag", "full", "diag"], rng).trials
    assert [(t.covariance_type, t.n_components) for t in table] == [("diag", 2), ("diag", 4), ("full", 2), ("full", 4)]


@pytest.mark.parametrize("kind", TYPES)
def test_criteria_are_those_of_scikit_learn(rng, kind):
    X = blobs(rng, n=500)
    found = select(X, [3], [kind], np.random.default_rng(1))
    fitted, held_out = selection._split(X, np.random.default_rng(1), selection.MAX_ROWS)
    assert (found.n_fitted, found.n_held_out) == (len(fitted), len(held_out)) == (400, 100)
    (trial,) = found.trials
    p = trial.parameters
    judge = Theirs(3, covariance_type=kind)
    judge.weights_, judge.means_, judge.covariances_ = p.weights, p.means, p.covariances
    judge.precisions_cholesky_ = p.precisions_cholesky
    assert trial.bic == pytest.approx(judge.bic(fitted), rel=1e-12)
    assert trial.aic == pytest.approx(judge.aic(fitted), rel=1e-12)
    assert trial.held_out == pytest.approx(judge.score(held_out), rel=1e-12)
    assert trial.log_density == pytest.approx(judge.score(fitted), rel=1e-12)


def test_no_row_is_both_fitted_and_held_out(rng):
    X = np.arange(100.0)[:, None]
    fitted, held_out = selection._split(X, rng, 60)
    assert len(set(fitted[:, 0]) | set(held_out[:, 0])) == len(fitted) + len(held_out) == 60


def test_the_merge_path_is_as_good_as_fresh_fits_from_the_true_size_on(rng):
    """Below the true size a merge cannot be undone; there the choice is clear anyway."""
    X = blobs(rng, n=1500, apart=3.0)
    fitted, _ = selection._split(X, np.random.default_rng(2), selection.MAX_ROWS)
    found = select(X, range(1, 9), ["full"], np.random.default_rng(2))
    fresh = {k: fit(fitted, k, "full", rng, max_iter=200, tol=1e-4).lower_bound for k in range(1, 9)}
    for trial in found.trials:
        assert trial.log_density > fresh[trial.n_components] - (0.01 if trial.n_components >= 5 else 0.3)
    assert found.best().n_components == 5


def test_the_same_generator_gives_the_same_table():
    X = blobs(np.random.default_rng(3), n=900)
    first, second = (select(X, [2, 3, 4], ["full", "diag"], np.random.default_rng(4), max_rows=500) for _ in range(2))
    assert [(t.bic, t.held_out) for t in first.trials] == [(t.bic, t.held_out) for t in second.trials]
    assert first.n_fitted + first.n_held_out == 500


def test_every_pass_is_told(rng):
    told = []
    select(blobs(rng, n=300), [2, 3], ["diag", "tied"], rng, on_pass=lambda *said: told.append(said))
    assert {said[:2] for said in told} == {(k, kind) for k in (2, 3) for kind in ("diag", "tied")}
    assert all(np.isfinite(said[3]) for said in told)


def test_missing_features_are_no_obstacle(rng):
    X = blobs(rng, centres=3)
    X[rng.random(X.shape) < 0.1] = np.nan
    assert select(X, range(1, 6), ["full"], rng).best().n_components == 3


# --- merging


@pytest.mark.parametrize("kind", TYPES)
def test_a_merge_keeps_weight_mean_and_covariance(rng, kind):
    params = mixture(rng, kind)
    for i, j in ((0, 3), (3, 0), (3, 4)):
        smaller = merge(params, i, j)
        assert smaller.n_components == 4
        mean, covariance = moments(params)
        new_mean, new_covariance = moments(smaller)
        assert new_mean == pytest.approx(mean, rel=1e-12)
        if kind in {"full", "tied"}:
            assert new_covariance == pytest.approx(covariance, rel=1e-10)
        elif kind == "diag":
            assert np.diag(new_covariance) == pytest.approx(np.diag(covariance), rel=1e-12)
        else:
            assert np.trace(new_covariance) == pytest.approx(np.trace(covariance), rel=1e-12)
        others = [k for k in range(5) if k not in {i, j}]
        assert {tuple(m) for m in params.means[others]} <= {tuple(m) for m in smaller.means}


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_the_cheapest_pair_by_brute_force(rng, kind):
    for _ in range(5):
        params = mixture(rng, kind)
        full, w = params.full_covariances(), params.weights

        def cost(i, j, params=params, full=full, w=w):
            one = merge(params, i, j)
            union = one.full_covariances()[i]
            total = (w[i] + w[j]) * np.linalg.slogdet(union)[1]
            return total - w[i] * np.linalg.slogdet(full[i])[1] - w[j] * np.linalg.slogdet(full[j])[1]

        pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
        assert cheapest_pair(params) == min(pairs, key=lambda pair: cost(*pair))


@pytest.mark.parametrize("kind", TYPES)
def test_twins_are_merged_first(rng, kind):
    params = mixture(rng, kind)
    means = params.means.copy()
    means[3] = means[1] + 1e-9
    covariances = params.covariances.copy()
    if kind != "tied":
        covariances[3] = covariances[1]
    twins = MixtureParameters.from_covariances(params.weights, means, covariances, kind)
    assert cheapest_pair(twins) == (1, 3)
    assert merge_cheapest(twins).weights[1] == pytest.approx(params.weights[1] + params.weights[3])


def test_a_component_without_weight_costs_nothing(rng):
    params = mixture(rng, "full")
    weights = np.array([0.0, 0.5, 0.5, 0.0, 0.0])
    empty = MixtureParameters.from_covariances(weights, params.means, params.covariances, "full")
    assert np.isfinite(merge_cheapest(merge_cheapest(empty)).means).all()


# --- what cannot be done


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([3], ["round"]), "not one of full, tied"),
        (([], ["full"]), "nothing to try"),
        (([0, 1], ["full"]), "nothing to try"),
        (([1], []), "nothing to try"),
        (([60], ["full"]), "100 rows are too few for 60 components"),
    ],
)
def test_what_cannot_be_tried_is_told(rng, arguments, said):
    with pytest.raises(DetectorError, match=said):
        select(rng.normal(size=(100, 2)), *arguments, rng)


def test_an_unknown_criterion_is_told(rng):
    with pytest.raises(DetectorError, match="bic, aic, held_out"):
        select(rng.normal(size=(100, 2)), [1], ["full"], rng).best("mdl")


def test_what_collapses_is_left_out(rng):
    """Ten distinct rows carry a few components without regularisation, but not twelve."""
    X = np.repeat(rng.normal(size=(10, 1)), 20, axis=0)
    table = select(X, range(1, 13), ["full"], rng, protection=Protection(reg_covar=0.0)).trials
    assert 1 in {t.n_components for t in table}
    assert 12 not in {t.n_components for t in table}


def test_when_all_collapse_that_is_the_error(rng):
    X = np.ones((50, 2))
    with pytest.raises(FitError, match="every trial collapsed on 40 rows"):
        select(X, [1, 2], ["full"], rng, protection=Protection(reg_covar=0.0))


def test_one_component_cannot_be_merged(rng):
    with pytest.raises(DetectorError, match="cannot be merged"):
        merge_cheapest(mixture(rng, "full", K=1))
