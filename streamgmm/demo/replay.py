"""The replay: rows as JSON objects, one a minute of event time, sent in the time of a coffee."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamgmm.demo.stream import LabelledStream

ROW_SECONDS = 60


def payload(stream: LabelledStream, row: int) -> bytes:
    """Return one row as a JSON object {field: value}; six decimals are what the data set itself has."""
    values = (round(float(value), 6) for value in stream.X[row])
    return json.dumps(dict(zip(stream.fields, values, strict=True))).encode()


def event_time_ms(row: int, rows: int, end: float) -> int:
    """Return a row's event time in milliseconds: one row a minute, the last at `end` (seconds since the epoch)."""
    return round((end - (rows - 1 - row) * ROW_SECONDS) * 1000)


class Replay:
    """Sends a stream row by row, the warm-up at once and the rest at a pace.

    Parameters
    ----------
    stream
        What to send.
    send
        Takes a payload and its timestamp in milliseconds.
    end
        Event time of the last row, seconds since the epoch.
    rate
        Rows a second after the warm-up.
    """

    def __init__(
        self, stream: LabelledStream, send: Callable[[bytes, int], object], *, end: float, rate: float
    ) -> None:
        self._stream = stream
        self._send = send
        self._end = end
        self._rate = rate
        self._started = 0.0
        self.sent = 0

    @property
    def done(self) -> bool:
        """Return whether every row has been sent."""
        return self.sent == len(self._stream)

    def warm_up(self) -> None:
        """Send the rows to learn from."""
        self._send_up_to(self._stream.warm)

    def start(self, now: float) -> None:
        """Start the clock of the paced part."""
        self._started = now

    def tick(self, now: float) -> None:
        """Send what is due."""
        due = self._stream.warm + int((now - self._started) * self._rate)
        self._send_up_to(min(due, len(self._stream)))

    def _send_up_to(self, row: int) -> None:
        for next_row in range(self.sent, row):
            self._send(payload(self._stream, next_row), event_time_ms(next_row, len(self._stream), self._end))
            self.sent = next_row + 1
