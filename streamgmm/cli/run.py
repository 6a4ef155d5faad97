"""Run the daemon: read, score, explain and learn until a stop signal."""

from __future__ import annotations

import logging
import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from types import FrameType

    from streamgmm.stop import Stop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("-c", "--config", type=Path, required=True, help="YAML file")
    parser.add_argument("--dry-run", action="store_true", help="read and score, but write and commit nothing")
    parser.add_argument(
        "--until-end", action="store_true", help="stop when every assigned partition has reached the end seen at start"
    )


def run(args: argparse.Namespace) -> int:
    """Run until a signal, or until the end of the source. The exit code after a signal is 128 + its number."""
    from streamgmm.stop import Stop

    stop = Stop()
    with _signals(stop):
        from streamgmm.config import load
        from streamgmm.startup import serve

        serve(load(args.config), stop, dry_run=args.dry_run, until_end=args.until_end)
    return 0 if stop.signal is None else 128 + stop.signal


@contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    """Handle SIGTERM and SIGINT as stop requests. A second one shortens the stop. SIGHUP is only logged."""

    def request(number: int, _: FrameType | None) -> None:
        stop.request(number)

    def stay(_number: int, _: FrameType | None) -> None:
        logging.getLogger(__name__).warning("SIGHUP: the configuration is not read again; restart to read it")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {signal.SIGTERM: request, signal.SIGINT: request, signal.SIGHUP: stay}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
