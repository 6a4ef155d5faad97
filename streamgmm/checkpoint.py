"""What a snapshot holds: detector and stream state, feature state, and the positions that they cover."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from streamgmm.detector.committee import Detector
from streamgmm.detector.member import select
from streamgmm.engine import restoring
from streamgmm.engine.state import State
from streamgmm.errors import SnapshotError
from streamgmm.features import origins
from streamgmm.records import Position, TopicPartition
from streamgmm.snapshots import NewerFormatError, Snapshot, understood

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from streamgmm.engine.settings import EngineSettings
    from streamgmm.records import Json
    from streamgmm.snapshots import SnapshotStore

    Arrays = Mapping[str, NDArray[Any]]
    Floats = NDArray[np.float64]

T = TypeVar("T")
log = logging.getLogger(__name__)

# The format of what a snapshot holds. In 1 the settings of the members are not there, and derived columns have another
# memory; a snapshot of 1 can still be read.
CONTENTS = 2
REMEDY = "restore the configuration, choose another state.dir, or set state.on_mismatch: cold_start"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a snapshot must have in common with the configuration that restores it.

    Attributes
    ----------
    fields
        Input fields, in order.
    columns
        Derived columns, in order.
    codec, features
        The codec's type, and the derived columns' declarations.
    categories
        Fields that hold categories: their columns are codes of values, not numbers.
    """

    fields: Sequence[str]
    columns: Sequence[str]
    codec: str
    features: Sequence[Json]
    categories: Sequence[str] = ()

    def to_manifest(self) -> dict[str, Json]:
        """Return plain values."""
        return {
            "fields": list(self.fields),
            "columns": list(self.columns),
            "codec": self.codec,
            "features": list(self.features),
            "categories": list(self.categories),
        }

    def columns_of(self, manifest: Mapping[str, Json]) -> tuple[int | None, ...] | None:
        """Return, of each column, hidden ones included, which saved one it is; None where all are as they were.

        Raises
        ------
        MismatchError
            Another codec, or no column stayed.
        """
        found = {"categories": [], **manifest}  # the first snapshots had none that they told
        mine = self.to_manifest()
        if found["codec"] != mine["codec"]:
            raise MismatchError(f"the snapshot was made with another codec: {found['codec']}", hint=REMEDY)
        if all(found[name] == mine[name] for name in mine):
            return None
        before = origins(*_made_of(found))
        saved = {json.dumps(origin, sort_keys=True): j for j, origin in enumerate(before.values())}
        now = origins(*_made_of(mine))
        columns = tuple(saved.get(json.dumps(origin, sort_keys=True)) for origin in now.values())
        if all(j is None for j in columns[: len(self.columns)]):
            raise MismatchError(
                f"the snapshot was made with other columns ({', '.join(found['columns'])}); none is configured",
                hint=REMEDY,
            )
        return columns


class MismatchError(SnapshotError):
    """A snapshot that is whole, but of another stream."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A snapshot turned back into values; `changes` says what the configuration changed in it.

    `features` are absent where columns changed: then derived columns begin their past anew.
    """

    state: State
    features: Arrays | None
    covered: dict[TopicPartition, Position]
    pages: Arrays
    changes: tuple[str, ...] = ()


def pack(
    state: State,
    features: Arrays,
    covered: Mapping[TopicPartition, Position],
    identity: Identity,
    created: str,
    pages: Arrays | None = None,
) -> Snapshot:
    """Make a snapshot of everything that survives a restart."""
    arrays, engine = state.to_arrays()
    named = {f"engine.{k}": v for k, v in arrays.items()} | {f"features.{k}": v for k, v in features.items()}
    named |= {f"pages.{k}": v for k, v in (pages or {}).items()}
    manifest = identity.to_manifest() | {
        "contents": CONTENTS,
        "created": created,
        "model_version": str(state.detector.version) if state.detector else None,
        "engine": engine,
        "covered": [[*tp, *position] for tp, position in sorted(covered.items())],
    }
    return Snapshot(named, manifest)


@dataclass(frozen=True, slots=True)
class Saved:
    """What a snapshot holds, in the columns of the configuration.

    Attributes
    ----------
    before
        The window's rows as they were saved, where columns changed.
    shown_stay
        Whether only hidden columns did.
    changes
        A sentence for everything that a start would fit anew, drop, or know nothing of.
    """

    state: State
    before: Floats | None
    shown_stay: bool
    changes: tuple[str, ...]


def read(snapshot: Snapshot, settings: EngineSettings, identity: Identity) -> Saved:
    """Read a snapshot's state, and say what a start under this configuration changes in it; nothing is fitted.

    Raises
    ------
    MismatchError
        It is of another stream: other columns throughout, or another codec.
    NewerFormatError
        Its contents are of a newer streamgmm.
    SnapshotError
        It holds what cannot be read.
    """
    manifest, before = snapshot.manifest, None
    with understood(snapshot.name):
        if manifest.get("contents", 1) > CONTENTS:
            raise NewerFormatError(
                f"the contents of snapshot {snapshot.name} have format {manifest['contents']}, this streamgmm reads "
                f"{CONTENTS}",
                hint="run the newer streamgmm that wrote it, or choose another state.dir",
            )
        arrays = select(snapshot.arrays, "engine.")
        detector = Detector.from_arrays(select(arrays, "detector.")) if "detector.version" in arrays else None
        columns = identity.columns_of(manifest)
        if columns is not None:
            arrays, before = restoring.remapped(arrays, columns)
        state = State.from_arrays(settings, arrays, manifest["engine"])
        if state.members is None:
            state.members = restoring.inferred(detector, settings.members)
        if len(state.clocks) != len(state.members):
            raise SnapshotError(f"it has {len(state.clocks)} clocks for {len(state.members)} members")
        _check(state, settings.width if columns is None else len(origins(*_made_of(manifest))))
        changes = (*_moves(identity, manifest, columns), *restoring.differences(state.members, settings.members))
    return Saved(state, before, _shown_stay(identity, manifest, columns), changes)


def unpack(snapshot: Snapshot, settings: EngineSettings, identity: Identity) -> Restored:
    """Turn a snapshot back into values, under this configuration: what differs is fitted to the window anew.

    Raises
    ------
    SnapshotError
        As `read` does.
    """
    saved = read(snapshot, settings, identity)
    learnt = saved.state.detector is not None
    with understood(snapshot.name):
        covered = {TopicPartition(t, p): Position(*position) for t, p, *position in snapshot.manifest["covered"]}
        state = restoring.adapted(saved.state, settings, saved.before, shown_stay=saved.shown_stay)
    # What derived columns remember is by position: it goes on only where all columns are as they were.
    older = snapshot.manifest.get("contents", 1) < CONTENTS
    features = None if older or saved.before is not None else select(snapshot.arrays, "features.")
    changes = saved.changes
    if older and select(snapshot.arrays, "features."):
        changes = (*changes, "what derived columns remember was saved by an older streamgmm: they begin anew")
    if learnt and state.detector is None:
        changes = (*changes, "the window could not be fitted: rows pass unscored until the first fit succeeds")
    return Restored(state, features, covered, select(snapshot.arrays, "pages."), changes)


def _made_of(manifest: Mapping[str, Json]) -> tuple[Sequence[Json], Sequence[str], Sequence[str]]:
    return manifest["features"], manifest["fields"], manifest.get("categories", ())


def _check(state: State, width: int) -> None:
    """Raise SnapshotError unless every member can see rows of so many columns."""
    members = [*(state.detector.members if state.detector else ()), *(state.shadow.members if state.shadow else ())]
    blind = [member.name for member in members if not member.sees(width)]
    if blind:
        raise SnapshotError(f"its members {', '.join(blind)} do not match its {width} columns")
    maps = state.comparable
    if maps is not None and not maps.holds(width):
        raise SnapshotError("its maps for missing cells do not match its columns")


def newest(store: SnapshotStore, understand: Callable[[Snapshot], T]) -> T | None:
    """Return what the newest snapshot gives that can be understood; None where there is no intact one.

    Raises
    ------
    SnapshotError
        The newest is of another stream or a newer streamgmm, or none of those that are intact can be understood.
    """
    failed: SnapshotError | None = None
    for snapshot in store.intact():
        try:
            return understand(snapshot)
        except (MismatchError, NewerFormatError):
            raise
        except SnapshotError as error:
            log.warning("skipped a snapshot: %s", error)
            failed = failed or error
    if failed is not None:
        raise failed
    return None


def _shown_stay(identity: Identity, manifest: Mapping[str, Json], columns: Sequence[int | None] | None) -> bool:
    names = list(identity.columns)
    return columns is None or (names == manifest["columns"] and list(columns[: len(names)]) == list(range(len(names))))


def _moves(identity: Identity, manifest: Mapping[str, Json], columns: Sequence[int | None] | None) -> Iterator[str]:
    if columns is None:
        return
    if _shown_stay(identity, manifest, columns):
        yield "what the temporal member sees of the past changed: it is missing in the window until new rows bring it"
        return
    shown = columns[: len(identity.columns)]
    new = [name for name, j in zip(identity.columns, shown, strict=True) if j is None]
    gone = [name for j, name in enumerate(manifest["columns"]) if j not in columns]
    kept = len(shown) - len(new)
    yield f"{kept} of {len(manifest['columns'])} columns stayed: the window keeps them, and all members are fitted anew"
    if new:
        yield f"columns that the window does not know: {', '.join(new)}; they are missing in its rows"
    if gone:
        yield f"columns that are dropped: {', '.join(gone)}"
