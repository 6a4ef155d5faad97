"""A range of sizes: fits from nothing choose, warm ones keep what was chosen."""

import time
from dataclasses import replace

import numpy as np
import pytest

from streamgmm import StreamDetector
from streamgmm.refit.fitting import DeadlineExpiredError, cold, run, warm
from streamgmm.refit.job import Candidate, Job, MemberSettings

SETTINGS = MemberSettings(n_components=6, fewest_components=1)


def clusters(rng, n, k):
    means = 10.0 * np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])[:k]
    return means[rng.integers(k, size=n)] + rng.normal(size=(n, 2))


@pytest.mark.parametrize("criterion", ["bic", "held_out"])
@pytest.mark.parametrize("k", [1, 3])
def test_a_fit_from_nothing_finds_the_number_of_clusters(rng, k, criterion):
    found = cold(clusters(rng, 900, k), 0.0, replace(SETTINGS, choose_by=criterion), rng)
    assert found.mixture.n_components == k or (criterion == "held_out" and found.mixture.n_components >= k)


def test_the_range_is_kept_to(rng):
    X = clusters(rng, 900, 3)
    assert cold(X, 0.0, replace(SETTINGS, n_components=2), rng).mixture.n_components == 2
    assert cold(X, 0.0, replace(SETTINGS, fewest_components=5), rng).mixture.n_components >= 5


@pytest.mark.parametrize("n", [2, 3, 4, 5, 11])
def test_few_rows_narrow_the_range(rng, n):
    assert 1 <= cold(clusters(rng, n, 1), 0.0, SETTINGS, rng).mixture.n_components <= n // 2


def test_a_warm_refit_keeps_the_size(rng):
    member = cold(clusters(rng, 900, 3), 0.0, SETTINGS, rng)
    assert warm(member, clusters(rng, 900, 4), 1.0, SETTINGS, 3).mixture.n_components == 3


def test_a_challenger_chooses_anew(rng):
    member = cold(clusters(rng, 900, 2), 0.0, SETTINGS, rng)
    X = clusters(rng, 900, 4)
    job = Job(0, 1, "challenger", (0,), (SETTINGS,), (member,), X, 0.0, 7, 60.0)
    found = run(job, time.monotonic)
    assert isinstance(found, Candidate)
    assert found.members[0].mixture.n_components == 4


def test_the_deadline_ends_a_choice(rng):
    with pytest.raises(DeadlineExpiredError):
        cold(clusters(rng, 900, 3), 0.0, SETTINGS, rng, expired=lambda: True)


def test_a_detector_with_a_range_serves_as_many_components_as_there_are_clusters(rng):
    detector = StreamDetector.from_config(
        {
            "codec": {"type": "json", "fields": ["a", "b"]},
            "model": {"committee": "single", "n_components": {"min": 1, "max": 8, "choose_by": "bic"}},
            "learning": {"min_records": 500, "refit_every": {"records": 500}, "challenger_every": 2},
            "detection": {"target_rate": 0.01},
        }
    )
    detector.process(clusters(rng, 3000, 3))
    (member,) = detector.engine.state.detector.members
    assert member.mixture.n_components == 3
