"""Results held in memory: for tests, and for a program that embeds the daemon. Failures are injected on purpose."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamgmm.sinks._rendering import is_truncated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamgmm.errors import StopError
    from streamgmm.records import OutputRecord


@dataclass(frozen=True)
class MemorySettings:
    """Settings of a memory sink: its name in metrics and logs."""

    name: str = "memory"


def build(settings: MemorySettings) -> MemorySink:
    """Return a sink that keeps what it is given."""
    return MemorySink(settings.name)


class MemorySink:
    """Sink into a list.

    Attributes
    ----------
    records
        What has been flushed, in order: durable, as far as memory goes.
    pending
        What has been written and not flushed; a crash would lose it.
    flushes
        How many records were durable after each flush that succeeded.
    """

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.place = "memory"
        self.problem = ""
        self.cut: Counter[str] = Counter()
        self.records: list[OutputRecord] = []
        self.pending: list[OutputRecord] = []
        self.flushes: list[int] = []
        self.closed = False
        self._failures = 0
        self._held = False
        self._error: StopError | None = None

    def fail_flushes(self, times: int) -> None:
        """Make the next flushes fail in a way that passes."""
        self._failures = times

    def hold(self) -> None:
        """Make every flush fail until `release`."""
        self._held = True

    def release(self) -> None:
        """Let flushes succeed again."""
        self._held = False

    def stop_with(self, error: StopError) -> None:
        """Make the next flush raise: trying again cannot help."""
        self._error = error

    def write(self, records: Sequence[OutputRecord]) -> None:
        """Accept records."""
        self.pending.extend(records)

    def flush(self, timeout: float) -> bool:  # noqa: ARG002 - nothing here can take long
        """Make what was written durable, unless a failure was asked for."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self._failures or self._held:
            self._failures = max(0, self._failures - 1)
            return False
        truncated = sum(map(is_truncated, self.pending))
        if truncated:
            self.cut["truncated"] += truncated
        self.records.extend(self.pending)
        self.pending.clear()
        self.flushes.append(len(self.records))
        return True

    def close(self, timeout: float) -> None:
        """Flush and close."""
        if not self.closed:
            self.flush(timeout)
            self.closed = True
