"""The play in order: broker, topics, warm-up, daemon, replay, verdict; however it ends, nothing is left running."""

from __future__ import annotations

import json
import secrets
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamgmm.compiled import load_kernels
from streamgmm.demo import show
from streamgmm.demo.broker import Broker
from streamgmm.demo.daemon import TARGET_RATE, Daemon, config_text
from streamgmm.demo.guard import Guard
from streamgmm.demo.judge import Ledger, flag, judge
from streamgmm.demo.names import Names
from streamgmm.demo.replay import Replay
from streamgmm.demo.scrape import Metrics
from streamgmm.demo.stream import load
from streamgmm.demo.topics import Topics
from streamgmm.errors import StopError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TextIO

    from streamgmm.demo.stream import LabelledStream

# From a warm cache the kernels are loaded in two seconds.
QUIET_SECONDS = 4.0
START_SECONDS = 240
STALL_SECONDS = 120
METRICS_EVERY = 0.5


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says.

    Attributes
    ----------
    bootstrap_servers
        A broker of the user's; None for the embedded one.
    rows_per_second
        Pace after the warm-up.
    keep
        Folder for config, log and state, left behind; None for a temporary one.
    """

    bootstrap_servers: str | None
    rows_per_second: float
    keep: Path | None


def play(settings: Settings, out: TextIO, bar: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
    """Run the demo from beginning to end.

    Raises
    ------
    StopError
        The daemon died or stalled, or rows were lost.
    StreamgmmError
        No broker serves us at `bootstrap_servers`.
    """
    stream = load()
    progress = show.Progress(out, bar, len(stream))
    with ExitStack() as stack:
        guard = stack.enter_context(Guard())
        folder = guard.folder if settings.keep is None else _empty(settings.keep)
        stack.callback(progress.clear)
        topics = _topics(stack, settings)
        config = folder / "streamgmm.yaml"
        config.write_text(config_text(topics.servers, topics.names, stream.fields, folder / "state"))
        progress.lines(show.opening(stream, topics.servers, topics.names.input, topics.names.anomalies, config))
        _compile(progress, clock)
        replay = Replay(stream, topics.send, end=time.time(), rate=settings.rows_per_second)
        replay.warm_up()
        topics.flush()
        daemon = stack.enter_context(Daemon(config, folder / "daemon.log", guard.group))
        watch = Watch(topics, daemon, replay, progress, clock)
        seconds = _perform(watch, stream)
        daemon.stop_in_order()
        progress.clear()
        _closing(stream, topics, watch.metrics, progress, seconds)


def _compile(progress: show.Progress, clock: Callable[[], float]) -> None:
    """Fill the cache of compiled kernels, which takes a minute or two once, and say what is being compiled.

    The daemon that is started afterwards loads them. Its patience is then one for rows alone.
    """
    begun = clock()

    def tell(module: str, done: int, modules: int) -> None:
        if clock() - begun > QUIET_SECONDS:
            progress.note(f"compiling kernels, once for this processor: {done} of {modules}, {module}")

    load_kernels(tell)
    progress.clear()


def _empty(keep: Path) -> Path:
    keep.mkdir(parents=True, exist_ok=True)
    if any(keep.iterdir()):
        raise StopError(f"{keep} is not empty", hint="the daemon would continue from its state; give a new folder")
    return keep.resolve()


def _topics(stack: ExitStack, settings: Settings) -> Topics:
    if settings.bootstrap_servers is None:
        servers = stack.enter_context(Broker()).bootstrap_servers
        return stack.enter_context(Topics(servers, Names.make(), delete=False))
    names = Names.make(secrets.token_hex(3))
    return stack.enter_context(Topics(settings.bootstrap_servers, names, delete=settings.keep is None))


@dataclass(slots=True)
class Watch:
    """Looks at the topics and at the daemon while rows flow, and shows what it sees."""

    topics: Topics
    daemon: Daemon
    replay: Replay
    progress: show.Progress
    clock: Callable[[], float]
    metrics: Metrics = field(default_factory=Metrics)
    _incidents: set[str] = field(default_factory=set)
    _next_metrics: float = 0.0

    def look(self) -> None:
        """Print the incidents that opened, and now and then refresh the bar."""
        self.daemon.check()
        for record in self.topics.new_anomalies():
            if record["incident"] not in self._incidents:
                self._incidents.add(record["incident"])
                self.progress.line(show.incident(record))
        if self.clock() >= self._next_metrics:
            self._next_metrics = self.clock() + METRICS_EVERY
            self.metrics = self.daemon.metrics()
            self.progress.update(self.replay.sent, self.metrics.seen, self.daemon.version())

    def until(self, reached: Callable[[], bool], patience: float) -> None:
        """Look until something is reached; an error after `patience` seconds without a row or a line of log more."""
        before, deadline = (-1, 0), 0.0
        while not reached():
            self.look()
            now = (self.metrics.seen, self.daemon.log_bytes())
            if now != before:
                before, deadline = now, self.clock() + patience
            elif self.clock() > deadline:
                tail = self.daemon.tail()
                raise StopError(f"the daemon has stopped at row {now[0]} for {patience:g} s; its log ends:\n{tail}")


def _perform(watch: Watch, stream: LabelledStream) -> float:
    """Let the warm-up be learnt, pace the rest, and wait until all is committed; return the paced part's seconds."""
    watch.until(lambda: watch.metrics.seen >= stream.warm, START_SECONDS)
    started = watch.clock()
    watch.replay.start(started)
    while not watch.replay.done:
        watch.replay.tick(watch.clock())
        watch.look()
    watch.topics.flush()
    rows = len(stream)
    watch.until(lambda: watch.metrics.seen >= rows and watch.topics.committed() >= rows, STALL_SECONDS)
    return watch.clock() - started


def _closing(stream: LabelledStream, topics: Topics, metrics: Metrics, progress: show.Progress, seconds: float) -> None:
    """Read everything back from the topics and say what it means; a row without a fate is an error."""
    names = topics.names
    verdict = judge(stream, (flag(json.loads(value)) for value in topics.read_back(names.anomalies)))
    ledger = Ledger(
        rows=topics.rows(names.input),
        committed=topics.committed(),
        scored=int(metrics.total("rows_scored_total")),
        unscored=int(metrics.total("rows_unscored_total")),
        rejected=topics.rows(names.dead_letters),
    )
    progress.lines(show.events(verdict.outcomes))
    progress.lines(show.verdict(verdict, TARGET_RATE))
    progress.lines(show.running(ledger, metrics, seconds))
    if ledger.lost or ledger.committed != ledger.rows:
        raise StopError(f"{ledger.lost} rows have no result; {ledger.committed} of {ledger.rows} are committed")
