"""A snapshot as bytes: arrays as npz (never pickle), and beside it a manifest that vouches for both.

The manifest file is JSON: `format`, `name`, `sha256` and `shapes` of the arrays, the caller's `manifest`, and
`checksum`, the SHA-256 of all the rest in canonical form. Later formats keep `format` and `checksum`, so that a newer
format can be told from a damaged file.
"""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from streamgmm.errors import SnapshotError, UnloadableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that survives a restart.

    Attributes
    ----------
    arrays
        By name; no object arrays.
    manifest
        Plain JSON values; numpy scalars are written as numbers, NaN as the token that Python's own parser reads.
    name
        What the store called it; empty until it has been saved.
    """

    arrays: Mapping[str, NDArray[Any]]
    manifest: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""


def pack(snapshot: Snapshot, name: str) -> tuple[bytes, bytes]:
    """Return the arrays' file and the manifest's file.

    Raises
    ------
    SnapshotError
        For values that have no place in a snapshot: object arrays, or what JSON cannot say.
    """
    buffer = io.BytesIO()
    try:
        # A zip directory as such: numpy's own savez would take an array called "file" for an argument of its own.
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for key, array in snapshot.arrays.items():
                with archive.open(zipfile.ZipInfo(f"{key}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
        data = buffer.getvalue()
        document = {
            "format": FORMAT,
            "name": name,
            "sha256": sha256(data).hexdigest(),
            "shapes": {key: [str(a.dtype), *a.shape] for key, a in snapshot.arrays.items()},
            # Through JSON and back: the checksum is of what a reader will see (keys as text, tuples as lists).
            "manifest": json.loads(json.dumps(snapshot.manifest, default=_number)),
        }
        document["checksum"] = _checksum(document)
        text = json.dumps(document, indent=1, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise SnapshotError(f"this cannot be put into a snapshot: {error}") from error
    return data, text.encode()


def read_manifest(raw: bytes, name: str) -> dict[str, Any]:
    """Return the manifest file's document, verified.

    Raises
    ------
    SnapshotError
        Damaged.
    NewerFormatError
        Whole, but written by a newer streamgmm.
    """
    try:
        document = json.loads(raw)
        checksum = document.pop("checksum")
        intact = checksum == _checksum(document) and document["name"] == name
        version = document["format"]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise SnapshotError(f"the manifest of snapshot {name} cannot be read: {error!r:.200}") from None
    if not intact:
        raise SnapshotError(f"the manifest of snapshot {name} is damaged: its checksum does not match")
    if version != FORMAT:
        raise NewerFormatError(
            f"snapshot {name} has format {version}, this streamgmm reads format {FORMAT}",
            hint="run the newer streamgmm that wrote it, or choose another state.dir",
        )
    return dict(document)


def unpack(data: bytes, document: Mapping[str, Any]) -> Snapshot:
    """Return the snapshot that a verified manifest vouches for.

    Raises
    ------
    SnapshotError
        The arrays are not the ones that were written.
    """
    name = document["name"]
    if sha256(data).hexdigest() != document["sha256"]:
        raise SnapshotError(f"the arrays of snapshot {name} are damaged: sha256 does not match")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise SnapshotError(f"the arrays of snapshot {name} cannot be read: {error}") from error
    return Snapshot(arrays, document["manifest"], name)


@contextmanager
def understood(name: str) -> Iterator[None]:
    """Turn whatever goes wrong while a snapshot's contents are read into a SnapshotError: they may be anybody's.

    A checksum says that the bytes are those that were written, not that they are what is expected.
    """
    try:
        yield
    except SnapshotError:
        raise
    except Exception as error:
        raise UnloadableError(
            f"snapshot {name or '(unnamed)'} cannot be loaded: {type(error).__name__}: {error}",
            hint="move it away to use an older one, or set state.on_mismatch: cold_start",
        ) from error


class NewerFormatError(SnapshotError):
    """A snapshot that is whole but not ours to read: going on without it would forget what a newer version learnt."""


def _checksum(document: Mapping[str, Any]) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()


def _number(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not a JSON value")
