"""Everything tests share."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS))

# A shell that starts the tests in the background has them ignore Ctrl-C, and the processes they start inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import repeats  # noqa: E402 - found by the path above
from shuffle import Shuffle  # noqa: E402
from skips import Skips  # noqa: E402

# No test asserts how long anything takes: the same example may take a millisecond, or a second on a busy machine.
hypothesis.settings.register_profile("streamgmm", deadline=None)
hypothesis.settings.load_profile("streamgmm")

SEED = int(os.environ.get("STREAMGMM_TEST_SEED", "20240607"))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Skips())
    config.pluginmanager.register(Shuffle())
    if times := int(os.environ.get(repeats.VARIABLE, "0")):
        config.pluginmanager.register(repeats.Repeats(times))


def pytest_report_header() -> str:
    return f"streamgmm seed: {SEED} (STREAMGMM_TEST_SEED)"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(SEED)
