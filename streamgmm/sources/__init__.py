"""Where records come from. A member has `build(settings, ...) -> Source`; kafka, file and memory stand beside this."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamgmm.records import Position, Rebalance, RecordBatch, TopicPartition

COMMIT_TIMEOUT = 5.0


class Resume(NamedTuple):
    """What a snapshot covers, and how far back a restart may replay (records per partition)."""

    covered: Mapping[TopicPartition, Position]
    max_replay: int


class Start(NamedTuple):
    """Where a partition starts: read from `offset`; records below `muted_until` were delivered before."""

    offset: int
    row: int
    muted_until: int
    not_learnt: int


def start_at(covered: Position | None, committed: int, max_replay: int) -> Start:
    """Decide where a partition with a committed offset starts after a restart.

    From the covered position up to the committed one rows are learnt again with delivery muted; what lies further
    back than `max_replay` is counted as not learnt. A covered position ahead of the committed one (the commit was
    lost) starts at the committed offset: those rows are delivered again, which at-least-once allows.
    """
    if covered is None or covered.offset >= committed:
        row = covered.row if covered is not None and covered.offset == committed else 0
        return Start(committed, row, committed, 0)
    if committed - covered.offset > max_replay:
        return Start(committed, 0, committed, committed - covered.offset)
    return Start(covered.offset, covered.row, committed, 0)


class Source(Protocol):
    """The source contract; `tests/conformance` holds every member to it."""

    def start(self, resume: Resume) -> None:
        """Connect and subscribe. Raises RetryableError when the far side is away."""

    def poll(self, timeout: float) -> RecordBatch:
        """Return the next records, waiting up to `timeout` seconds; empty when there are none, or while paused.

        Raises StopError for a record batch that is corrupt in the log, unless it was configured to be skipped.
        """

    def rebalances(self) -> list[Rebalance]:
        """Return, once, what happened to the assignment since the last call, in order."""

    def starts(self) -> Mapping[TopicPartition, Start]:
        """Return where each assigned partition started."""

    def flushed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Note offsets that delivery has flushed: when a partition is revoked, these are committed at once."""

    def commit(self, offsets: Mapping[TopicPartition, int], timeout: float = COMMIT_TIMEOUT) -> bool:
        """Store offsets that delivery has flushed, within `timeout` seconds.

        False when the group refused (we no longer own them) or did not answer in time.
        """

    def pause(self) -> None:
        """Stop fetching but stay in the group; `poll` returns nothing until `resume`."""

    def resume(self) -> None:
        """Fetch again."""

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return, per assigned partition, the records still to read, from cached high watermarks."""

    def at_end(self) -> bool:
        """Return whether every assigned partition has been read to the end seen at start."""

    def close(self, timeout: float) -> None:
        """Leave the group (static members stay) and close; safe to call twice."""
