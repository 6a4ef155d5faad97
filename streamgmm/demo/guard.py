"""A guard process: when its standard input ends without a word, it stops its process group and removes a folder.

The demo starts it first, in a group of its own, and everything else in the same group. However the demo ends (a second
Ctrl-C during the clean-up, kill -9, a closed terminal), the pipe ends too, and nothing is left running. Handlers and
`atexit` cannot promise that. It is started by its path and imports nothing of ours: it must be there in milliseconds.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

ALL_DONE = b"done"
GRACE_SECONDS = 2.0
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Guard:
    """Context manager around a guard process; `group` is the process group to start others in.

    Parameters
    ----------
    folder
        Removed when we vanish; None to leave everything as it is.
    """

    def __init__(self, folder: Path | None = None) -> None:
        command = [sys.executable, "-I", "-S", __file__, *([str(folder)] if folder else [])]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0)  # noqa: S603 - this very file

    @property
    def group(self) -> int:
        """Return the process group that dies with us."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Send the guard home: everything was cleaned up in the ordinary way."""
        self._process.communicate(ALL_DONE)


def watch(folder: str | None) -> None:
    """Wait for the other end of standard input; act if it went away without saying that all is done."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read() == ALL_DONE:
        return
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    watch(sys.argv[1] if len(sys.argv) > 1 else None)
