"""The committed offset of a file source, in a small file of its own."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from streamgmm.errors import StopError

if TYPE_CHECKING:
    from pathlib import Path


def read_offset(path: Path, name: str) -> tuple[int, str] | None:
    """Return the offset committed for a file and the file's identity (empty where it was not stored), or None."""
    try:
        stored = json.loads(path.read_bytes())
        offset = stored["offsets"].get(name)
        identity = str(stored.get("identity", ""))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StopError(f"cannot read the offsets file {path}: {error}", hint="repair or delete it") from error
    if offset is not None and (not isinstance(offset, int) or offset < 0):
        raise StopError(f"the offsets file {path} holds {offset!r}", hint="repair or delete it")
    return None if offset is None else (offset, identity)


def write_offset(path: Path, name: str, offset: int, identity: str) -> None:
    """Store the offset committed for a file: whole and durable, or not at all."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("w") as out:
            json.dump({"format": 1, "offsets": {name: offset}, "identity": identity}, out)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StopError(
            f"cannot write the offsets file {path}: {error.strerror}", hint="put it into a writable folder"
        ) from error
