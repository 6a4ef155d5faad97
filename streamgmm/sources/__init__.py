"""Where records come from. A member has `build(settings, ...) -> Source`; kafka, file and memory stand beside this."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamgmm.records import Contact, Event, Position, Rebalance, RecordBatch, TopicPartition

COMMIT_TIMEOUT = 5.0


class Resume(NamedTuple):
    """What a source is started with.

    Attributes
    ----------
    covered
        What a snapshot covers.
    max_replay
        How far back a restart may replay, in records per partition.
    durable
        Whether offsets may be committed; a dry run leaves none behind.
    """

    covered: Mapping[TopicPartition, Position]
    max_replay: int
    durable: bool = True


class Start(NamedTuple):
    """Where a partition starts: read from `offset`; records below `muted_until` were delivered before.

    `identity` is that of a Position.
    """

    offset: int
    row: int
    muted_until: int
    not_learnt: int
    identity: str = ""


def is_same(identity: str, other: str) -> bool:
    """Return whether two identities may be of the same thing; one that is not known may be any."""
    return not identity or not other or identity == other


def start_at(covered: Position | None, committed: int, max_replay: int, identity: str = "") -> Start:
    """Decide where a partition with a committed offset starts after a restart.

    From the covered position up to the committed one rows are learnt again with delivery muted; what lies further
    back than `max_replay` is counted as not learnt. A covered position ahead of the committed one (the commit was
    lost) starts at the committed offset: those rows are delivered again, which at-least-once allows. A covered
    position of another topic or file of that name says nothing.
    """
    if covered is not None and not is_same(covered.identity, identity):
        covered = None
    if covered is None or covered.offset >= committed:
        row = covered.row if covered is not None and covered.offset == committed else 0
        return Start(committed, row, committed, 0, identity)
    if committed - covered.offset > max_replay:
        return Start(committed, 0, committed, committed - covered.offset, identity)
    return Start(covered.offset, covered.row, committed, 0, identity)


class Source(Protocol):
    """The source contract; `tests/conformance` holds every member to it."""

    def start(self, resume: Resume) -> None:
        """Connect and subscribe. Raises RetryableError when the far side is away."""

    def poll(self, timeout: float) -> RecordBatch:
        """Return the next records, waiting up to `timeout` seconds; empty when there are none, or while paused.

        Of several partitions, each that has records gives some. Records that are known to be there are waited for, but
        not for long: a partition that gives nothing does not stop the others.
        """

    def give_back(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Take back, from these offsets on, what the last poll handed over: the next ones hand it over again."""

    def rebalances(self) -> list[Rebalance]:
        """Return, once, what happened to the assignment since the last call, in order."""

    def events(self) -> list[Event]:
        """Return, once, what else happened: `moved` for every jump of a position."""

    def waiting(self) -> Mapping[TopicPartition, str]:
        """Return the partitions that cannot be read now, and why (one of records.WAITING)."""

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

    def contact(self) -> Contact:
        """Return whether the far side answers."""

    def at_end(self) -> bool:
        """Return whether every assigned partition has been read to the end seen at start.

        Raises StopError when what is left cannot be read: a record batch that is damaged in the log.
        """

    def close(self, timeout: float) -> None:
        """Leave the group (static members stay) and close; safe to call twice."""
