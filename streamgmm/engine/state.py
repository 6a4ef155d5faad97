"""Everything the engine remembers, in one place, and its way into named arrays and back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from streamgmm.engine.settings import EngineSettings
    from streamgmm.records import Json
    from streamgmm.refit.job import Kind

    Arrays = Mapping[str, NDArray[Any]]
    Floats = NDArray[np.float64]


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


@dataclass(slots=True)
class State:
    """The engine's memory. Values inside are frozen; the engine exchanges them at step ends."""

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

    @classmethod
    def fresh(cls, settings: EngineSettings) -> State:
        """Return the state of an engine that has seen nothing."""
        return cls(
            window=Window(settings.window),
            calibration=Calibration.of(settings.calibration_rows, np.empty(0)),
            clocks=[MemberClock() for _ in settings.members],
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
        if self.comparable is not None:
            arrays |= {f"comparable.{k}": v for k, v in self.comparable.to_arrays().items()}
        if self.shadow is not None:
            arrays["shadow.scores"] = np.vstack([self.shadow.candidate, self.shadow.incumbent])
            for i, member in enumerate(self.shadow.members):
                arrays |= {f"shadow{i}.{k}": v for k, v in member.to_arrays().items()}
        return arrays, self._manifest()

    def _manifest(self) -> dict[str, Json]:
        shadow, incident, thinning, step = self.shadow, self.incident, self.thinning, self.step
        tally = self.tally
        return {
            "rows_seen": self.rows_seen,
            "jobs": self.jobs,
            "refits": self.refits,
            "epoch": self.epoch,
            "flight": None if self.flight is None else [self.flight.kind, list(self.flight.targets)],
            "log_gain": self.calibration.log_gain,
            "drift": [self.drift.evidence, self.drift.rows],
            "thinning": [thinning.window, thinning.calibration, _number(thinning.rows_per_second)],
            "tally": [_number(tally.since), _number(tally.latest), tally.ticks, tally.rows],
            "incident": None if incident is None else [incident.id, _number(incident.t), incident.row],
            "shadow": None if shadow is None else [shadow.number, shadow.kind, list(shadow.targets)],
            "step": [step.learnt, step.rows, _number(step.started), step.late],
        }

    @classmethod
    def from_arrays(cls, settings: EngineSettings, arrays: Arrays, manifest: Mapping[str, Json]) -> State:
        """Rebuild what `to_arrays` gave.

        Raises
        ------
        SnapshotError
            When it was made with other columns or other members.
        """
        state = cls.fresh(settings)
        _check(settings, arrays)
        state.window = _window(settings.window, select(arrays, "window."))
        held = select(arrays, "held.")
        state.held = _window(settings.window, held) if held else None
        state.calibration = Calibration.of(
            settings.calibration_rows, arrays["calibration.recent"], float(manifest["log_gain"])
        )
        state.clocks = [MemberClock(int(c[0]), int(c[1]), float(c[2])) for c in arrays["clocks"]]
        detector = select(arrays, "detector.")
        state.detector = Detector.from_arrays(detector) if detector else None
        state.drift = Drift(*manifest["drift"])
        comparable = select(arrays, "comparable.")
        state.comparable = Comparable.from_arrays(comparable) if comparable else None
        window, calibration, rate = manifest["thinning"]
        state.thinning = Thinning(window, calibration, _nan(rate))
        since, latest, ticks, counted = manifest["tally"]
        state.tally = Tally(_nan(since), _nan(latest), ticks, counted)
        if manifest["incident"] is not None:
            name, t, row = manifest["incident"]
            state.incident = Incident(name, _nan(t), row)
        if manifest["shadow"] is not None:
            number, kind, targets = manifest["shadow"]
            members = tuple(Member.from_arrays(select(arrays, f"shadow{i}.")) for i in range(len(targets)))
            state.shadow = Shadow(number, kind, tuple(targets), members, *arrays["shadow.scores"])
        state.step = _step(arrays, manifest["step"])
        if manifest["flight"] is not None:
            kind, targets = manifest["flight"]
            state.flight = Flight(kind, tuple(targets))
        for name in ("rows_seen", "jobs", "refits", "epoch"):
            setattr(state, name, manifest[name])
        return state


def _check(settings: EngineSettings, arrays: Arrays) -> None:
    X, d = arrays["window.X"], settings.width
    if X.size and X.shape[1] != d:
        raise SnapshotError(
            f"the snapshot has {X.shape[1]} columns, the configuration {d}",
            hint="restore the fields, choose another state.dir, or set state.on_mismatch: cold_start",
        )
    if len(arrays["clocks"]) != len(settings.members):
        raise SnapshotError(
            f"the snapshot has {len(arrays['clocks'])} members, the configuration {len(settings.members)}",
            hint="restore model.committee, or set state.on_mismatch: cold_start",
        )


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
    step = StepRows(learnt=learnt, rows=rows, started=_nan(started), late=late)
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
    return float("nan") if value is None else value
