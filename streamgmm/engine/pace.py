"""How much learning there is time for: all of it in the library, a share of the processor in the daemon."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Pace(Protocol):
    """What the engine asks before it refreshes or refits; what is refused stays due."""

    def allows(self) -> bool:
        """Return whether there is time left for learning."""

    def spending(self) -> AbstractContextManager[object]:
        """Mark the calling thread as learning."""


class Unhurried:
    """Time is no matter: results depend on the stream alone."""

    def allows(self) -> bool:
        """Return True."""
        return True

    def spending(self) -> AbstractContextManager[object]:
        """Mark nothing."""
        return nullcontext()
