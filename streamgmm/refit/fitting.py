"""From a job's rows to fitted members: warm, cold, challenged; and the numeric gates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from streamgmm.detector.committee import Detector
from streamgmm.detector.member import Member
from streamgmm.detector.mixtures import blank, component_weights, numbers
from streamgmm.detector.readings import measured
from streamgmm.errors import FitError
from streamgmm.mixture import em, marginals
from streamgmm.mixture.em import Fit, Protection, fit
from streamgmm.mixture.marginals import Marginals
from streamgmm.mixture.parameters import MixtureParameters
from streamgmm.mixture.seeding import STARTS
from streamgmm.mixture.selection import select
from streamgmm.records import Version
from streamgmm.refit.job import SMALLER_FIT, Candidate, Failure, Job, MemberSettings, RefusalReason
from streamgmm.refit.order import sight_of
from streamgmm.refit.reduction import Reduction
from streamgmm.refit.shared import Shared

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.detector.mixtures import Mixture
    from streamgmm.detector.sight import Sight
    from streamgmm.detector.view import View

    Floats = NDArray[np.float64]

Clock: TypeAlias = Callable[[], float]
Expired: TypeAlias = Callable[[], bool]
# Told the number and the lower bound (nats per row) of every EM pass.
OnPass: TypeAlias = Callable[[int, float], None]
# Returns so many of the newest rows, and their first columns; all of these for None.
Rows: TypeAlias = "Callable[[int, int | None], Floats]"

REFRESH_PASSES = 1
REFIT_PASSES = 1
COLD_PASSES = 20
# Of a first fit's rows, the share that is fitted before the rest is scored to start the calibration.
FIRST_SHARE = 0.7
CHALLENGER_SHARE = 0.8
# A cold start on so many rows is as good as on all of them; the pass that follows sees the rest.
CHALLENGER_ROWS = 1000
# Others follow: twice as many starts find nothing more on 32 streams.
CHALLENGER_STARTS = 5
MOST_CHALLENGER_ROWS, ROWS_PER_MEAN = 2000, 10
MAX_CONDITION = 1e12
MIN_WEIGHT = 1e-9


class DeadlineExpiredError(FitError):
    """The fit ran out of time between two passes."""


def run(job: Job, now: Clock, cancelled: Expired = lambda: False, on_pass: OnPass | None = None) -> Candidate | Failure:
    """Do a job: whatever goes wrong is a Failure, never an exception."""
    start = now()

    def expired() -> bool:
        return cancelled() or now() - start > job.deadline

    try:
        candidate = _FITS[job.kind](job, expired, on_pass)
    except DeadlineExpiredError as error:
        return Failure(job, "deadline", str(error), now() - start)
    except FitError as error:
        return Failure(job, error.reason, str(error), now() - start)
    except np.linalg.LinAlgError as error:
        return Failure(job, "not_positive_definite", str(error), now() - start)
    except Exception as error:  # noqa: BLE001 - a bug in a fit must cost a refit; on a worker thread it would end them all
        return Failure(job, None, f"{type(error).__name__}: {error}", now() - start)
    for member in candidate.members:
        reason = gate(member)
        if reason is not None:
            return Failure(job, reason, f"{member.name}: {reason.replace('_', ' ')}", now() - start)
    return replace(candidate, seconds=now() - start)


def gate(member: Member) -> RefusalReason | None:
    """Return why a fitted member may not serve, by its numbers alone."""
    p = member.mixture
    if not math.isfinite(member.view.log_jacobian):
        return "non_finite"
    sound = well_conditioned(p)  # and so are all of its matrices finite
    if not all(_finite(a) for a in (numbers(p)[:2] if sound else numbers(p))):
        return "non_finite"
    if (component_weights(p) < MIN_WEIGHT).any():
        return "dead_component"
    if not sound and (p.condition_numbers() > MAX_CONDITION).any():
        return "condition"
    return None


def well_conditioned(mixture: Mixture) -> bool:
    """Return whether even a bound that needs no eigenvalues says so: |Σ|·|Σ⁻¹| in the norm of Frobenius."""
    if isinstance(mixture, Marginals) or mixture.covariance_type != "full":
        return False
    return mixture.condition_bound() <= MAX_CONDITION


def _finite(a: Floats) -> bool:
    # A sum is half the price, and finite where all is well; it may overflow where all is well, too.
    return math.isfinite(np.add.reduce(a, axis=None)) or bool(np.isfinite(a).all())


def warm(
    member: Member,
    X: Floats,
    newest: float,
    settings: MemberSettings,
    passes: int,
    expired: Expired | None = None,
    on_pass: OnPass | None = None,
    shared: Shared | None = None,
) -> Member:
    """Move a member on: refit its view, carry its mixture over to it, and take a few EM passes.

    One that has no say is left as it is.
    """
    if not member.sight.weight:
        return member
    shared = shared or Shared()
    X = shared.measured(member.sight.of(X), settings, member.view)
    view = shared.view(X, settings, member.view)
    z = shared.features(X, view, blank(member.mixture))
    mixture: Mixture
    if isinstance(member.mixture, Marginals):
        alone = _restart(member.mixture.moved(*between(member.view, view)), z, _changed(member.view, view))
        mixture = marginals.run(alone, z, passes, settings.floor, deadline=expired, on_pass=on_pass)
    else:
        start = rebase(member.mixture, member.view, view)
        guard = protection(settings)
        if settings.reduces:
            mixture = _reduced(z, settings).warm(start, passes, guard, expired, on_pass)
        else:
            mixture = em.run(start, z, passes, 0.0, guard, deadline=expired, on_pass=on_pass).parameters
    _check(expired)
    return Member(member.name, view, mixture, newest, member.sight)


def cold(
    X: Floats,
    newest: float,
    settings: MemberSettings,
    rng: np.random.Generator,
    previous: View | None = None,
    expired: Expired | None = None,
    on_pass: OnPass | None = None,
    sight: Sight | None = None,
    starts: int = STARTS,
) -> Member:
    """Fit a member from nothing: k-means++ starts (quantiles for marginals), then EM.

    `previous` is the view of a member of the same `sight`, which the rows decide unless it is given.
    """
    sight = sight_of(settings, X) if sight is None else sight
    X = measured(sight.of(X), previous, settings.category_columns)
    view = Shared().view(X, settings, previous)
    if settings.kind == "marginals":
        z = view.apply(X, math.nan)
        start = marginals.start(z, settings.n_components)
        found = marginals.run(start, z, COLD_PASSES, settings.floor, deadline=expired, on_pass=on_pass)
        _check(expired)
        return Member(settings.name, view, found, newest, sight)
    z = view.apply(X)
    if settings.reduces:
        reduced = _reduced(z, settings)
        fitted = reduced.reduction.expand(_mixture(reduced.scores, settings, rng, expired, on_pass, starts).parameters)
    else:
        fitted = _mixture(z, settings, rng, expired, on_pass, starts).parameters
    _check(expired)
    return Member(settings.name, view, fitted, newest, sight)


@dataclass(frozen=True, slots=True)
class _Reduced:
    """Rows along principal axes (n, n_axes), and the way there and back."""

    reduction: Reduction
    scores: Floats
    covariance_type: str

    def warm(
        self,
        start: MixtureParameters,
        passes: int,
        guard: Protection,
        expired: Expired | None,
        on_pass: OnPass | None,
    ) -> MixtureParameters:
        """Take EM passes along the axes, from a mixture of the features to another."""
        along = self.reduction.project(start, self.covariance_type)
        found = em.run(along, self.scores, passes, 0.0, guard, deadline=expired, on_pass=on_pass).parameters
        return self.reduction.expand(found)


def _reduced(z: Floats, settings: MemberSettings) -> _Reduced:
    """Find the principal axes of features (n, n_features), by their complete rows; these alone teach."""
    complete = z[~np.isnan(z).any(axis=1)]
    if not len(complete):
        raise FitError(
            "there is no complete row for the principal components", hint="remove model.pca", reason="no_complete_row"
        )
    reduction = Reduction.fit(complete, settings.pca_components, settings.pca_share, settings.floor)
    return _Reduced(reduction, reduction.scores(complete), settings.covariance_type)


def _mixture(
    z: Floats,
    settings: MemberSettings,
    rng: np.random.Generator,
    expired: Expired | None,
    on_pass: OnPass | None,
    starts: int,
) -> Fit:
    """Fit a mixture from nothing, of the size that the settings say or their criterion chooses."""
    most, fewest = min(settings.n_components, max(1, len(z) // 2)), settings.fewest_components
    guard, kind = protection(settings), settings.covariance_type
    # A choice holds rows back, and needs two rows more.
    sizes = range(0) if fewest is None else range(fewest, min(most, len(z) // 2 - 1) + 1)
    if not sizes:
        k = most if fewest is None else min(most, fewest)
        return fit(
            z,
            k,
            kind,
            rng,
            max_iter=COLD_PASSES,
            tol=1e-4,
            protection=guard,
            starts=starts,
            deadline=expired,
            on_pass=on_pass,
        )
    choice = select(z, sizes, [kind], rng, protection=guard, deadline=expired).best(settings.choose_by)
    _check(expired)
    return em.run(choice.parameters, z, COLD_PASSES, 1e-4, guard, deadline=expired, on_pass=on_pass)


def _changed(old: View, new: View) -> NDArray[np.intp]:
    """Return the columns that are counted in one view and not in the other."""
    if not (old.counted or new.counted):
        return np.empty(0, dtype=np.intp)
    return np.setxor1d(old.tables.columns, new.tables.columns)


def _restart(mixture: Marginals, z: Floats, columns: NDArray[np.intp]) -> Marginals:
    """Let columns begin anew; EM could not tell their components apart any more."""
    if not len(columns):
        return mixture
    fresh = marginals.start(np.ascontiguousarray(z[:, columns]), mixture.n_components)
    weights, means, variances = mixture.weights.copy(), mixture.means.copy(), mixture.variances.copy()
    weights[columns], means[columns], variances[columns] = fresh.weights, fresh.means, fresh.variances
    return Marginals(weights, means, variances)


def protection(settings: MemberSettings) -> Protection:
    """Return what keeps a served mixture from collapsing."""
    return Protection(reg_covar=settings.floor, shrinkage=settings.shrinkage, reseed=True)


def rebase(mixture: MixtureParameters, old: View, new: View) -> MixtureParameters:
    """Express a mixture in another view of the same columns (exact but for clipping, category tables and spheres)."""
    ratio, shift = between(old, new)
    kind, covariances = mixture.covariance_type, mixture.covariances
    changed = _changed(old, new)
    if kind == "full" and not len(changed):
        return mixture.moved(ratio, shift)
    means = mixture.means * ratio + shift
    if len(changed):
        means[:, changed] = 0.0
    if kind in {"full", "tied"}:
        covariances = covariances * np.outer(ratio, ratio)
    elif kind == "diag":
        covariances = covariances * ratio**2
    else:
        covariances = covariances * np.mean(ratio**2)
    if len(changed) and kind != "spherical":
        covariances = _independent(covariances, kind, changed)
    return MixtureParameters.from_covariances(mixture.weights, means, covariances, kind)


def _independent(covariances: Floats, kind: str, columns: NDArray[np.intp]) -> Floats:
    """Return covariances in which some columns have nothing to do with the others, and unit variance."""
    covariances = covariances.copy()
    if kind == "diag":
        covariances[:, columns] = 1.0
        return covariances
    covariances[..., columns, :] = 0.0
    covariances[..., :, columns] = 0.0
    covariances[..., columns, columns] = 1.0
    return covariances


def between(old: View, new: View) -> tuple[Floats, Floats]:
    """Return the factors and shifts (d,) that turn features of one view into those of another."""
    return old.scale / new.scale, (old.location - new.location) / new.scale


def _first(job: Job, expired: Expired, on_pass: OnPass | None) -> Candidate:
    rng = job.rng()
    n = max(1, int(FIRST_SHARE * len(job.X)))
    early = [cold(job.X[:n][-s.window :], job.newest, s, rng, None, expired, on_pass) for s in job.settings]
    held_out = Detector(tuple(early), Version()).log_density(job.X[n:]) if n < len(job.X) else np.empty(0)
    members = tuple(
        warm(m, job.X[-s.window :], job.newest, s, COLD_PASSES, expired, on_pass)
        for m, s in zip(early, job.settings, strict=True)
    )
    return Candidate(job, members, 0.0, held_out)


def _warm(job: Job, expired: Expired, on_pass: OnPass | None) -> Candidate:
    rows, shared = cache(job.rows), Shared()
    members = [_warm_one(job, i, rows, shared, expired, on_pass) for i in range(len(job.targets))]
    return Candidate(job, tuple(members), 0.0)


def _warm_one(job: Job, i: int, rows: Rows, shared: Shared, expired: Expired, on_pass: OnPass | None) -> Member:
    settings, incumbent = job.settings[i], job.incumbents[i]
    X = rows(settings.window, settings.n_columns or None)
    sight = sight_of(settings, X)
    if sight != incumbent.sight:
        return cold(X, job.newest, settings, job.rng(), None, expired, on_pass, sight)
    return warm(incumbent, X, job.newest, settings, REFIT_PASSES, expired, on_pass, shared)


def _challenger(job: Job, expired: Expired, on_pass: OnPass | None) -> Candidate:
    """Let a cold start, which sees what a warm one cannot, try to beat the warm refit on held-out rows."""
    rng, rows, shared = job.rng(), cache(job.rows), Shared()
    members = []
    for i, settings in enumerate(job.settings):
        incumbent, X = job.incumbents[i], rows(settings.window, settings.n_columns or None)
        chosen = rng.random(len(X)) < CHALLENGER_SHARE
        if not incumbent.sight.weight or sight_of(settings, X) != incumbent.sight:
            members.append(_warm_one(job, i, rows, shared, expired, on_pass))
            continue
        warmed = warm(incumbent, X[chosen], job.newest, settings, 1, expired)
        seen = X[chosen]
        seen = seen[:: -(-len(seen) // _challenger_rows(settings.n_components, len(incumbent.view.scale)))]
        fresh = cold(
            seen, job.newest, settings, rng, incumbent.view, expired, on_pass, incumbent.sight, CHALLENGER_STARTS
        )
        gain = fresh.log_density(X[~chosen]) - warmed.log_density(X[~chosen])
        if _clearly_positive(gain):
            members.append(warm(fresh, X, job.newest, settings, 1, expired))
        else:
            members.append(_warm_one(job, i, rows, shared, expired, on_pass))
    return Candidate(job, tuple(members), 0.0)


def _challenger_rows(n_components: int, n_features: int) -> int:
    """Return how many rows a challenger starts from: more of them where there is more to be found."""
    return min(MOST_CHALLENGER_ROWS, max(CHALLENGER_ROWS, ROWS_PER_MEAN * n_components * n_features))


def _clearly_positive(gain: Floats) -> bool:
    """Return whether a mean lies more than two standard errors above zero."""
    if len(gain) < 2:
        return False
    return bool(gain.mean() > 2.0 * gain.std(ddof=1) / np.sqrt(len(gain)))


def _check(expired: Expired | None) -> None:
    if expired is not None and expired():
        raise DeadlineExpiredError("the fit took too long", hint=SMALLER_FIT)


_FITS: dict[str, Callable[[Job, Expired, OnPass | None], Candidate]] = {
    "first": _first,
    "warm": _warm,
    "challenger": _challenger,
}
