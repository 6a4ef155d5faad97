"""Start in order: log, listen, compile the kernels, then build and run the daemon.

Without a cache the compiler works for one to two minutes. It runs before anything that needs a kernel is imported, so
that `/livez` answers from the first second on, and `/readyz`, `/status` and the log tell how far it is.
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from streamgmm.compiled import load_kernels
from streamgmm.stop import InterruptedStartError
from streamgmm.telemetry.http import Server
from streamgmm.telemetry.log import configure
from streamgmm.telemetry.starting import Starting

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamgmm.config import Config
    from streamgmm.stop import Stop

log = logging.getLogger(__name__)

# Seconds between two lines of progress. From a warm cache all kernels are loaded in two, and nothing is logged.
PROGRESS_SECONDS = 15.0


def serve(config: Config, stop: Stop, *, dry_run: bool = False, until_end: bool = False) -> None:
    """Run the daemon until it is told to stop, or has reached the end.

    Raises
    ------
    RetryableError
        The brokers cannot be reached at start.
    StopError
        Going on would lose or falsify something.
    """
    configure(config.logging.level, config.logging.format)
    starting = Starting()
    try:
        with ExitStack() as stack:
            server = _listen(config, starting, stack)
            kernels = load_kernels(_telling(starting, stop))
            from streamgmm.app import App  # noqa: PLC0415 - it imports the kernels

            App(config, stop, stack, server, dry_run=dry_run, until_end=until_end).run(kernels)
    except InterruptedStartError:
        log.info("stopping before the start was over")
    log.info("stopped")


def _listen(config: Config, starting: Starting, stack: ExitStack) -> Server | None:
    if config.http.listen is None:
        return None
    server = Server(config.http.listen, starting.routes())
    host, port = server.start()
    stack.callback(server.stop, 1.0)
    log.info("http listening on http://%s:%d", host, port)
    return server


def _telling(
    starting: Starting, stop: Stop, now: Callable[[], float] = time.monotonic
) -> Callable[[str, int, int], None]:
    """Return what to call before each module of kernels: it publishes the progress, and logs it every 15 seconds."""
    said = now()

    def tell(module: str, done: int, modules: int) -> None:
        nonlocal said
        if stop.requested():
            raise InterruptedStartError
        starting.compiling(module, done, modules)
        if now() - said >= PROGRESS_SECONDS:
            said = now()
            log.info("compiling kernels, once for this processor: %d of %d, %s", done, modules, module)

    return tell
