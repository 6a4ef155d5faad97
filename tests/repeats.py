"""`make repeats`: every test that waits for something, many times over, while the processor is busy with other work.

A test waits when it needs a broker or kills processes, as its markers say, or when its function, or something of its
file that it names, calls one of the ways to wait.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

VARIABLE = "STREAMGMM_REPEATS"
WAYS = re.compile(r"\b(?:wait_until|until|until_ready|wait|sleep|Thread|DaemonProcess)\(|thread\w*\.join\(")
MARKERS = ("integration", "chaos")
FIXTURE = "repeat_of_a_test_that_waits"


def waits(function: object) -> bool:
    """Whether a test waits, by its source and those of what its file defines."""
    return function.__name__ in waiting(inspect.getsourcefile(function))


@lru_cache
def waiting(file: str) -> set[str]:
    """Return the functions and classes of a file that wait."""
    text = Path(file).read_text()
    nodes = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    sources = {node.name: ast.get_source_segment(text, node) for node in nodes}
    found = {name for name, source in sources.items() if WAYS.search(source)}
    while more := {
        name
        for name, source in sources.items()
        if name not in found and any(re.search(rf"\b{other}\b", source) for other in found)
    }:
        found |= more
    return found


class Repeats:
    """Repeats the tests that wait, leaves out the others, and keeps every processor busy meanwhile."""

    def __init__(self, times: int) -> None:
        self._times = times
        self._busy: list[subprocess.Popen[bytes]] = []

    @pytest.fixture(name=FIXTURE)
    def _repeat(self, request: pytest.FixtureRequest) -> int:
        return request.param

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        marked = any(metafunc.definition.get_closest_marker(marker) for marker in MARKERS)
        if marked or waits(metafunc.function):
            metafunc.fixturenames.append(FIXTURE)
            metafunc.parametrize(FIXTURE, range(self._times), indirect=True)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if hasattr(item, "callspec") and FIXTURE in item.callspec.params]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
        items[:] = chosen

    def pytest_runtestloop(self) -> None:
        command = [sys.executable, "-c", "while True: pass"]
        self._busy = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]

    def pytest_unconfigure(self) -> None:
        for process in self._busy:
            process.kill()
            process.wait()
