"""The guard page itself: everything is readable, and nothing behind it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from guard_page import PAGE, guarded

TESTS = Path(__file__).parents[1]
TOUCH = """
import ctypes, sys
sys.path.insert(0, sys.argv[1])
from guard_page import guarded
data = guarded(bytes(range(100)))
ctypes.string_at(data.ctypes.data + int(sys.argv[2]), 1)
"""


@pytest.mark.parametrize("size", [0, 1, 100, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE])
def test_everything_given_can_be_read_and_written(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    values = guarded(data)
    assert values.tobytes() == data
    values[:] = 7
    assert (values == 7).all()
    assert (values.ctypes.data + size) % PAGE == 0


@pytest.mark.parametrize(("at", "survives"), [(0, True), (99, True), (100, False), (100 - 2 * PAGE, False)])
def test_one_byte_too_far_is_a_crash(at: int, survives: bool) -> None:
    ended = subprocess.run([sys.executable, "-c", TOUCH, str(TESTS), str(at)], check=False)
    assert ended.returncode == (0 if survives else -signal.SIGSEGV)
