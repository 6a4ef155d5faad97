"""The real daemon as a process: `python -m streamgmm run` on a file, watched over HTTP and through its log."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from streamgmm.compiled import load_kernels
from streamgmm.demo.scrape import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parent.parent
LISTENING = re.compile(r"http listening on http://([0-9.]+):([0-9]+)")
LOOK_SECONDS = 0.05
# How long a test waits for what must come in the end. A busy machine needs most of it, an idle one a second.
PATIENCE = 300.0
# The same where every kernel has to be compiled first: two minutes of processor time.
COMPILING = 1800.0
LOG_LINES = 40


class DaemonProcess:
    """One configuration, started as often as a test wants; whatever still runs at the end is killed.

    Parameters
    ----------
    folder
        Gets the configuration file and one log per start.
    config
        `http.listen` takes a free port and `state.dir` lies in the folder, unless given.
    kernel_cache
        A folder in which the process finds compiled kernels and puts them; those of the tests otherwise.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], kernel_cache: Path | None = None) -> None:
        self.folder = folder
        self.config = {"http": {"listen": "127.0.0.1:0"}, "state": {}, **config}
        self.config["state"] = {"dir": str(folder / "state"), **self.config["state"]}
        self.starts = 0
        self._environment = dict(os.environ)
        if kernel_cache is None:
            load_kernels()  # on a machine that has never seen them: no process of a test should have to compile
        else:
            self._environment["NUMBA_CACHE_DIR"] = str(kernel_cache)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @property
    def state(self) -> Path:
        return Path(self.config["state"]["dir"])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log_file(self) -> Path:
        return self.folder / f"log-{self.starts}"

    def start(self, *options: str) -> Self:
        file = self.folder / "streamgmm.yml"
        file.write_text(yaml.safe_dump(self.config))
        self.starts += 1
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(file, *options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=self._environment,
            )
        return self

    def command(self, file: Path, *options: str) -> list[str]:
        """Return what runs the daemon on a configuration file."""
        return [sys.executable, "-m", "streamgmm", "run", "-c", str(file), *options]

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def tail(self) -> str:
        return "\n".join(self.log().splitlines()[-LOG_LINES:])

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout: float) -> int:
        """Return the exit code."""
        assert self._process is not None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s; its log ends:\n{self.tail()}") from None

    def terminate(self, timeout: float = PATIENCE) -> int:
        """Send SIGTERM and return the exit code, Python's −15 turned into what a shell would say."""
        os.kill(self.pid, signal.SIGTERM)
        code = self.wait(timeout)
        return code if code >= 0 else 128 - code

    def kill(self) -> None:
        """Send SIGKILL and wait until it is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE)

    def get(self, path: str, timeout: float = 30.0) -> tuple[int, bytes]:
        """Return status code and body; 0 while nobody listens."""
        match = LISTENING.search(self.log())
        if match is None:
            return 0, b""
        connection = http.client.HTTPConnection(match[1], int(match[2]), timeout=timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        """Return /status; empty while nobody listens."""
        code, body = self.get("/status")
        return dict(json.loads(body)) if code == 200 else {}

    def metrics(self) -> Metrics:
        return Metrics(self.get("/metrics")[1].decode())

    def version(self) -> str:
        """Return the version of the serving model; 0.0 where there is none."""
        engine = self.status().get("engine")
        return engine["version"] if engine else "0.0"

    def until(self, holds: Callable[[], object], timeout: float = PATIENCE, what: str = "it happens") -> None:
        """Look until something holds; fail with the log's end when the process dies or time runs out."""
        deadline = time.monotonic() + timeout
        while not holds():
            assert self.running(), f"ended with {self.wait(0)} before {what}; its log ends:\n{self.tail()}"
            assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}; its log ends:\n{self.tail()}"
            time.sleep(LOOK_SECONDS)

    def until_ready(self, timeout: float = PATIENCE) -> None:
        self.until(lambda: self.get("/readyz")[0] == 200, timeout, "it is ready")
