"""A folder of snapshots under names that are never used twice.

Arrays first, then the manifest, then CURRENT.json, each written beside its place, fsynced, renamed, and the folder
fsynced: at any moment the folder holds a complete newest snapshot. Two files under fixed names could not give that,
since the pair is never replaced at once; `tests/unit/snapshots/test_kill.py` kills a writer at random to see it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import re
import stat
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from streamgmm import private
from streamgmm.errors import RetryableError, SnapshotError, StopError
from streamgmm.snapshots.format import NewerFormatError, Snapshot, pack, read_manifest, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

_CURRENT = "CURRENT.json"
_LOCK = "lock"
_READING = "reading"  # commands that read hold a shared lock of it
_NAME = re.compile(r"(\d{8,})(-[\w.-]{1,64})?\.json", re.ASCII)
_PRIVATE_FILE, _PRIVATE_FOLDER = 0o600, 0o700
# A link may point to a file of anybody's.
_OPEN_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_HOUR, _DAY = 3600, 86_400
_LISTED_SECONDS, _MOST_LISTED = 900, 100  # a listing every minute must not fill the disk
_log = logging.getLogger(__name__)


class SnapshotStore:
    """Snapshots of one instance.

    Parameters
    ----------
    directory
        Made with mode 0700 where it is missing.
    keep
        Newest snapshots to keep; beside them, the last one of every hour of a day and of every day of a week.
    """

    def __init__(self, directory: Path | str, *, keep: int = 5, now: Callable[[], float] = time.time) -> None:
        self.directory = Path(directory)
        self._keep = max(1, keep)
        self._now = now
        self._descriptor: int | None = None

    def lock(self) -> ExitStack:
        """Become the folder's only owner, until the returned context manager is closed or the process ends.

        Raises
        ------
        StopError
            Another process owns it, or it cannot be made.
        """
        self._descriptor = self._acquire()
        self._remove_leftovers()
        held = ExitStack()
        held.callback(self._release)
        return held

    def _acquire(self) -> int:
        path = self.directory / _LOCK
        try:
            self._make_folder()
            self._check_folder()
            descriptor = os.open(path, _OPEN_LOCK, _PRIVATE_FILE)
        except OSError as error:
            linked = path.is_symlink()
            raise StopError(
                f"cannot use the state folder {self.directory}: {'its lock is a link' if linked else error.strerror}",
                hint=f"delete {path}" if linked else "make it writable for this user",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise StopError(
                f"the state folder {self.directory} is in use by process {owner}",
                hint="stop that process, or give this one its own state.dir",
            ) from None
        with suppress(OSError):  # a full disk: the lock holds
            os.close(os.open(self.directory / _READING, _OPEN_LOCK, _PRIVATE_FILE))
        with suppress(OSError):  # the same: only the name of its owner is lost
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return descriptor

    def _release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _hold(self) -> None:
        """Take the lock of a folder that was deleted and made anew meanwhile: another process may own it by now."""
        if self._descriptor is None:
            return
        try:
            if os.path.samestat(os.fstat(self._descriptor), os.lstat(self.directory / _LOCK)):
                return
        except FileNotFoundError:
            pass
        try:
            taken = self._acquire()
        except StopError as error:
            if isinstance(error.__cause__, OSError):  # the disk refuses, which is no reason to stop
                raise error.__cause__ from None
            raise
        os.close(self._descriptor)
        self._descriptor = taken

    def _check_folder(self) -> None:
        """Refuse a folder, or a link to one, of another user's; what others may write to is closed to them, or told."""
        found = self.directory.stat()
        if not {found.st_uid, self.directory.lstat().st_uid} <= {os.geteuid(), 0}:
            raise StopError(
                f"the state folder {self.directory} belongs to another user",
                hint=f"chown it to user {os.geteuid()}, or name a folder in it, which is made for this user alone",
            )
        if not found.st_mode & stat.S_IWOTH:
            return
        if found.st_mode & stat.S_ISVTX:  # /tmp and its like are everybody's on purpose
            raise StopError(
                f"the state folder {self.directory} is one for everybody",
                hint="name a folder in it, which is made for this user alone",
            )
        try:
            self.directory.chmod(stat.S_IMODE(found.st_mode) & ~stat.S_IWOTH)
        except PermissionError:
            # A volume of root's that a container was given: its other users are the container's own.
            _log.warning(
                "everybody can write to the state folder %s: name a folder in it as state.dir, which is made for this "
                "user alone (Kubernetes: or set fsGroup)", self.directory,
            )  # fmt: skip
        else:
            _log.warning("everybody could write to the state folder %s; now others cannot", self.directory)

    def save(self, snapshot: Snapshot, label: str = "") -> str:
        """Write a snapshot durably, make it current, and return its name (a number, and the label if there is one).

        Raises
        ------
        RetryableError
            The disk refused (full, read-only); the snapshots that were there still serve.
        SnapshotError
            It holds what cannot be stored.
        """
        try:
            self._hold()
            self._make_folder()
            name = self._next_name(label)
            data, manifest = pack(snapshot, name)
            for file, content in (
                (f"{name}.npz", data),
                (f"{name}.json", manifest),
                (_CURRENT, json.dumps({"name": name}).encode()),
            ):
                private.write(self.directory / file, content)
        except OSError as error:
            self._remove_leftovers()
            raise RetryableError(
                f"cannot write a snapshot to {self.directory}: {error.strerror or error}",
                hint="free space or repair the disk; the newest snapshot there still serves",
            ) from error
        with suppress(OSError):
            self._prune(name)
        return name

    def names(self) -> tuple[str, ...]:
        """Return the names of the snapshots, oldest first."""
        if not self.directory.is_dir():
            return ()
        matches = (_NAME.fullmatch(entry) for entry in os.listdir(self.directory))  # noqa: PTH208 - names, not paths
        return tuple(m.string.removesuffix(".json") for m in sorted(filter(None, matches), key=_sequence))

    def current(self) -> str | None:
        """Return the name that was saved last, or None where CURRENT.json is missing or damaged."""
        try:
            name = json.loads((self.directory / _CURRENT).read_bytes())["name"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return name if isinstance(name, str) and _NAME.fullmatch(f"{name}.json") else None

    def load(self, name: str) -> Snapshot:
        """Return one snapshot, verified.

        Raises
        ------
        SnapshotError
            Not there, damaged, or of a newer format.
        """
        document = self._document(name)
        return unpack(self._read(f"{name}.npz", name), document)

    def manifest(self, name: str) -> dict[str, Any]:
        """Return one snapshot's manifest, verified, without reading its arrays."""
        return dict(self._document(name)["manifest"])

    def verify(self, name: str) -> None:
        """Read a snapshot as `load` does, and raise what is wrong with it."""
        self.load(name)

    def newest(self) -> Snapshot | None:
        """Return the newest intact snapshot, or None where there is none; see `intact`."""
        return next(self.intact(), None)

    def intact(self) -> Iterator[Snapshot]:
        """Yield the intact snapshots, the newest one first; damaged ones are logged and skipped.

        Raises
        ------
        NewerFormatError
            One is whole, but of a newer format.
        """
        current = self.current()
        names = [*reversed(self.names())]
        for name in sorted(names, key=lambda n: n != current):
            try:
                snapshot = self.load(name)
            except NewerFormatError:
                raise
            except SnapshotError as error:
                _log.warning("skipped a snapshot: %s", error)
            else:
                yield snapshot

    def _document(self, name: str) -> dict[str, Any]:
        if not _NAME.fullmatch(f"{name}.json"):
            raise SnapshotError(f"{name!r} is not the name of a snapshot")
        return read_manifest(self._read(f"{name}.json", name), name)

    def _read(self, file: str, name: str) -> bytes:
        try:
            return (self.directory / file).read_bytes()
        except OSError as error:
            raise SnapshotError(f"snapshot {name} cannot be read: {file}: {error.strerror}") from error

    def _next_name(self, label: str) -> str:
        # Counts array files too: a name whose manifest never came to be is not used again either.
        numbers = [int(m[1]) for m in (re.match(r"(\d{8,})", entry) for entry in os.listdir(self.directory)) if m]  # noqa: PTH208 - names, not paths
        number = f"{max(numbers, default=0) + 1:08d}"
        name = f"{number}-{label}" if label else number
        if not _NAME.fullmatch(f"{name}.json"):
            raise SnapshotError(f"{label!r} cannot be part of a snapshot's name")
        return name

    def _make_folder(self) -> None:
        # One by one: parents=True would leave those above to the umask, and who may write there may exchange this one.
        for folder in (*reversed(self.directory.parents), self.directory):
            if not folder.exists():
                folder.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)

    def _prune(self, current: str) -> None:
        names = self.names()
        kept = {*names[-self._keep :], *self._by_age(names), current}
        with self._readers() as listed:
            kept |= self._listed([name for name in names if name not in kept], listed)
            for name in names:
                if name not in kept:
                    # The manifest first: a snapshot without arrays would look damaged.
                    (self.directory / f"{name}.json").unlink(missing_ok=True)
            for arrays in self.directory.glob("*.npz"):
                if arrays.stem not in kept:
                    arrays.unlink(missing_ok=True)

    def _listed(self, spare: Sequence[str], listed: float) -> set[str]:
        """Return those that a command reads, or has listed of late: to type the next command takes a while."""
        if listed != math.inf:
            old = self._now() - listed > _LISTED_SECONDS
            spare = [] if old else [n for n in spare if self._written(n) <= listed][-_MOST_LISTED:]
        return set(spare)

    @contextmanager
    def _readers(self) -> Iterator[float]:
        """Keep commands from beginning to read; yield when one did last: −infinity for never, infinity for now."""
        with ExitStack() as held:
            began = -math.inf
            with suppress(OSError):  # what is no file of ours keeps nothing
                descriptor = os.open(self.directory / _READING, _OPEN_LOCK, _PRIVATE_FILE)
                held.callback(os.close, descriptor)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    began = math.inf
                else:
                    found = os.fstat(descriptor)
                    began = found.st_mtime if found.st_size else began
            yield began

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep a running daemon from removing what is here, now and for the quarter of an hour after.

        Only the owner of a folder makes the file: one of another user's would be in its way.
        """
        with ExitStack() as held:
            with suppress(OSError):
                descriptor = os.open(self.directory / _READING, _OPEN_LOCK & ~os.O_CREAT)
                held.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                os.pwrite(descriptor, b"The time of this file is when a command last read snapshots here.\n", 0)
            yield

    def _by_age(self, names: Sequence[str]) -> set[str]:
        """Return the newest snapshot of every hour of the last day, and of every day of the last week."""
        newest: dict[tuple[int, int], str] = {}
        for name in names:  # oldest first: a newer one of the same hour takes its place
            written = self._written(name)
            for span, length in ((_DAY, _HOUR), (7 * _DAY, _DAY)):
                if self._now() - written < span:
                    newest[length, int(written // length)] = name
        return set(newest.values())

    def _written(self, name: str) -> float:
        return (self.directory / f"{name}.json").stat().st_mtime

    def _remove_leftovers(self) -> None:
        with suppress(OSError):
            for leftover in self.directory.glob(f"{private.TEMPORARY}*"):
                leftover.unlink(missing_ok=True)


def _sequence(match: re.Match[str]) -> int:
    return int(match[1])
