"""Files that are their owner's alone, whatever the umask; nothing is ever written through a link."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPORARY = ".tmp-"
_MODE = 0o600


def create(path: Path) -> int:
    """Return the descriptor of a new, empty file; what stood there, a link or a leftover, is removed.

    Raises
    ------
    OSError
        The place cannot be written.
    """
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    os.fchmod(descriptor, _MODE)
    return descriptor


def append(path: Path) -> int:
    """Return the descriptor of a file that is read and appended to; one that was there keeps its mode.

    Raises
    ------
    OSError
        It cannot be opened, or is a link, a pipe or a device.
    """
    fresh = not os.path.lexists(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if not fresh:
        check(path)
    descriptor = os.open(path, flags, _MODE)
    try:
        check(descriptor)
        if fresh:
            os.fchmod(descriptor, _MODE)
            sync_folder(path.parent)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def check(path: Path | int) -> None:
    """Raise OSError where a path (or descriptor) is there and no regular file."""
    found = os.fstat(path) if isinstance(path, int) else path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "it is a link, and links are not followed")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")


def write(path: Path, data: bytes) -> None:
    """Put a file in place: whole and durable, or not at all.

    Raises
    ------
    OSError
        The place cannot be written.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    with os.fdopen(create(temporary), "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield an empty file beside `path`, which takes its place at the end; nothing changes where the body fails.

    Raises
    ------
    OSError
        The place cannot be written, or what is there is no regular file.
    """
    if os.path.lexists(path):
        check(path)
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    os.close(create(temporary))
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
