"""Threads share the rows of a pass: the bits are the same for any number of them, and they do work side by side."""

import threading

import numpy as np
import pytest
from mixtures import TYPES, draw, random_mixture, with_holes

from streamgmm import GaussianMixture
from streamgmm.mixture import em, scoring, selection
from streamgmm.mixture.parts import PART_ROWS, each_part, parts, thread_count

N = 3 * PART_ROWS + 77


@pytest.mark.parametrize("n", [0, 1, 127, PART_ROWS, PART_ROWS + 1, 20_000, 100_000])
def test_parts_cover_the_rows_in_order(n):
    found = parts(n)
    rows = np.concatenate([np.arange(n)[part] for part in found])
    np.testing.assert_array_equal(rows, np.arange(n))
    assert max(part.stop - part.start for part in found) <= PART_ROWS
    assert n == 0 or all(part.stop > part.start for part in found)


def test_threads_work_side_by_side():
    """Each of two parts waits for the other: one thread alone would never come through."""
    both = threading.Barrier(2, timeout=30)
    assert len(list(each_part(lambda part: (both.wait(), part), 2 * PART_ROWS, 2))) == 2


def test_what_fails_in_a_thread_fails_outside():
    def fail(part):
        raise ValueError(str(part.start))

    with pytest.raises(ValueError, match="0"):
        list(each_part(fail, 2 * PART_ROWS, 2))


@pytest.mark.parametrize("holes", [0.0, 0.1])
@pytest.mark.parametrize("kind", TYPES)
def test_the_bits_do_not_depend_on_the_threads(rng, kind, holes):
    params = random_mixture(rng, kind, 3, 4)
    X = with_holes(draw(params, N, rng), rng, holes)
    weights = rng.random(N)

    def everything(n_threads):
        stats, likelihood = em.e_step(params, X, weights, n_threads=n_threads)
        fitted = em.run(params, X, 3, 0.0, em.Protection(), n_threads=n_threads)
        return (
            scoring.log_density(params, X, n_threads=n_threads),
            *scoring.density_and_responsibilities(params, X, n_threads=n_threads),
            likelihood,
            stats.weight,
            stats.first,
            stats.second,
            fitted.parameters.means,
            fitted.parameters.covariances,
            np.array(fitted.history),
        )

    one = everything(1)
    for n_threads in (2, 3):
        for a, b in zip(one, everything(n_threads), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_estimator_and_the_selection_pass_the_threads_on(rng):
    X = draw(random_mixture(rng, "full", 3, 2), N, rng)
    fits = [GaussianMixture(3, random_state=0, n_jobs=n_jobs, max_iter=5, tol=0.1).fit(X) for n_jobs in (None, 2, -1)]
    for model in fits[1:]:
        np.testing.assert_array_equal(model.covariances_, fits[0].covariances_)
        np.testing.assert_array_equal(model.score_samples(X), fits[0].score_samples(X))
        np.testing.assert_array_equal(model.predict(X), fits[0].predict(X))
        np.testing.assert_array_equal(model.predict_proba(X), fits[0].predict_proba(X))
    one, two = (
        selection.select(X, [1, 2], ["diag"], np.random.default_rng(0), n_threads=n_threads) for n_threads in (1, 2)
    )
    assert [trial.bic for trial in one.trials] == [trial.bic for trial in two.trials]


def test_n_jobs_means_what_it_means_to_joblib():
    cores = thread_count(-1)
    assert thread_count(None) == 1
    assert thread_count(3) == 3
    assert cores >= 1
    assert thread_count(-2) == max(1, cores - 1)
    assert thread_count(-1000) == 1


@pytest.mark.parametrize("bad", [0, True, 1.5, "all"])
def test_bad_n_jobs_are_named(rng, bad):
    with pytest.raises(ValueError, match="The 'n_jobs' parameter of GaussianMixture must be"):
        GaussianMixture(n_jobs=bad).fit(rng.normal(size=(20, 2)))
