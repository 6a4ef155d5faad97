"""Tests run in another order each time: files among each other, and tests inside their file.

The tests of a file stay together, because they may share a broker or a fitted model.
"""

from __future__ import annotations

import os
import random
from itertools import groupby
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

VARIABLE = "STREAMGMM_TEST_ORDER"


def shuffled(items: Iterable[pytest.Item], seed: int) -> list[pytest.Item]:
    """Return the items in the order of a seed."""
    draw = random.Random(seed)
    files = [list(group) for _, group in groupby(items, key=lambda item: item.path)]
    draw.shuffle(files)
    for file in files:
        draw.shuffle(file)
    return [item for file in files for item in file]


class Shuffle:
    """Shuffles what was collected, and says how to have the same order again."""

    def __init__(self) -> None:
        said = os.environ.get(VARIABLE, "")
        self._seed = None if said == "none" else int(said) if said else random.SystemRandom().randrange(1_000_000)

    def pytest_report_header(self) -> str:
        if self._seed is None:
            return f"order of tests: as written ({VARIABLE}=none)"
        return f"order of tests: {self._seed} ({VARIABLE}={self._seed} repeats it, {VARIABLE}=none keeps the order)"

    # Before pytest's own, which brings together the tests that share a parameter of a long-lived fixture.
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._seed is not None:
            items[:] = shuffled(items, self._seed)
