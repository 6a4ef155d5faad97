"""The one observer that the daemon wires: a Report becomes metrics, status and log lines."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from streamgmm import __version__
from streamgmm.telemetry.log import log_contact, log_events

if TYPE_CHECKING:
    from streamgmm.records import Report
    from streamgmm.telemetry.board import Board
    from streamgmm.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Metrics, the board behind HTTP, and the log, told of every report."""

    metrics: Metrics
    board: Board

    def observe(self, report: Report) -> None:
        """Tell all three."""
        self.metrics.observe(report)
        before = self.board.contact
        self.board.observe(report)
        log_contact(before, report.contact)
        log_events(report.events)

    def warm(self, kernel_signatures: int) -> None:
        """Note that the kernels are compiled, and how many signatures there are."""
        self.metrics.set_kernel_signatures(kernel_signatures)
        self.board.warm()


def version_info() -> dict[str, str]:
    """Return what is running, without importing any of it."""
    return {
        "version": __version__,
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "numba": version("numba"),
    }
