"""What HTTP answers before there is anything to run: the process lives, and how far its kernels are compiled."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST

from streamgmm import __version__
from streamgmm.telemetry.board import FORMAT
from streamgmm.telemetry.health import Health
from streamgmm.telemetry.http import Response, verdict

if TYPE_CHECKING:
    from streamgmm.telemetry.http import Route

METRICS = """\
# TYPE streamgmm_ready gauge
streamgmm_ready 0.0
"""


class Starting:
    """The state of a start. One thread writes it, HTTP threads read it."""

    def __init__(self) -> None:
        self._reason = "starting"

    def compiling(self, module: str, done: int, modules: int) -> None:
        """Note which module of kernels is compiled or loaded now, and how many of how many are done."""
        self._reason = f"kernels are being compiled: {done} of {modules}, {module}"

    def routes(self) -> dict[str, Route]:
        """Return path → what answers a GET there: `/livez` is 200, `/readyz` is 503, `/metrics` says just that."""
        return {
            "/livez": lambda _: verdict(good=True, reasons=()),
            "/readyz": lambda _: verdict(good=False, reasons=(self._reason,)),
            "/metrics": lambda _: Response(HTTPStatus.OK, CONTENT_TYPE_LATEST, METRICS.encode()),
            "/status": lambda _: Response(HTTPStatus.OK, "application/json", msgspec.json.encode(self._status())),
        }

    def _status(self) -> dict[str, object]:
        health = Health(live=True, ready=False, reasons=(self._reason,))
        return {"format": FORMAT, "version": __version__, "health": asdict(health)}
