"""Hostile payloads before an unreadable page, in a process that may die of them (tests/fuzz_payloads.py).

STREAMGMM_FUZZ=10000000 makes the long run of it: about twenty minutes.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CASES = int(os.environ.get("STREAMGMM_FUZZ", "20000"))
PER_CASE, STARTING = 0.004, 120.0  # seconds


@pytest.mark.timeout(STARTING + PER_CASE * CASES)
@pytest.mark.parametrize("seed", [1, 2])
def test_no_payload_makes_it_read_too_far_hang_or_say_something_else(seed):
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-X", "faulthandler", "-m", "fuzz_payloads", str(CASES // 2), str(seed)],
        cwd=TESTS.parent,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=STARTING + PER_CASE * CASES,
        check=False,
    )
    assert ended.returncode == 0, (ended.stdout[-3000:] + ended.stderr)[-5000:]
    assert int(ended.stdout.split("cases, ")[1].split()[0]) > CASES // 40, "hardly anything was read"
