"""Faults on purpose: what a test tells the embedded broker to do wrong. Safe to call from any thread."""

from __future__ import annotations

import threading

from streamgmm.demo.broker_protocol import Code


class Faults:
    """Answers that are refused, late or garbled, by the request's name (`Produce`, `Fetch`, `OffsetCommit` ...)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refused: dict[str, tuple[Code, int]] = {}
        self._delays: dict[str, float] = {}
        self._garbled: dict[str, int] = {}

    def refuse(self, request: str, code: Code, times: int = 1) -> None:
        """Answer the next `times` requests of a kind with an error, and do nothing else for them."""
        with self._lock:
            self._refused[request] = (Code(code), times)

    def garble(self, request: str, times: int = 1) -> None:
        """Answer the next `times` requests of a kind with bytes that are no frame."""
        with self._lock:
            self._garbled[request] = times

    def is_garbled(self, request: str) -> bool:
        """Return whether to answer with garbage; used up by being asked."""
        with self._lock:
            left = self._garbled.get(request, 0)
            self._garbled[request] = max(0, left - 1)
            return left > 0

    def slow(self, request: str, seconds: float) -> None:
        """Answer every request of a kind this much later; 0 ends it."""
        with self._lock:
            self._delays[request] = seconds

    def refusal(self, request: str) -> Code:
        """Return the error to answer with; used up by being asked."""
        with self._lock:
            code, left = self._refused.get(request, (Code.NONE, 0))
            if left <= 0:
                return Code.NONE
            self._refused[request] = (code, left - 1)
            return code

    def delay(self, request: str) -> float:
        """Return how late the answer is to be, in seconds."""
        with self._lock:
            return self._delays.get(request, 0.0)
