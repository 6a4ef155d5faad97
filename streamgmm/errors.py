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
    """An error outside of the process. The same call may succeed later (broker unreachable, sink full)."""


class StopError(StreamgmmError):
    """To continue would lose or falsify data: stop with exit code 1."""


class UndeliveredError(StopError):
    """The time of a stop was over before a sink had accepted its records. They are not committed and are read again."""


class ConfigError(StopError):
    """The configuration is invalid or cannot be used: stop with exit code 78."""


class SnapshotError(StopError):
    """A snapshot is damaged, from another format, or does not belong to this configuration."""


class UnloadableError(SnapshotError):
    """A snapshot is intact, but its contents are not a valid detector. An older snapshot may be valid."""


class DetectorError(StopError, ValueError):
    """A model or its input is invalid (not finite, not positive definite, wrong shape)."""


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
