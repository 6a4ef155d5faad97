"""What others may know of the daemon: metrics, health, status, log. It is handed Reports and touches nothing else."""

from __future__ import annotations

from streamgmm.telemetry.board import Board
from streamgmm.telemetry.build import build
from streamgmm.telemetry.http import Server, routes
from streamgmm.telemetry.metrics import Metrics
from streamgmm.telemetry.observer import Telemetry, version_info

__all__ = ["Board", "Metrics", "Server", "Telemetry", "build", "routes", "version_info"]
