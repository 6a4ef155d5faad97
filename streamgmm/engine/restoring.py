"""A saved state under settings that have changed since: what matches is kept, what does not is fitted anew at once."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from streamgmm.detector.committee import Detector
from streamgmm.detector.sight import WHOLE, Sight
from streamgmm.engine.calibration import Calibration
from streamgmm.engine.comparable import MIN_DONORS, PROBABILITIES, mapped
from streamgmm.engine.state import MemberClock
from streamgmm.errors import FitError
from streamgmm.mixture.marginals import Marginals
from streamgmm.records import Version
from streamgmm.refit.fitting import COLD_PASSES, cold, gate, warm
from streamgmm.refit.job import MemberSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from streamgmm.detector.member import Member
    from streamgmm.engine.settings import EngineSettings
    from streamgmm.engine.state import State

    Floats = NDArray[np.float64]
    Arrays = Mapping[str, NDArray[Any]]

# When a member is fitted does not change what it is, and a refresh takes another window up by itself. Whether hidden
# columns stand behind those that it sees does not concern it.
SCHEDULE = frozenset({"refresh_every", "refit_every", "refit_seconds", "window", "n_columns"})
# A few EM passes put a member under any other setting that changed; one of these needs a fit from nothing.
SHAPE = frozenset(
    {
        "kind", "n_components", "fewest_components", "choose_by", "covariance_type", "category_columns",
        "pca_components", "pca_share", "stems", "weight",
    }
)  # fmt: skip


def changed(was: MemberSettings, now: MemberSettings) -> tuple[str, ...]:
    """Return the names of the settings by which two members of one name are not the same model."""
    names = (f.name for f in fields(MemberSettings) if f.name not in SCHEDULE)
    return tuple(name for name in names if getattr(was, name) != getattr(now, name))


def differences(told: Sequence[MemberSettings], members: Sequence[MemberSettings]) -> Iterator[str]:
    """Yield a sentence for each member that is not as it was saved."""
    before = {member.name: member for member in told}
    for member in members:
        was = before.pop(member.name, None)
        if was is None:
            yield f"member {member.name} is new: it is fitted to the window"
            continue
        names = changed(was, member)
        if names:
            changes = ", ".join(f"{name} {getattr(was, name)} -> {getattr(member, name)}" for name in names)
            yield f"member {member.name} is fitted to the window anew: {changes}"
    for name in before:
        yield f"member {name} is no longer configured: it is dropped"


def inferred(detector: Detector | None, members: Sequence[MemberSettings]) -> tuple[MemberSettings, ...]:
    """Return the settings of a detector that was saved without them: what its arrays tell, and else the configured."""
    if detector is None:
        return tuple(members)
    wanted = {member.name: member for member in members}
    return tuple(_inferred(member, wanted.get(member.name, MemberSettings(member.name))) for member in detector.members)


def _inferred(member: Member, wanted: MemberSettings) -> MemberSettings:
    found = member.mixture
    chosen = wanted.fewest_components is not None and found.n_components <= wanted.n_components
    size = wanted.n_components if chosen else found.n_components
    if isinstance(found, Marginals):
        return replace(wanted, kind="marginals", n_components=size)
    return replace(wanted, kind="mixture", n_components=size, covariance_type=found.covariance_type)


def remapped(arrays: Arrays, columns: Sequence[int | None]) -> tuple[dict[str, NDArray[Any]], Floats]:
    """Return a state's arrays with rows of other columns, and the same rows of the window in the columns as saved.

    Each column is one of those saved, by index, or missing in all rows. Rows that keep no value are left out of the
    window; maps for missing cells are of the old columns, and are dropped.
    """
    before = arrays["window.X"]
    out = {name: array for name, array in arrays.items() if not name.startswith("comparable.")}
    for window in ("window", "held"):
        if f"{window}.X" in out:
            X = _taken(out[f"{window}.X"], columns)
            known = ~np.isnan(X).all(axis=1)
            before = before[known] if window == "window" else before
            sizes = out[f"{window}.blocks"]
            block = np.repeat(np.arange(len(sizes)), sizes)
            counts = np.bincount(block[known], minlength=len(sizes)).astype(np.int64)
            new = {"X": X[known], "t": out[f"{window}.t"][known], "blocks": counts[counts > 0]}
            out |= {f"{window}.{name}": array for name, array in new.items()}
    out["step.X"] = _taken(out["step.X"], columns)
    out["step.in_window"] = out["step.in_window"] & ~np.isnan(out["step.X"]).all(axis=1)
    return out, np.ascontiguousarray(before)


def _taken(X: Floats, columns: Sequence[int | None]) -> Floats:
    missing = np.full(len(X), np.nan)
    width = X.shape[1]
    parts = [missing if j is None or j >= width else X[:, j] for j in columns]
    return np.ascontiguousarray(np.column_stack(parts)) if len(X) else np.empty((0, len(columns)))


def adapted(state: State, settings: EngineSettings, before: Floats | None = None, *, shown_stay: bool = True) -> State:
    """Return the state under other settings of its members; the same one where nothing changed.

    Parameters
    ----------
    before : (n, d) float64
        The rows of the window in the columns as they were saved, where these changed.
    shown_stay
        Whether only hidden columns changed: members that do not see these are kept.

    Notes
    -----
    The calibration is carried over: its scores are mapped by the quantiles that old and new members give the same rows.
    A fit that fails leaves no detector, and the first fit is made as on a fresh start, from the window that was kept.
    """
    told, state.members = state.members or (), settings.members
    if before is None and _same(told, settings.members):
        return state
    state.epoch += 1
    state.shadow, state.flight, state.comparable, state.past = None, None, None, None
    step = state.step
    state.step = replace(step, log_density=[], p_value=[], shadow=[])
    old, newest = state.detector, state.window.newest()
    clocks = {member.name: clock for member, clock in zip(told, state.clocks, strict=True)}
    same = {m.name: m for m in told if before is None or (shown_stay and not m.stems)}
    kept = [m.name in same and not changed(same[m.name], m) for m in settings.members]
    state.clocks = [
        clocks[m.name] if stays else MemberClock(refit_at=newest)
        for m, stays in zip(settings.members, kept, strict=True)
    ]
    if old is None:
        return state
    state.jobs += 1
    try:
        state.detector = _detector(state, settings, old, same)
    except Exception:  # noqa: BLE001 - whatever went wrong in a fit, a daemon that can fit later must start
        state.detector, state.calibration = None, Calibration.of(settings.calibration_rows, np.empty(0))
        return state
    X = state.window.rows()
    state.calibration = _carried(state.calibration, old, state.detector, X if before is None else before, X)
    return state


def _same(told: Sequence[MemberSettings], members: Sequence[MemberSettings]) -> bool:
    return [m.name for m in told] == [m.name for m in members] and not any(map(changed, told, members))


def _detector(state: State, settings: EngineSettings, old: Detector, told: Mapping[str, MemberSettings]) -> Detector:
    known = {member.name: member for member in old.members if member.name in told}
    rng, newest = np.random.default_rng([settings.seed, state.jobs]), state.window.newest()
    members = []
    for wanted in settings.members:
        names = changed(told[wanted.name], wanted) if wanted.name in known else tuple(SHAPE)
        if not names:
            seen = known[wanted.name].sight
            whole = Sight(tuple(range(wanted.n_columns))) if wanted.n_columns else WHOLE
            members.append(replace(known[wanted.name], sight=seen if wanted.stems else whole))
            continue
        X = state.window.rows(wanted.window, wanted.n_columns or None)
        if SHAPE.isdisjoint(names) and (wanted.stems or wanted.n_columns == told[wanted.name].n_columns):
            member = warm(known[wanted.name], X, newest, wanted, COLD_PASSES)
        else:
            member = cold(X, newest, wanted, rng)
        reason = gate(member)
        if reason is not None:
            raise FitError(f"{wanted.name}: {reason}")
        members.append(member)
    return Detector(tuple(members), Version(old.version.promotion + 1, 0))


def _carried(calibration: Calibration, old: Detector, new: Detector, before: Floats, after: Floats) -> Calibration:
    rows = min(len(before), len(after))
    before, after = before[len(before) - rows :], after[len(after) - rows :]
    whole = ~np.isnan(after).any(axis=1) & ~np.isnan(before).any(axis=1)
    if whole.sum() >= MIN_DONORS:
        before, after = np.ascontiguousarray(before[whole]), np.ascontiguousarray(after[whole])
    scores = old.log_density(before), new.log_density(after)
    if not rows or not all(np.isfinite(s).all() for s in scores):
        return calibration
    quantiles = np.array([np.quantile(s, PROBABILITIES) for s in scores])
    return Calibration.of(calibration.capacity, mapped(quantiles, calibration.recent), calibration.log_gain)
