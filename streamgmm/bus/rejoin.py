"""Finish a rebalance that outlived the poll it began in.

kafka-python 3.0 forgets such a join in two ways. One that a change of metadata set off is not asked for any more once
the leader has computed the assignment: the member is "rebalancing" for ever, without heartbeats, and commits nothing.
One that completes between two polls is thrown away and asked for again, which makes the whole group rebalance again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamgmm.bus.client import Client


class Unharvested:
    """A join that is done; its result is still to be fetched, which kafka-python only does for one under way."""

    is_done = False

    def __init__(self, task: Any) -> None:  # noqa: ANN401 - kafka-python ships no types
        self._task = task
        self.add_callback = task.add_callback
        self.add_errback = task.add_errback

    def __await__(self) -> Any:  # noqa: ANN401 - the awaitable protocol
        return self._task.__await__()


def finish_join(consumer: Client) -> bool:
    """Let the next poll wait for a join under way, and take the result of one that is done. Call it before a poll.

    False where a kafka-python keeps its join elsewhere: only a poll that lasts longer than the join finishes it then.
    """
    coordinator = getattr(consumer, "_coordinator", None)  # the state that is forgotten
    if coordinator is None or not hasattr(coordinator, "_join_task"):
        return False
    task = coordinator._join_task  # noqa: SLF001
    if task is None:
        return True
    coordinator.request_rejoin()
    if task.is_done:
        coordinator._join_task = Unharvested(task)  # noqa: SLF001
    return True
