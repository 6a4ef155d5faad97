"""Everything the engine remembers, in one place, and its way into named arrays and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from streamgmm.detector.committee import Detector
from streamgmm.detector.member import Member, select
from streamgmm.engine.calibration import Calibration
from streamgmm.engine.comparable import Comparable
from streamgmm.engine.drift import Drift
from streamgmm.engine.incidents import Incident
from streamgmm.engine.thinning import Tally, Thinning
from streamgmm.engine.window import Block, Window
from streamgmm.errors import SnapshotError
from streamgmm.refit.job import Kind, MemberSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from streamgmm.engine.settings import EngineSettings
    from streamgmm.records import Json

    Arrays = Mapping[str, NDArray[Any]]
    Floats = NDArray[np.float64]

# What a snapshot's arrays are: anything else would reach compiled code, which trusts its types.
_FLOAT, _INT, _BOOL = np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.bool_)
_KINDS = {
    "window.X": (_FLOAT, 2), "window.t": (_FLOAT, 1), "window.blocks": (_INT, 1),
    "held.X": (_FLOAT, 2), "held.t": (_FLOAT, 1), "held.blocks": (_INT, 1),
    "reference.recent": (_FLOAT, 1), "past.recent": (_FLOAT, 1),
    "calibration.recent": (_FLOAT, 1), "clocks": (_FLOAT, 2), "shadow.scores": (_FLOAT, 2),
    "step.X": (_FLOAT, 2), "step.t": (_FLOAT, 1), "step.in_window": (_BOOL, 1),
    "step.log_density": (_FLOAT, 1), "step.p_value": (_FLOAT, 1), "step.shadow": (_FLOAT, 1),
}  # fmt: skip


@dataclass(slots=True)
class StepRows:
    """What the running step has gathered: the learnt rows (parts of arrays), and how many rows went by.

    `late`: how many of the last rows, one after the other, stood a share of the span away from the start.
    """

    X: list[Floats] = field(default_factory=list)
    t: list[Floats] = field(default_factory=list)
    log_density: list[Floats] = field(default_factory=list)
    p_value: list[Floats] = field(default_factory=list)
    shadow: list[Floats] = field(default_factory=list)
    in_window: list[NDArray[np.bool_]] = field(default_factory=list)
    learnt: int = 0
    rows: int = 0
    started: float = float("nan")
    late: int = 0


@dataclass(frozen=True, slots=True)
class Shadow:
    """Fitted members that are being judged: they score every learnt row beside the serving ones.

    `candidate` and `incumbent` are the log-densities of finished steps that were too short for a verdict.
    """

    number: int
    kind: str
    targets: tuple[int, ...]
    members: tuple[Member, ...]
    candidate: Floats = field(default_factory=lambda: np.empty(0))
    incumbent: Floats = field(default_factory=lambda: np.empty(0))

    def within(self, detector: Detector) -> Detector:
        """Return the detector with the fitted members in the place of theirs."""
        for i, member in zip(self.targets, self.members, strict=True):
            detector = detector.with_member(i, member, detector.version)
        return detector

    def with_scores(self, candidate: Floats, incumbent: Floats) -> Shadow:
        """Return the shadow with the scores of a step more."""
        return replace(
            self,
            candidate=np.concatenate([self.candidate, candidate]),
            incumbent=np.concatenate([self.incumbent, incumbent]),
        )


@dataclass(frozen=True, slots=True)
class Flight:
    """The refit that is under way: enough to start it again after a restart, on the same rows."""

    kind: Kind
    targets: tuple[int, ...]


@dataclass(slots=True)
class MemberClock:
    """What has been learnt since a member's last refresh and refit, and the event time of the latter (s)."""

    since_refresh: int = 0
    since_refit: int = 0
    refit_at: float = float("nan")


@dataclass(frozen=True, slots=True)
class Past:
    """What a change is measured by after its alarm: the scores from before it, which new ones replace one by one.

    Attributes
    ----------
    calibration
        The scores.
    drift
        The bet against them, since the memory was cut last.
    rows : int
        Learnt rows until none of the old scores is left.
    """

    calibration: Calibration
    drift: Drift
    rows: int

    def follow(self, scores: NDArray[np.float64]) -> Past | None:
        """Return it after a step's scores (n,); None when no old score is left."""
        if len(scores) >= self.rows:
            return None
        drift = self.drift.follow(self.calibration.p_values(scores))
        return Past(self.calibration.add(scores), drift, self.rows - len(scores))


@dataclass(slots=True)
class State:
    """The engine's memory. Values inside are frozen; the engine exchanges them at step ends.

    `members`: the settings under which the detector's members were fitted; None where a snapshot does not tell.
    """

    window: Window
    calibration: Calibration
    clocks: list[MemberClock]
    detector: Detector | None = None
    thinning: Thinning = field(default_factory=Thinning)
    tally: Tally = field(default_factory=Tally)
    incident: Incident | None = None
    shadow: Shadow | None = None
    step: StepRows = field(default_factory=StepRows)
    rows_seen: int = 0
    jobs: int = 0
    refits: int = 0
    epoch: int = 0
    flight: Flight | None = None
    comparable: Comparable | None = None
    drift: Drift = field(default_factory=Drift)
    held: Window | None = None
    members: tuple[MemberSettings, ...] | None = None
    reference: Calibration | None = None
    past: Past | None = None

    @classmethod
    def fresh(cls, settings: EngineSettings) -> State:
        """Return the state of an engine that has seen nothing."""
        return cls(
            window=Window(settings.window),
            calibration=Calibration.of(settings.calibration_rows, np.empty(0)),
            clocks=[MemberClock() for _ in settings.members],
            members=settings.members,
        )

    def to_arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Json]]:
        """Return named arrays and a manifest of plain values."""
        d = self.window.blocks[0].X.shape[1] if self.window.blocks else 0
        arrays: dict[str, NDArray[Any]] = {
            **_named("window", self.window),
            "calibration.recent": self.calibration.recent,
            "clocks": np.array([[c.since_refresh, c.since_refit, c.refit_at] for c in self.clocks]),
            "step.X": _join(self.step.X, (0, d)),
            "step.t": _join(self.step.t),
            "step.log_density": _join(self.step.log_density),
            "step.p_value": _join(self.step.p_value),
            "step.shadow": _join(self.step.shadow),
            "step.in_window": _join(self.step.in_window).astype(bool),
        }
        if self.detector is not None:
            arrays |= {f"detector.{k}": v for k, v in self.detector.to_arrays().items()}
        if self.held is not None:
            arrays |= _named("held", self.held)
        if self.reference is not None:
            arrays["reference.recent"] = self.reference.recent
        if self.past is not None:
            arrays["past.recent"] = self.past.calibration.recent
        if self.comparable is not None:
            arrays |= {f"comparable.{k}": v for k, v in self.comparable.to_arrays().items()}
        if self.shadow is not None:
            arrays["shadow.scores"] = np.vstack([self.shadow.candidate, self.shadow.incumbent])
            for i, member in enumerate(self.shadow.members):
                arrays |= {f"shadow{i}.{k}": v for k, v in member.to_arrays().items()}
        return arrays, self._manifest()

    def _manifest(self) -> dict[str, Json]:
        shadow, incident, thinning, step = self.shadow, self.incident, self.thinning, self.step
        tally, past = self.tally, self.past
        return {
            "rows_seen": self.rows_seen,
            "jobs": self.jobs,
            "refits": self.refits,
            "epoch": self.epoch,
            "flight": None if self.flight is None else [self.flight.kind, list(self.flight.targets)],
            "log_gain": self.calibration.log_gain,
            "drift": [self.drift.evidence, self.drift.rows],
            "past": None if past is None else [past.drift.evidence, past.drift.rows, past.rows],
            "thinning": [thinning.window, thinning.calibration, _number(thinning.rows_per_second)],
            "tally": [_number(tally.since), _number(tally.latest), tally.ticks, tally.rows],
            "incident": None if incident is None else [incident.id, _number(incident.t), incident.row],
            "shadow": None if shadow is None else [shadow.number, shadow.kind, list(shadow.targets)],
            "step": [step.learnt, step.rows, _number(step.started), step.late],
            "members": None if self.members is None else [asdict(member) for member in self.members],
        }

    @classmethod
    def from_arrays(cls, settings: EngineSettings, arrays: Arrays, manifest: Mapping[str, Json]) -> State:
        """Rebuild what `to_arrays` gave; its members may be others than those of the settings.

        Raises
        ------
        SnapshotError
            When it was made with other columns, or arrays do not belong together.
        """
        state = cls.fresh(settings)
        _check(settings, arrays)
        state.members = _members(manifest.get("members"))
        state.window = _window(settings.window, select(arrays, "window."))
        held = select(arrays, "held.")
        state.held = _window(settings.window, held) if held else None
        state.calibration = Calibration.of(
            settings.calibration_rows, arrays["calibration.recent"], float(manifest["log_gain"])
        )
        if "reference.recent" in arrays:
            state.reference = Calibration.of(settings.calibration_rows, arrays["reference.recent"])
        if "past.recent" in arrays:
            evidence, changed, rows = manifest["past"]
            old = Calibration.of(settings.calibration_rows, arrays["past.recent"])
            state.past = Past(old, Drift(float(evidence), int(changed)), int(rows))
        state.clocks = [MemberClock(int(c[0]), int(c[1]), float(c[2])) for c in arrays["clocks"]]
        detector = select(arrays, "detector.")
        state.detector = Detector.from_arrays(detector) if detector else None
        evidence, changed = manifest["drift"]
        state.drift = Drift(float(evidence), int(changed))
        comparable = select(arrays, "comparable.")
        state.comparable = Comparable.from_arrays(comparable) if comparable else None
        window, calibration, rate = manifest["thinning"]
        state.thinning = Thinning(float(window), float(calibration), _nan(rate))
        since, latest, ticks, counted = manifest["tally"]
        state.tally = Tally(_nan(since), _nan(latest), int(ticks), int(counted))
        if manifest["incident"] is not None:
            name, t, row = manifest["incident"]
            state.incident = Incident(str(name), _nan(t), int(row))
        if manifest["shadow"] is not None:
            number, kind, targets = manifest["shadow"]
            members = tuple(Member.from_arrays(select(arrays, f"shadow{i}.")) for i in range(len(targets)))
            state.shadow = Shadow(int(number), str(kind), _indices(targets, state), members, *arrays["shadow.scores"])
        state.step = _step(arrays, manifest["step"])
        if manifest["flight"] is not None:
            kind, targets = manifest["flight"]
            state.flight = Flight(kind, _indices(targets, state))
            if kind not in get_args(Kind):
                raise SnapshotError(f"there is no refit of kind {kind!r}")
        for name in ("rows_seen", "jobs", "refits", "epoch"):
            setattr(state, name, int(manifest[name]))
        return state


def _check(settings: EngineSettings, arrays: Arrays) -> None:
    for name, (kind, ndim) in _KINDS.items():
        if name in arrays and (arrays[name].dtype != kind or arrays[name].ndim != ndim):
            raise SnapshotError(f"the array {name} is {arrays[name].dtype} of {arrays[name].ndim} dimensions")
    X, d = arrays["window.X"], settings.width
    if X.size and X.shape[1] != d:
        raise SnapshotError(
            f"the snapshot has {X.shape[1]} columns, the configuration {d}",
            hint="restore the fields, choose another state.dir, or set state.on_mismatch: cold_start",
        )
    for window in ("window", "held"):
        if f"{window}.X" in arrays:
            sizes = arrays[f"{window}.blocks"]
            lengths = {len(arrays[f"{window}.X"]), len(arrays[f"{window}.t"]), int(sizes.sum())}
            if len(lengths) > 1 or (sizes < 0).any():
                raise SnapshotError(f"the arrays of {window} do not match")
    rows = {len(arrays[f"step.{name}"]) for name in ("X", "t", "in_window")}
    clocks = arrays["clocks"].shape[1]
    if len(rows) > 1 or arrays["step.X"].shape[1] not in {0, d} or clocks != len(fields(MemberClock)):
        raise SnapshotError("the arrays of the running step, or of the clocks, do not match")


def _members(told: list[dict[str, Json]] | None) -> tuple[MemberSettings, ...] | None:
    if told is None:
        return None
    known = {f.name for f in fields(MemberSettings)}
    plain: list[dict[str, Any]] = [
        {name: tuple(value) if isinstance(value, list) else value for name, value in one.items() if name in known}
        for one in told
    ]
    return tuple(MemberSettings(**one) for one in plain)


def _named(name: str, window: Window) -> dict[str, NDArray[Any]]:
    sizes = np.array([len(b.t) for b in window.blocks], dtype=np.int64)
    return {f"{name}.X": window.rows(), f"{name}.t": window.times(), f"{name}.blocks": sizes}


def _window(capacity: int, arrays: Arrays) -> Window:
    ends = np.cumsum(arrays["blocks"])
    window = Window(capacity)
    for start, end in zip(ends - arrays["blocks"], ends, strict=True):
        window = window.add(Block.seal(arrays["X"][start:end], arrays["t"][start:end]))
    return window


def _step(arrays: Arrays, numbers: list[Json]) -> StepRows:
    learnt, rows, started, late = numbers
    step = StepRows(learnt=int(learnt), rows=int(rows), started=_nan(started), late=int(late))
    if len(arrays["step.t"]):
        step.X, step.t, step.in_window = [arrays["step.X"]], [arrays["step.t"]], [arrays["step.in_window"]]
    if len(arrays["step.log_density"]):
        step.log_density, step.p_value = [arrays["step.log_density"]], [arrays["step.p_value"]]
    step.shadow = [arrays["step.shadow"]] if len(arrays["step.shadow"]) else []
    return step


def _join(parts: list[Any], shape: tuple[int, ...] = (0,)) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(shape)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _indices(targets: list[Json], state: State) -> tuple[int, ...]:
    found = tuple(int(i) for i in targets)
    if any(not 0 <= i < len(state.clocks) for i in found):
        raise SnapshotError(f"a refit of the members {found}, but there are {len(state.clocks)}")
    return found
