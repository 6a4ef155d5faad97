"""Whether brokers answer: a connection that stands says nothing, and a broker that hangs refuses nothing.

What counts is an answer to a question about the log: a fetch, where a partition ends, which brokers there are.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from kafka import errors
from kafka.protocol.consumer import FetchRequest, ListOffsetsRequest
from kafka.protocol.metadata import MetadataRequest

from streamgmm.bus import internals
from streamgmm.bus.membership import kafkas
from streamgmm.records import Contact, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streamgmm.bus.client import Client

logger = logging.getLogger(__name__)

# Asked for so long without an answer, brokers count as silent. A broker that restarts in order is away for less.
SILENT_SECONDS = 30.0
# Between two polls the loop may have worked; no more of that time than this counts as time that brokers were asked.
LONGEST_WAIT = 20.0
# While nothing is fetched, brokers are asked for the ends of partitions this often, and waited for no longer than that.
ASK_SECONDS = 5.0
PATIENCE_MS = 1000
RECENT_SECONDS = 5.0
QUESTIONS = (FetchRequest, ListOffsetsRequest, MetadataRequest)


class Answers:
    """When brokers last answered one consumer.

    Parameters
    ----------
    now
        Monotonic seconds.
    clock
        Time of day, seconds.
    sleep
        Called with the seconds to wait.

    Attributes
    ----------
    ends
        The ends of partitions that were asked for while nothing was fetched.
    """

    def __init__(
        self,
        now: Callable[[], float],
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._now, self._clock, self._sleep = now, clock, sleep
        self._listening = False
        self._answered = clock()
        self._heard = True
        self._silent = 0.0
        self._waited_at = self._asked_at = now()
        # Broker → the seconds, in a list of one, that it has owed an answer; replaced by a new list, never reset, since
        # two threads are at work here.
        self._open: dict[object, list[float]] = {}
        self.ends: dict[TopicPartition, int] = {}

    def listen(self, consumer: Client) -> None:
        """Hear every answer that this consumer gets; where kafka-python sends in another way, silence is never told."""
        self._listening = internals.hear(consumer, QUESTIONS, self._ask, self._hear)
        if not self._listening:
            logger.warning("silent brokers cannot be detected: this kafka-python sends requests in another way")

    def _ask(self, node: object) -> None:
        """Note that a broker was asked."""
        self._open.setdefault(node, [0.0])

    def _hear(self, node: object) -> None:
        """Note an answer. Called on kafka-python's own thread."""
        self._open.pop(node, None)
        self._heard = True  # first: who reads the new moment also reads that there was an answer
        self._answered = self._clock()

    def wait(self, fetch: Callable[[float], None], seconds: float) -> None:
        """Fetch, waiting for so long; beside kafka-python when brokers are silent, as it spends half a core on that."""
        fetch(seconds if self.recent else 0.0)
        if not self.recent:
            self._sleep(seconds)
        self.waited()

    def waited(self) -> None:
        """Note that brokers were being asked since the last call."""
        now = self._now()
        gap, self._waited_at = min(now - self._waited_at, LONGEST_WAIT), now
        for owed in list(self._open.values()):
            owed[0] += gap
        if self._heard or not self._listening:
            self._heard, self._silent = False, 0.0
        else:
            self._silent += gap

    def ask(self, consumer: Client, partitions: Sequence[TopicPartition]) -> None:
        """Ask where partitions end, or for metadata where there is none, when it is time.

        While nothing is fetched, nothing else asks brokers about the log.
        """
        if self._now() - self._asked_at < ASK_SECONDS:
            return
        self._asked_at = self._now()
        if not partitions:
            internals.refresh(consumer)
            return
        try:
            ends: Mapping[Any, int] = consumer.end_offsets(kafkas(partitions), timeout_ms=PATIENCE_MS)
        except errors.KafkaError as error:
            logger.debug("asking where partitions end: %s", error)
        else:
            self.ends = {TopicPartition(*tp): int(end) for tp, end in ends.items()}

    @property
    def recent(self) -> bool:
        """Return whether brokers have answered just now: what goes wrong then is not that they are away."""
        return self._silent < RECENT_SECONDS

    def silent(self) -> set[object]:
        """Return the brokers that have not answered for long, while others do."""
        if self._silent >= SILENT_SECONDS:
            return set()
        return {node for node, (seconds,) in list(self._open.items()) if seconds >= SILENT_SECONDS}

    def contact(self) -> Contact:
        """Return when brokers last answered, and whether they are silent."""
        if not self._listening:
            return Contact()
        answered = self._answered
        return Contact(answered, self._silent >= SILENT_SECONDS and not self._heard)
