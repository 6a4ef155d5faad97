import threading
import time
import warnings

import numpy as np
import pytest

with warnings.catch_warnings():
    # kafka-python reads its schemas through a deprecated door of importlib, once, at import.
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka  # noqa: F401 - imported for its warning

from streamgmm.demo.stream import LabelledEvent, LabelledStream


@pytest.fixture
def small():
    """Twenty rows of two fields: four to learn from, events at 6–7 and 12–15."""
    events = (LabelledEvent(6, 8, ("a",)), LabelledEvent(12, 16, ("b",)))
    normal = np.arange(20) >= 4
    for event in events:
        normal[event.start : event.end] = False
    X = np.arange(40, dtype=np.float32).reshape(20, 2) / 1000
    return LabelledStream(X, ("a", "b"), 4, events, normal)


@pytest.fixture
def until():
    """Wait for a condition that another process brings about; the only clock is the deadline."""

    def wait(reached, seconds):
        pause, deadline = threading.Event(), time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline:
                return False
            pause.wait(0.02)
        return True

    return wait
