"""Skips are counted by reason. In CI a skip that is not declared here fails the run.

A test that is skipped proves nothing, and a run in which everything is skipped is green.
"""

from __future__ import annotations

import os
import re
from collections import Counter

import pytest

# Where a test stands → the reason that it may give.
DECLARED = (
    ("tests/unit/mixture/test_sklearn_suite.py::test_skipped", r".*"),  # each has its reason in the file's table
    ("tests/chaos/test_chaos.py", r"three brokers: by make chaos"),  # another step of .ci/run
    # scikit-learn's own checks of an estimator, which skip what is not installed
    ("tests/unit/", r"SCIPY_ARRAY_API is not set: not checking array_api input"),
    ("tests/unit/", r"pandas is not installed: not testing .*"),
    ("tests/unit/mixture/test_start_up.py", r"needs AVX2, whose path it is"),
)


def declared(nodeid: str, reason: str) -> bool:
    return any(nodeid.startswith(place) and re.fullmatch(pattern, reason) for place, pattern in DECLARED)


class Skips:
    """Counts skips as they are reported, and fails a run in CI that has one too many."""

    def __init__(self) -> None:
        self._declared: Counter[str] = Counter()
        self._others: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            # Path, line and reason.
            reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            reason = reason.removeprefix("Skipped: ")
            (self._declared if declared(report.nodeid, reason) else self._others)[reason] += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        green = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        if os.environ.get("CI") and self._others and green:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not os.environ.get("CI"):
            return
        counts = [(self._declared, "declared"), (self._others, "NOT DECLARED in tests/skips.py: this fails the run")]
        terminalreporter.section(f"{sum(c.total() for c, _ in counts)} skips by reason")
        for counter, what in counts:
            for reason, n in counter.most_common():
                terminalreporter.line(f"{n} × {reason} ({what})")
