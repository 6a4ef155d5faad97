"""The shadow refuses what is clearly worse, and nothing else."""

import numpy as np

from streamgmm.refit.verdict import judge


def test_a_better_or_equal_candidate_may_serve(rng):
    incumbent = rng.normal(size=100)
    assert judge(incumbent, incumbent, -10.0).refused is None
    assert judge(incumbent + 1.0, incumbent, -10.0).refused is None


def test_a_small_loss_is_tolerated_and_a_clear_one_is_not(rng):
    incumbent = rng.normal(size=100)
    assert judge(incumbent - 0.05, incumbent, -10.0).refused is None
    assert judge(incumbent - 0.5, incumbent, -10.0).refused == "shadow_density"


def test_a_loss_within_two_standard_errors_is_tolerated(rng):
    incumbent = rng.normal(size=100)
    assert judge(incumbent + rng.normal(-0.2, 5.0, size=100), incumbent, -100.0).refused is None


def test_many_more_flags_are_refused():
    incumbent = np.zeros(100)
    candidate = np.where(np.arange(100) < 10, -5.0, 3.0)
    assert judge(candidate, incumbent, -4.0).refused == "shadow_flag_rate"
    assert judge(np.where(np.arange(100) < 3, -5.0, 3.0), incumbent, -4.0).refused is None


def test_one_wild_row_does_not_decide():
    incumbent, candidate = np.zeros(100), np.full(100, 1.0)
    candidate[0] = -1e9
    assert judge(candidate, incumbent, -1e300).refused is None


def test_what_is_not_finite_is_refused():
    assert judge(np.array([0.0, np.nan]), np.zeros(2), -1.0).refused == "non_finite"
