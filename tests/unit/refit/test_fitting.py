"""From rows to members: the same density in another view, the gates, the deadline, the challenger."""

import time
from dataclasses import replace

import numpy as np
import pytest

from streamgmm.detector.view import View
from streamgmm.errors import FitError
from streamgmm.mixture.factors import not_positive_definite
from streamgmm.mixture.scoring import log_density
from streamgmm.refit import fitting
from streamgmm.refit.fitting import cold, gate, rebase, run, warm
from streamgmm.refit.job import Candidate, Failure, Job, MemberSettings
from streamgmm.telemetry.catalogue import REFUSALS

SETTINGS = MemberSettings(n_components=3)


def job(kind, X, incumbents=(), deadline=60.0, number=0):
    return Job(0, number, kind, (0,), (SETTINGS,), incumbents, X, 0.0, 7, deadline)


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
def test_a_mixture_keeps_its_density_in_another_view(rng, kind):
    X = rng.normal(size=(500, 4)) * [1.0, 100.0, 1e-3, 5.0] + [0.0, 1e6, 3.0, -2.0]
    member = cold(X, 0.0, replace(SETTINGS, covariance_type=kind), rng)
    other = View.fit(X[:50] * 1.5 + 0.1, 30.0, ())
    moved = rebase(member.mixture, member.view, other)
    before = member.log_density(X)
    after = log_density(moved, (X - other.location) / other.scale) + other.log_jacobian
    np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-8)


def test_the_same_job_gives_the_same_candidate(rng):
    X = rng.normal(size=(400, 3))
    one, other = (run(job("first", X), time.monotonic) for _ in range(2))
    np.testing.assert_array_equal(one.members[0].mixture.means, other.members[0].mixture.means)
    np.testing.assert_array_equal(one.held_out, other.held_out)
    assert len(one.held_out) == 120


def test_held_out_rows_were_not_seen(rng):
    X = rng.normal(size=(400, 3))
    X[300:] += 50.0
    assert np.median(run(job("first", X), time.monotonic).held_out) < -100.0


def test_a_fit_that_is_out_of_time_is_refused(rng):
    result = run(job("first", rng.normal(size=(400, 3)), deadline=-1.0), time.monotonic)
    assert isinstance(result, Failure)
    assert result.reason == "deadline"


def test_a_cancelled_fit_stops(rng):
    result = run(job("first", rng.normal(size=(400, 3))), time.monotonic, cancelled=lambda: True)
    assert result.reason == "deadline"


def test_a_gate_names_what_is_wrong(rng):
    member = cold(rng.normal(size=(300, 3)), 0.0, SETTINGS, rng)
    assert gate(member) is None
    weights = np.array([0.0, 0.5, 0.5])
    dead = replace(member, mixture=replace(member.mixture, weights=weights))
    assert gate(dead) == "dead_component"
    means = member.mixture.means.copy()
    means[0, 0] = np.nan
    assert gate(replace(member, mixture=replace(member.mixture, means=means))) == "non_finite"


def test_a_candidate_that_fails_its_gate_is_a_refusal(rng, monkeypatch):
    monkeypatch.setattr(fitting, "gate", lambda _: "condition")
    result = run(job("first", rng.normal(size=(300, 3))), time.monotonic)
    assert (type(result), result.reason) == (Failure, "condition")


def test_the_challenger_finds_a_component_that_a_warm_start_cannot(rng):
    old = rng.normal(size=(600, 2)) * 0.3
    incumbent = cold(old, 0.0, SETTINGS, rng)
    corners = np.array([[6.0, 6.0], [-6.0, 6.0], [0.0, 0.0]])
    X = rng.normal(size=(900, 2)) * 0.3 + corners[rng.integers(0, 3, 900)]
    warmed = run(job("warm", X, (incumbent,)), time.monotonic).members[0]
    challenger = run(job("challenger", X, (incumbent,), number=3), time.monotonic)
    assert isinstance(challenger, Candidate)
    assert challenger.members[0].log_density(X).mean() >= warmed.log_density(X).mean() - 0.05


@pytest.mark.parametrize("spoil", ["constant", "duplicate", "far"])
def test_awkward_columns_still_give_a_member(rng, spoil):
    X = rng.normal(size=(400, 3))
    X[:, 2] = {"constant": 5.0, "duplicate": X[:, 0], "far": X[:, 2] + 1e9}[spoil]
    member = cold(X, 0.0, SETTINGS, rng)
    assert gate(member) is None
    assert np.isfinite(member.log_density(X)).all()
    assert gate(warm(member, X, 0.0, SETTINGS, 3)) is None


def test_a_bug_in_a_fit_is_a_failure_and_names_itself(rng, monkeypatch):
    def broken(*_args, **_options):
        raise IndexError("off by one")

    monkeypatch.setattr(fitting, "fit", broken)
    result = run(job("first", rng.normal(size=(100, 3))), time.monotonic)
    assert isinstance(result, Failure)
    assert (result.reason, result.message) == (None, "IndexError: off by one")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FitError("too large", reason="overflow"), "overflow"),
        (FitError("all is missing", reason="no_complete_row"), "no_complete_row"),
        (not_positive_definite(0), "not_positive_definite"),
        (np.linalg.LinAlgError("eigenvalues did not converge"), "not_positive_definite"),
        (FitError("nothing to fit"), "no_fit"),
    ],
)
def test_a_fit_that_fails_says_why(rng, monkeypatch, error, reason):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(fitting, "fit", fails)
    result = fitting.run(job("first", rng.normal(size=(300, 2))), time.monotonic)
    assert result.reason == reason
    assert reason in REFUSALS
