"""A progress bar on a terminal. If the stream is not a terminal, nothing is written."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from types import TracebackType

WIDTH = 24


class Progress:
    """One line that is overwritten and removed at the end.

    Parameters
    ----------
    stream
        Default: standard error. Tables go to standard output.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()
        self._length = 0

    def show(self, share: float, text: str) -> None:
        """Show the share of the work that is done (0 to 1), and a text."""
        if not self._shown:
            return
        full = round(WIDTH * min(max(share, 0.0), 1.0))
        line = f"[{'#' * full}{'.' * (WIDTH - full)}] {text}"
        self._stream.write("\r" + line.ljust(self._length))
        self._stream.flush()
        self._length = len(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._length:
            self._stream.write("\r" + " " * self._length + "\r")
            self._stream.flush()
