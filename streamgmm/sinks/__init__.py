"""Where results go. A member has `build(settings, ...) -> Sink`; kafka, file and memory stand beside this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from streamgmm.records import OutputRecord


class Sink(Protocol):
    """The sink contract; `tests/conformance` holds every member to it."""

    name: str
    place: str
    """Where its records go, in words: "topic pages", or the path of a file."""
    problem: str
    """Why the last flush failed, where something said so; empty where it only took too long, or succeeded."""
    cut: Counter[str]
    """Records that did not fit since this was last emptied, by outcome: truncated, or passed (not even a truncated one
    fits)."""

    def write(self, records: Sequence[OutputRecord]) -> None:
        """Accept records; never block longer than a moment (a full buffer keeps them for `flush`)."""

    def flush(self, timeout: float) -> bool:
        """Push everything accepted so far to durable storage; False when it did not get there within `timeout`.

        Records that failed in a way that may pass stay accepted, and the next flush tries them again.

        Raises
        ------
        StopError
            When trying again cannot help (no such topic, not authorised).
        """

    def close(self, timeout: float) -> None:
        """Flush within `timeout` and close; safe to call twice."""
