"""A detector out of a snapshot, with what it takes to score as the daemon would; nothing learns here."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.detector.committee import Detector
from streamgmm.detector.member import select
from streamgmm.engine.calibration import Calibration
from streamgmm.engine.comparable import PROBABILITIES, Comparable, mapped
from streamgmm.engine.settings import EngineSettings
from streamgmm.engine.state import State
from streamgmm.engine.verdicts import Output, comparable_for, score
from streamgmm.engine.window import Block, Window
from streamgmm.errors import SnapshotError, StopError
from streamgmm.features import Pipeline
from streamgmm.mixture.parts import over_parts
from streamgmm.records import as_features
from streamgmm.snapshots import SnapshotStore, understood

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from streamgmm.detector.member import Member
    from streamgmm.records import Json, ScoredBatch
    from streamgmm.snapshots import Snapshot

    Floats = NDArray[np.float64]


# After so many half-lives a level knows nothing of where it started: less than one part in 256.
SETTLED_HALF_LIVES = 8.0


@dataclass(frozen=True, slots=True)
class Unsettled(Detector):
    """A detector for the first rows of a stream, whose past is not known: members that look at the past have no say.

    `quantiles` (2, q) put what the others say on the scale of the whole committee.
    """

    quantiles: Floats

    def log_density(self, X: Floats) -> Floats:
        """Return the members' log-densities (n,), nats, as rare among the window's rows as they were."""
        return mapped(self.quantiles, Detector.log_density(self, X))

    @classmethod
    def of(cls, detector: Detector, window: Floats) -> Detector:
        """Return what stands for a detector; itself where no member that has a say looks at the past, or all do."""
        others = tuple(member for member in detector.voters if not member.sight.stems)
        if not others or len(others) == len(detector.voters) or not len(window):
            return detector
        few = Detector(others, detector.version)
        scores = (few.log_density(window), detector.log_density(window))
        return cls(others, detector.version, np.array([np.quantile(s, PROBABILITIES) for s in scores]))


@dataclass(frozen=True, slots=True)
class Model:
    """What a snapshot knows of a detector.

    Attributes
    ----------
    name
        Of the snapshot.
    fields, columns
        What goes in, and what is scored after the derived columns.
    features
        Declarations of the derived columns.
    window
        Columns of the rows (m, len(columns)) that it remembers, of which maps for missing cells are made.
    comparable
        The maps it has.
    categories
        Fields that hold categories.
    """

    name: str
    created: str
    detector: Detector
    calibration: Calibration
    fields: tuple[str, ...]
    columns: tuple[str, ...]
    features: Sequence[Mapping[str, Json]]
    window: Floats
    comparable: Comparable | None
    categories: tuple[str, ...] = ()

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot) -> Model:
        """Take the detector out of a snapshot.

        Raises
        ------
        SnapshotError
            It has none: the daemon that wrote it was still warming up.
        """
        arrays = select(snapshot.arrays, "engine.")
        detector = select(arrays, "detector.")
        if not detector:
            raise SnapshotError(
                f"snapshot {snapshot.name} contains no model: it was written before the first fit",
                hint="the first fit needs learning.min_records rows",
            )
        with understood(snapshot.name):
            manifest, recent = snapshot.manifest, arrays["calibration.recent"]
            comparable = select(arrays, "comparable.")
            return cls(
                name=snapshot.name,
                created=manifest["created"],
                detector=Detector.from_arrays(detector),
                calibration=Calibration.of(max(1, len(recent)), recent, float(manifest["engine"]["log_gain"])),
                fields=tuple(manifest["fields"]),
                columns=tuple(manifest["columns"]),
                features=manifest["features"],
                window=arrays["window.X"],
                comparable=Comparable.from_arrays(comparable) if comparable else None,
                categories=tuple(manifest.get("categories", ())),
            )

    def member(self, name: str | None = None) -> Member:
        """Return a member by its name, the first one unless told.

        Raises
        ------
        SnapshotError
            There is none of that name.
        """
        members = {member.name: member for member in self.detector.members}
        if name is None:
            return self.detector.members[0]
        if name not in members:
            raise SnapshotError(
                f"there is no member {name!r} in snapshot {self.name}", hint=f"it has {', '.join(members)}"
            )
        return members[name]

    def columns_of(self, member: Member) -> tuple[str, ...]:
        """Return the names of the columns that a member sees."""
        stems = member.sight.stems
        half = len(stems) // 2
        past = [f"{self.columns[j]} {'level' if i < half else 'activity'}" for i, j in enumerate(stems)]
        return tuple(past) or self.columns

    def derive(self, X: ArrayLike, t: Floats | None = None) -> Floats:
        """Return the columns (n, len(columns) + hidden ones) of rows X (n, len(fields)), as of a stream's first ones.

        `t` (n,) are their event times, seconds, if there are any.

        Raises
        ------
        DetectorError
            Wrong shape, or ±Inf.
        """
        return Pipeline.build(self.features, self.fields).apply(as_features(X, len(self.fields)), t)

    def score(
        self, X: ArrayLike, target_rate: float, t: Floats | None = None, *, seed: int = 0, n_threads: int = 1
    ) -> ScoredBatch:
        """Score rows (n, len(fields)) against the detector and the calibration as they were saved.

        NaN is a missing cell: the marginal density of the others is put on the scale of complete rows, by maps of the
        saved window (`engine.comparable`); `seed` is `learning.seed`. Results do not depend on the threads. Members
        that look at the past have no say about the first rows, of which it is not known.
        """
        columns, pipeline = self.derive(X, t), Pipeline.build(self.features, self.fields)
        settings = EngineSettings(names=self.columns, target_rate=target_rate, seed=seed, stems=pipeline.stems)
        state, out = State.fresh(settings), Output(len(columns))
        state.calibration, state.comparable = self.calibration, self.comparable
        state.window = Window(max(1, len(self.window))).add(Block.seal(self.window, np.empty(len(self.window))))
        absent = np.isnan(columns[:, : len(self.columns)])
        scorable = np.logical_not(absent.all(axis=1))
        incomplete = absent.any(axis=1) & scorable
        if incomplete.any():
            state.comparable = comparable_for(state, settings, self.detector, absent[incomplete])
        nothing = np.zeros(len(columns), dtype=bool)  # is learnt, not even by the level
        settled, beginning = _settled(pipeline), Unsettled.of(self.detector, self.window)

        def of_part(part: slice) -> None:
            cut = min(max(part.start, settled), part.stop)
            for detector, rows in ((beginning, slice(part.start, cut)), (self.detector, slice(cut, part.stop))):
                if rows.start < rows.stop:
                    score(replace(state), detector, settings, columns[rows], scorable[rows], nothing[rows], rows, out)

        over_parts(of_part, len(columns), n_threads)
        return out.batch(len(columns))


def _settled(pipeline: Pipeline) -> int:
    """Return how many rows the hidden columns take to know their past."""
    return 0 if pipeline.history is None else math.ceil(SETTLED_HALF_LIVES * pipeline.history["half_life"])


def open_model(directory: Path | str, name: str | None = None) -> Model:
    """Return the model of a folder of snapshots: the newest intact one, or one by its name.

    Raises
    ------
    SnapshotError
        There is none, or it is damaged.
    """
    store = existing(directory)
    with store.reading():
        snapshot = store.newest() if name is None else store.load(name)
    if snapshot is None:
        raise SnapshotError(f"every snapshot in {directory} is damaged", hint="run streamgmm model verify")
    return Model.from_snapshot(snapshot)


def existing(directory: Path | str) -> SnapshotStore:
    """Return the store of a folder that holds snapshots.

    Raises
    ------
    SnapshotError
        It holds none.
    """
    store = SnapshotStore(directory)
    if not store.names():
        raise SnapshotError(
            f"there is no snapshot in {Path(directory)}",
            hint="give a daemon's state.dir, or a folder that streamgmm fit has written",
        )
    return store


def new_store(directory: Path | str) -> SnapshotStore:
    """Return the store of a folder that holds no snapshot yet.

    Raises
    ------
    StopError
        It does: what a daemon has learnt is not replaced by accident.
    """
    store = SnapshotStore(directory)
    if store.names():
        raise StopError(
            f"there are snapshots in {Path(directory)} already", hint="give another folder, or move them away"
        )
    return store
