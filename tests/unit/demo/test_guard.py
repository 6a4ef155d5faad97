import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from streamgmm.demo.guard import Guard

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]

# A demo in small: a guard, and a child in its group; then it waits to be killed.
PARENT = textwrap.dedent("""
    import subprocess, sys, time
    from streamgmm.demo.guard import Guard

    STUBBORN = "from signal import *; signal(SIGTERM, SIG_IGN); print('up', flush=True); pause()"
    guard = Guard()
    (guard.folder / "state").write_text("x")
    child = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, process_group=guard.group)
    child.stdout.readline()
    print(guard.group, child.pid, guard.folder, flush=True)
    time.sleep(600)
""")


def alive(pid):
    """A zombie is not alive: it waits for its new parent to look at it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def parent():
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    guard, child, folder = process.stdout.readline().split()
    yield process, int(guard), int(child), Path(folder)
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_however_the_parent_dies_nothing_is_left(parent, number, until):
    process, guard, child, folder = parent
    assert alive(guard)
    assert alive(child)
    process.send_signal(number)
    process.wait(120)
    assert until(lambda: not alive(child) and not alive(guard), 120)
    assert not folder.exists()


def test_in_peace_the_folder_goes_and_others_live():
    outsider = subprocess.Popen(SLEEPER, stdout=subprocess.PIPE)
    outsider.stdout.readline()
    with Guard() as guard:
        child = subprocess.Popen(SLEEPER, stdout=subprocess.PIPE, process_group=guard.group)
        child.stdout.readline()
        (guard.folder / "state").write_text("x")
        assert os.getpgid(child.pid) == guard.group
    assert not alive(guard.group)
    assert not guard.folder.exists()
    assert child.wait() == -signal.SIGTERM
    assert outsider.poll() is None
    outsider.kill()
    outsider.wait()
    for process in (child, outsider):
        process.stdout.close()


def test_a_guard_without_a_group_to_stop_removes_its_folder():
    with Guard() as guard:
        assert guard.folder.exists()
    assert not guard.folder.exists()
