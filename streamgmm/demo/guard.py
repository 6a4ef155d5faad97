"""A guard process: when its standard input ends, it stops its process group and removes its folder.

The demo starts it first, in a group of its own, and everything else in the same group. However the demo ends (in peace,
by one Ctrl-C or by ten, by kill -9, by a closed terminal), the pipe ends too, and nothing is left behind. Handlers and
context managers cannot promise that: a second Ctrl-C interrupts them. The guard makes the folder itself, for the same
reason. It is started by its path and imports nothing of ours: it must be there in milliseconds.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

GRACE_SECONDS = 3.0
PAUSE_SECONDS = 0.05
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PROCESSES = Path("/proc")


class Guard:
    """Context manager around a guard process.

    Attributes
    ----------
    group
        The process group to start others in.
    folder
        A temporary folder.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", __file__]
        self._process = subprocess.Popen(  # noqa: S603 - this very file
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
        )
        self.group = self._process.pid
        assert self._process.stdout is not None  # noqa: S101 - for mypy: it is a pipe
        self.folder = Path(self._process.stdout.readline().rstrip("\n"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let the guard do its work and wait for it."""
        self._process.communicate()


def watch() -> None:
    """Wait until the other end of standard input is gone, then leave nothing behind."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    folder = tempfile.mkdtemp(prefix="streamgmm-demo-")
    sys.stdout.write(f"{os.path.realpath(folder)}\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    stop_group()
    shutil.rmtree(folder, ignore_errors=True)


def stop_group() -> None:
    """Ask every other process of the group to stop, wait a little, and kill what is left."""
    if others():
        os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while others() and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
    for pid in others():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def others() -> list[int]:
    """Return the living processes of this process group, without this one, from Linux's /proc."""
    mine, group = os.getpid(), os.getpgrp()
    pids = (int(entry.name) for entry in PROCESSES.iterdir() if entry.name.isdigit())
    return [pid for pid in pids if pid != mine and living_in(pid, group)]


def living_in(pid: int, group: int) -> bool:
    """Return whether a process is of a group and not a zombie (proc(5): pid, (name), state, parent, group …)."""
    try:
        state, _, its_group = (PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()[:3]
    except OSError:
        return False
    return int(its_group) == group and state not in "ZX"


if __name__ == "__main__":
    watch()
