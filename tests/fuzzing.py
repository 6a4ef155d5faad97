"""A fuzzer in a process of its own, which may die of what it reads; STREAMGMM_FUZZ says how many cases make a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
CASES = int(os.environ.get("STREAMGMM_FUZZ", "20000"))
STARTING = 120.0  # seconds


def seconds(per_case: float) -> float:
    """Return how long a run may take."""
    return STARTING + per_case * CASES


def run(module: str, seed: int, per_case: float) -> tuple[int, str, str]:
    """Run half of the cases; return the exit code, and what was printed and complained."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-X", "faulthandler", "-m", module, str(CASES // 2), str(seed)],
        cwd=TESTS.parent,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=seconds(per_case),
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr
