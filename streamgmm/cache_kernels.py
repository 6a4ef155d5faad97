# mypy: disable-error-code="misc, no-untyped-call"
# ruff: noqa: ANN401, SLF001
# numba's cache has no types and no public names.
"""`njit` for kernels, with a cache that never breaks a start: what it cannot read or write, it compiles anew.

numba's cache is made of pickles. Whoever may write them runs code as this user, so they are the owner's alone whatever
the umask, and what others could have written is not read.
"""

from __future__ import annotations

import logging
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)
REMEDY = "give NUMBA_CACHE_DIR a folder that this user alone can write to"
_said: set[str] = set()


def njit(*signatures: Any, cache: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile as numba's `njit` does: for these signatures only, or for any where there are none."""

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        if cache:
            keep(dispatcher)
        for signature in signatures:
            dispatcher.compile(signature)
        if signatures:
            dispatcher.disable_compile()
        return dispatcher

    return decorate


def keep(dispatcher: Any) -> None:
    """Let a function's machine code be kept between processes, where there is a safe place for it."""
    try:
        with _owner_only():
            dispatcher.enable_caching()
        cache = dispatcher._cache
        folder = Path(cache.cache_path)
        _check_folder(folder)
    except (RuntimeError, OSError) as error:
        dispatcher._cache = numba.core.caching.NullCache()
        _say("compiled kernels are not kept, and every start compiles them for a minute or two: %s (%s)", error)
        return
    stem = cache._impl.filename_base
    load, save = cache.load_overload, cache.save_overload

    def load_overload(signature: Any, target: Any) -> Any:
        try:
            for path in folder.glob(f"{stem}.*"):
                _check(path.lstat(), path)
            return load(signature, target)
        except Exception as error:  # noqa: BLE001 - whatever a damaged file makes of a pickle: compile instead
            _say("a kept kernel cannot be used and is compiled anew: %s (%s)", error)
            for path in folder.glob(f"{stem}.*"):
                with suppress(OSError):
                    path.unlink()
            return None

    def save_overload(signature: Any, data: Any) -> None:
        try:
            with _owner_only():
                save(signature, data)
        except Exception as error:  # noqa: BLE001 - full, read-only, damaged: this process has what it compiled
            _say("a compiled kernel cannot be kept: %s (%s)", error)

    cache.load_overload, cache.save_overload = load_overload, save_overload


def widen_stamp(dispatcher: Any, stamp: str) -> None:
    """Let kept code count as fresh only with this stamp as well as with the function's own file.

    Where numba names it otherwise nothing is kept: slower to start, and never yesterday's helpers.
    """
    try:
        file = dispatcher._cache._cache_file
        file._source_stamp = (file._source_stamp, stamp)
    except AttributeError:
        dispatcher._cache = numba.core.caching.NullCache()


def _check_folder(folder: Path) -> None:
    found = folder.stat()
    if found.st_uid == os.geteuid() and found.st_mode & stat.S_IWOTH:
        folder.chmod(stat.S_IMODE(found.st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))
        found = folder.stat()
    _check(found, folder)


def _check(found: os.stat_result, path: Path) -> None:
    if found.st_uid not in {os.geteuid(), 0}:
        raise PermissionError(f"{path} belongs to another user")
    if found.st_mode & stat.S_IWOTH or stat.S_ISLNK(found.st_mode):
        raise PermissionError(f"{path} can be written by others")


@contextmanager
def _owner_only() -> Iterator[None]:
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _say(sentence: str, error: BaseException) -> None:
    if sentence not in _said:
        _said.add(sentence)
        log.warning(sentence, error or type(error).__name__, REMEDY)
