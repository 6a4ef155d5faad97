"""The real daemon, in a process of its own: the same command a user types, with the same kind of file."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Self

from streamgmm.demo.scrape import Metrics
from streamgmm.errors import StopError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamgmm.demo.names import Names

CONFIG = """\
source:
  bootstrap_servers: {servers}
  topic: {topic}
  group_id: {group}
  auto_offset_reset: earliest
codec:
  type: json
  fields: {fields}
sinks:
  - type: kafka
    topic: {anomalies}
dead_letters:
  topic: {dead_letters}
detection:
  target_rate: {target_rate}
state:
  dir: {state}
http:
  listen: "127.0.0.1:0"
"""
TARGET_RATE = 0.007
RUN = (sys.executable, "-m", "streamgmm", "run")
LISTENING = re.compile(r"http listening on http://([0-9.]+):([0-9]+)")
HTTP_SECONDS = 2
# Longer than the budget that the daemon gives itself (limits.shutdown, 25 s).
STOP_SECONDS = 30
LOG_LINES = 25
STOPPED_IN_ORDER = (0, 128 + 15)


def config_text(servers: str, names: Names, fields: Sequence[str], state: Path) -> str:
    """Return the daemon's YAML: everything about detection but the target rate is the package's default."""
    values = {
        "servers": servers,
        "topic": names.input,
        "group": names.group,
        "fields": list(fields),
        "anomalies": names.anomalies,
        "dead_letters": names.dead_letters,
        "target_rate": TARGET_RATE,
        "state": str(state),
    }
    return CONFIG.format(**{name: json.dumps(value) for name, value in values.items()})


class Daemon:
    """Context manager: `streamgmm run` on a config file, stopped at the end.

    Parameters
    ----------
    config
        The YAML file.
    log
        Where the daemon's output goes.
    group
        Process group to start it in, so that a Ctrl-C in our terminal reaches us alone and we stop it in order.
    command
        What to run.
    """

    def __init__(self, config: Path, log: Path, group: int, command: Sequence[str] = RUN) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command, with a path of ours
                [*command, "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=group,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, gently first."""
        self.stop()

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise with the end of its log if it has died."""
        code = self._process.poll()
        if code is not None:
            raise StopError(f"the daemon ended with exit code {code}; its log ends:\n{self.tail()}")

    def tail(self) -> str:
        """Return the last lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    def log_bytes(self) -> int:
        """Return how long its log is: it grows while the daemon still compiles."""
        return self._log.stat().st_size

    def address(self) -> tuple[str, int] | None:
        """Return where its HTTP server listens; None until the log says so."""
        match = LISTENING.search(self._log.read_text(errors="replace"))
        return (match[1], int(match[2])) if match else None

    def metrics(self) -> Metrics:
        """Ask for its metrics; empty ones while it does not answer."""
        return Metrics(self._get("/metrics"))

    def version(self) -> str:
        """Ask for the version of the model that serves; 0.0 before the first."""
        status = json.loads(self._get("/status") or "{}")
        return str((status.get("engine") or {}).get("version", "0.0"))

    def _get(self, path: str) -> str:
        address = self.address()
        if address is None:
            return ""
        connection = http.client.HTTPConnection(*address, timeout=HTTP_SECONDS)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()

    def stop_in_order(self) -> None:
        """Stop it, and raise with the end of its log if it did not go in peace."""
        code = self.stop()
        if code not in STOPPED_IN_ORDER:
            raise StopError(f"the daemon did not stop in order (exit code {code}); its log ends:\n{self.tail()}")

    def stop(self) -> int:
        """Send SIGTERM, wait, and only then kill; return the exit code. Safe to call twice."""
        self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
