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
    from pathlib import Path
    from streamgmm.demo.guard import Guard

    guard = Guard(Path(sys.argv[1]))
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], process_group=guard.group)
    print(guard.group, child.pid, flush=True)
    time.sleep(600)
""")


def alive(pid):
    """A zombie is not alive: it waits for its new parent to look at it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def parent(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "state").write_text("x")
    process = subprocess.Popen([sys.executable, "-c", PARENT, str(folder)], stdout=subprocess.PIPE, text=True)
    guard, child = map(int, process.stdout.readline().split())
    yield process, guard, child, folder
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_however_the_parent_dies_nothing_is_left(parent, number, until):
    process, guard, child, folder = parent
    assert alive(guard)
    assert alive(child)
    process.send_signal(number)
    process.wait(10)
    assert until(lambda: not alive(child) and not alive(guard), 10)
    assert not folder.exists()


def test_a_guard_that_is_sent_home_touches_nothing(tmp_path):
    with Guard(tmp_path) as guard:
        child = subprocess.Popen(SLEEPER, stdout=subprocess.PIPE, process_group=guard.group)
        child.stdout.readline()
        pid = guard.group
        assert os.getpgid(child.pid) == pid
    assert not alive(pid)
    assert child.poll() is None
    assert tmp_path.exists()
    child.kill()
    child.wait()
    child.stdout.close()
