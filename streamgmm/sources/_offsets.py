"""The committed offset of a file source, in a small file of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from streamgmm import private
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
    stored = {"format": 1, "offsets": {name: offset}, "identity": identity}
    try:
        private.write(path, json.dumps(stored).encode())
    except OSError as error:
        raise StopError(
            f"cannot write the offsets file {path}: {error.strerror}", hint="put it into a writable folder"
        ) from error
