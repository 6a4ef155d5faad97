"""What a snapshot holds: detector and stream state, feature state, and the positions that they cover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamgmm.detector.member import select
from streamgmm.engine.state import State
from streamgmm.errors import SnapshotError, StopError, UnloadableError
from streamgmm.records import Position, TopicPartition
from streamgmm.snapshots import Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from streamgmm.engine.settings import EngineSettings
    from streamgmm.records import Json

    Arrays = Mapping[str, NDArray[Any]]


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

    def check(self, manifest: Mapping[str, Json]) -> None:
        """Raise SnapshotError, naming what differs, when a snapshot was made for another configuration."""
        found = {"categories": [], **manifest}  # snapshots of before had none that they told
        differing = [name for name, mine in self.to_manifest().items() if found.get(name) != mine]
        if differing:
            name = differing[0]
            raise SnapshotError(
                f"the snapshot was made with other {name}: {found.get(name)!r}, the configuration has "
                f"{self.to_manifest()[name]!r}",
                hint="restore the configuration, choose another state.dir, or set state.on_mismatch: cold_start",
            )


@dataclass(frozen=True, slots=True)
class Restored:
    """A snapshot turned back into values."""

    state: State
    features: Arrays
    covered: dict[TopicPartition, Position]
    pages: Arrays


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
        "created": created,
        "model_version": str(state.detector.version) if state.detector else None,
        "engine": engine,
        "covered": [[*tp, *position] for tp, position in sorted(covered.items())],
    }
    return Snapshot(named, manifest)


def unpack(snapshot: Snapshot, settings: EngineSettings, identity: Identity) -> Restored:
    """Turn a snapshot back into values.

    Raises
    ------
    SnapshotError
        When it was made for other fields, columns, members or another codec.
    UnloadableError
        When its values make no detector.
    """
    identity.check(snapshot.manifest)
    try:
        covered = {TopicPartition(t, p): Position(*position) for t, p, *position in snapshot.manifest["covered"]}
        state = State.from_arrays(settings, select(snapshot.arrays, "engine."), snapshot.manifest["engine"])
    except SnapshotError:
        raise
    except (StopError, KeyError, IndexError, TypeError, ValueError) as error:
        raise UnloadableError(
            f"snapshot {snapshot.name} cannot be loaded: {error}",
            hint="move it away to use an older one, or set state.on_mismatch: cold_start",
        ) from error
    return Restored(state, select(snapshot.arrays, "features."), covered, select(snapshot.arrays, "pages."))
