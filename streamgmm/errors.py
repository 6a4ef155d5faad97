"""The exception tree, sorted by what the caller should do: reject the record, try again later, or stop.

Every error carries a `hint`: the remedy, printed by the commands and logged by the daemon.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

FitReason: TypeAlias = Literal["not_positive_definite", "overflow", "no_complete_row", "no_fit"]


class StreamgmmError(Exception):
    """Base of every error raised on purpose.

    Parameters
    ----------
    message
        What is wrong, with the offending value.
    hint
        What to do about it; empty where the message already says so.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} ({self.hint})" if self.hint else message


class RetryableError(StreamgmmError):
    """Nothing is wrong with us: the same call may succeed later (broker away, sink full)."""


class StopError(StreamgmmError):
    """Going on would lose or falsify something: stop with exit code 1."""


class UndeliveredError(StopError):
    """A stop could wait no longer for a sink: what it did not take is not committed, and is read again."""


class ConfigError(StopError):
    """The configuration cannot be served: stop with exit code 78."""


class SnapshotError(StopError):
    """A snapshot is damaged, from another format, or does not belong to this configuration."""


class UnloadableError(SnapshotError):
    """A snapshot is whole, but what it holds makes no detector: an older one may."""


class DetectorError(StopError, ValueError):
    """A model or its input breaks a rule of the mathematics (not finite, not positive definite, wrong shape)."""


class FitError(DetectorError):
    """A fit collapsed; the candidate is refused and the incumbent keeps serving.

    Parameters
    ----------
    reason
        One of the few by which refused candidates are counted.
    """

    def __init__(self, message: str, *, hint: str = "", reason: FitReason = "no_fit") -> None:
        super().__init__(message, hint=hint)
        self.reason: FitReason = reason
