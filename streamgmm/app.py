"""The composition root: config → objects → run → orderly stop. Whoever imports it has every kernel compiled.

Stopping, in this order and inside one budget: finish the batch, flush, commit, save the state, leave the group, stop
the refit, close HTTP. A second signal cuts it short: nothing is lost by that, only done again.
"""

from __future__ import annotations

import gc
import logging
import os
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from streamgmm import __version__, assembly, checkpoint, wiring
from streamgmm.budget import Budget
from streamgmm.delivery import Delivery
from streamgmm.engine.core import Engine
from streamgmm.errors import ConfigError, RetryableError, SnapshotError, UndeliveredError
from streamgmm.loop import Loop
from streamgmm.paging import Paging
from streamgmm.refit.runners import ThreadRunner
from streamgmm.sources import COMMIT_TIMEOUT, Resume
from streamgmm.supervisor import Supervisor
from streamgmm.telemetry.build import build

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from numpy.typing import NDArray

    from streamgmm.checkpoint import Restored
    from streamgmm.config import Config
    from streamgmm.engine.state import State
    from streamgmm.records import Position, Report, TopicPartition
    from streamgmm.stop import Stop
    from streamgmm.telemetry.http import Server

    Arrays = Mapping[str, NDArray[Any]]

log = logging.getLogger(__name__)

COMMIT_SECONDS = 0.5
# If batches are small, turns of the loop start at least this share of `limits.max_latency` apart, but at most
# LONGEST_GATHER seconds. The loop sleeps in between, and must keep its group membership and notice a stop request.
GATHER_SHARE = 0.05
LONGEST_GATHER = 1.0
SHORTEST_COMMIT = 0.5


class App:
    """The parts of one daemon. A stack closes them in reverse order."""

    def __init__(
        self, config: Config, stop: Stop, stack: ExitStack, server: Server | None, *, dry_run: bool, until_end: bool
    ) -> None:
        self._config, self._stop, self._stack = config, stop, stack
        now = time.monotonic
        codec = wiring.codec(config)
        inputs = [f.name for f in codec.fields]
        self._features = assembly.pipeline(config, inputs)
        self._settings = assembly.engine_settings(
            config, self._features.names, assembly.categories(config), self._features.stems
        )
        if self._settings.too_wide:
            log.warning("%s", self._settings.too_wide)
        self._identity = assembly.identity(config, self._features)
        self._unsaved_since: float | None = None
        self._store = None if dry_run else wiring.snapshot_store(config)
        restored = self._restore()
        with stop.interruptible():
            outlets = [] if dry_run else wiring.outlets(config)
        pages = Paging([] if dry_run else wiring.feeds(config))
        pages.restore(restored.pages if restored else {})
        self._supervisor = Supervisor(
            last_resort=lambda: os._exit(1),
            now=now,
            deadlines=assembly.deadlines(config),
            stall_deadline=config.limits.stall_deadline,
        )
        self._telemetry, routes = build(
            config=config.redacted(),
            target_rate=self._settings.target_rate,
            topics=wiring.topics(config),
            sinks={o.sink.name: o.sink.place for o in outlets},
            members=[m.name for m in self._settings.members],
            fields=inputs,
            stuck=self._supervisor.stuck,
        )
        if server is not None:
            server.exchange(routes)
        self._budget = Budget(config.limits.learning_cpu)
        self._runner = ThreadRunner(now, self._refitting)
        self._source = wiring.source(config)
        self._resume = Resume(restored.covered if restored else {}, config.state.max_replay, durable=not dry_run)
        self._delivery = Delivery(
            self._source,
            outlets,
            commit_interval=COMMIT_SECONDS,
            now=now,
            max_latency=config.limits.max_latency,
            interrupted=lambda: stop.overdue(config.limits.shutdown / 2),
            patience=self._patience,
        )
        self._loop = Loop(
            source=self._source,
            codec=codec,
            features=self._features,
            engine=Engine(self._settings, self._runner, restored.state if restored else None, pace=self._budget),
            delivery=self._delivery,
            render=wiring.rendering(config, codec, self._features.names, outlets, pages),
            observe=self._observe,
            now=now,
            clock=time.time,
            save_state=None if dry_run else self._save,
            save_interval=config.state.interval,
            pages=pages,
            busy=self._supervisor.busy,
            until_end=until_end,
            gather=min(LONGEST_GATHER, GATHER_SHARE * config.limits.max_latency),
            spending=self._budget.spending,
        )

    def run(self, kernels: int) -> None:
        """Start everything, turn until stopped, and stop in order; so many kernels are compiled."""
        self._supervisor.start()
        self._stack.callback(self._supervisor.stop, 1.0)
        self._stack.callback(self._close_runner)
        self._stack.callback(self._leave)
        with self._supervisor.busy("start"):
            self._telemetry.warm(kernels)
            with self._stop.interruptible():
                self._source.start(self._resume)
            self._settle_memory()
        # Only Kafka has a hook; a file is read as it is.
        self._telemetry.metrics.set_block_hook(active=getattr(self._source, "hooked", False))
        log.info("streamgmm %s started", __version__)
        try:
            self._loop.run(self._stop.requested)
            self._ended()
            self._loop.save()
        except UndeliveredError as error:
            # The stop was requested and is no failure. The next start reads these records again.
            log.warning("%s; the next start reads these records again", error)
            self._ended()

    def _ended(self) -> None:
        log.info("stopping")
        self._telemetry.board.stopping()
        self._supervisor.finished()

    def _settle_memory(self) -> None:
        """Exclude loaded objects from garbage collection, which would otherwise stop every thread for 0.1 s."""
        gc.collect()
        gc.freeze()
        self._stack.callback(gc.unfreeze)

    @contextmanager
    def _refitting(self, part: str) -> Iterator[None]:
        with self._supervisor.busy(part), self._budget.spending():
            yield

    def _observe(self, report: Report) -> None:
        self._supervisor.progress(report)
        self._telemetry.observe(report)

    def _leave(self) -> None:
        """Flush and commit what is done, then leave the group; each gets half of what is left of the budget."""
        self._delivery.close(self._left() / 2)
        self._source.close(self._left() / 2)

    def _left(self) -> float:
        return self._stop.left(self._config.limits.shutdown)

    def _patience(self) -> float:
        """Return how long a commit may take: brokers that are away must not use up the budget of a stop."""
        return max(SHORTEST_COMMIT, min(COMMIT_TIMEOUT, self._left() / 4)) if self._stop.requested() else COMMIT_TIMEOUT

    def _close_runner(self) -> None:
        if not self._runner.close(self._left() / 2):
            log.warning("a refit was still running at the stop; it is abandoned")

    def _restore(self) -> Restored | None:
        """Return the newest snapshot that fits the configuration, and keep the folder for ourselves."""
        if self._store is None:
            return None
        self._stack.enter_context(self._store.lock())
        try:
            restored = checkpoint.newest(self._store, lambda s: checkpoint.unpack(s, self._settings, self._identity))
            if restored is None:
                return None
            if restored.features is not None:
                self._features.restore(restored.features)
        except SnapshotError as error:
            if self._config.state.on_mismatch == "cold_start":
                log.warning("starting cold: %s", error)
                return None
            raise ConfigError(f"the snapshots in {self._store.directory} do not fit: {error}") from error
        detector = restored.state.detector
        log.info("restored model %s", detector.version if detector else "none yet")
        for change in restored.changes:
            log.warning("the configuration has changed since the snapshot: %s", change)
        if restored.changes:  # what serves is on disk before anything is scored by it
            self._save(restored.state, self._features.state(), restored.covered, restored.pages)
        return restored

    def _save(self, state: State, features: Arrays, covered: Mapping[TopicPartition, Position], pages: Arrays) -> bool:
        """Write a snapshot; a disk that refuses is told once, and once more when it takes snapshots again."""
        assert self._store is not None  # noqa: S101 - a dry run has no save_state, so never gets here
        created = datetime.now(UTC).isoformat()
        try:
            self._store.save(checkpoint.pack(state, features, covered, self._identity, created, pages))
        except RetryableError as error:
            if self._unsaved_since is None:
                self._unsaved_since = time.monotonic()
                log.error("%s; it is tried again every %g s", error, self._config.state.interval)  # noqa: TRY400 - a sentence, no trace
            return False
        if self._unsaved_since is not None:
            log.info("snapshots are written again, after %.0f s without one", time.monotonic() - self._unsaved_since)
            self._unsaved_since = None
        return True
