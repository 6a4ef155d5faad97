"""One chaos run: broker, load and daemon as processes, kills at random moments, and everything that was seen."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from brokers import read_all
from chaos import parts
from chaos import plan as plans
from daemon_process import DaemonProcess

from streamgmm.bus import client
from streamgmm.errors import SnapshotError
from streamgmm.snapshots import SnapshotStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RESTORED = re.compile(r"restored model (\S+)")
CATCH_UP_SECONDS = 600.0
LOOK_SECONDS = 0.1


@dataclass
class Start:
    """One start of the daemon: what the newest snapshot held then, and what the log says was restored."""

    expected: str | None
    log: str = ""

    @property
    def restored(self) -> str | None:
        match = RESTORED.search(self.log)
        return match[1] if match else None

    @property
    def came_up(self) -> bool:
        return " started" in self.log


@dataclass
class Seen:
    """Everything that a run showed."""

    plan: plans.Plan
    seconds: float = 0.0
    ledger: dict[str, Any] = field(default_factory=dict)
    anomalies: list[Any] = field(default_factory=list)
    dead_letters: list[Any] = field(default_factory=list)
    committed: list[dict[int, int]] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
    memory: list[tuple[float, int]] = field(default_factory=list)
    watch_problems: list[str] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    kills: int = 0
    node_kills: int = 0
    died: list[str] = field(default_factory=list)
    snapshots_read: int = 0
    damaged: list[str] = field(default_factory=list)
    exit_code: int | None = None
    serving: tuple[str, str] = ("", "")


def play(plan: plans.Plan, folder: Path, say: Callable[[str], None] = lambda _: None) -> Seen:
    """Run a plan in a folder and return what was seen."""
    seen = Seen(plan)
    with ExitStack() as stack:
        brokers = stack.enter_context(parts.brokers(plan.nodes, folder))
        servers = brokers.servers
        parts.create_topics(servers, plan.nodes)
        daemon = stack.enter_context(DaemonProcess(folder, plan.config(servers)))
        store = SnapshotStore(daemon.state)
        _start(daemon, store, seen)
        daemon.until_ready()
        watch = parts.Watch(servers, lambda: daemon.pid, plan.records)
        stack.enter_context(watch.running())
        load = parts.Load(plan, servers, folder)
        stack.callback(load.stop)
        started = time.monotonic()
        daemon.until(lambda: _calibrated(store, plan), 600, "the calibration is full")
        load.plant()
        say("the calibration is full: anomalies are planted from now on")
        _disturb(plan, daemon, store, load, brokers, watch, seen, say)
        _catch_up(daemon, watch, seen, say)
        seen.seconds = time.monotonic() - started
        _stop_and_start_again(daemon, store, seen)
        seen.ledger = load.ledger()
        connection = client.Connection(client.servers(servers))
        seen.anomalies = read_all(connection, plans.ANOMALIES)
        seen.dead_letters = read_all(connection, plans.DEAD_LETTERS)
        seen.committed, seen.ends, seen.memory = watch.committed, watch.ends, watch.memory
        seen.watch_problems = watch.problems
    return seen


def _disturb(
    plan: plans.Plan,
    daemon: DaemonProcess,
    store: SnapshotStore,
    load: parts.Load,
    brokers: parts.Brokers,
    watch: parts.Watch,
    seen: Seen,
    say: Callable[[str], None],
) -> None:
    """Kill when so many records are sent, until all are."""
    rng = np.random.default_rng(plan.seed)
    moments = _moments(plan.kills, plan, rng)
    node_moments = _moments(plan.node_kills, plan, rng)
    while load.running() or moments or node_moments:
        if node_moments and watch.sent >= node_moments[0]:
            node_moments.pop(0)
            node = 1 + int(rng.integers(plan.nodes))
            say(f"broker {node} is killed")
            brokers.kill_and_start_again(node)
            seen.node_kills += 1
            say(f"broker {node} is back")
        if moments and watch.sent >= moments[0]:
            moments.pop(0)
            daemon.kill()
            seen.kills += 1
            say(f"kill {seen.kills} of {plan.kills}")
            _start(daemon, store, seen)
        _revive(daemon, store, seen)
        time.sleep(LOOK_SECONDS)


def _moments(kills: int, plan: plans.Plan, rng: np.random.Generator) -> list[float]:
    """Return how many records are sent at each kill: one in each of so many equal parts of what follows the warm-up."""
    warm = plan.warm * plan.records
    return [warm + (plan.records - warm) / kills * (i + float(rng.random())) for i in range(kills)]


def _calibrated(store: SnapshotStore, plan: plans.Plan) -> bool:
    """Return whether the newest snapshot holds a promoted model and a full calibration buffer."""
    snapshot = store.newest()
    if snapshot is None or snapshot.manifest["model_version"] is None:
        return False
    return len(snapshot.arrays["engine.calibration.recent"]) >= plan.buffer


def _start(daemon: DaemonProcess, store: SnapshotStore, seen: Seen) -> None:
    """Read every snapshot as a dead daemon left them, and start."""
    _note_log(daemon, seen)
    for name in store.names():
        seen.snapshots_read += 1
        try:
            store.verify(name)
        except SnapshotError as error:
            seen.damaged.append(str(error))
    newest = store.newest()
    seen.starts.append(Start(newest.manifest["model_version"] if newest else None))
    daemon.start()


def _note_log(daemon: DaemonProcess, seen: Seen) -> None:
    if seen.starts:
        seen.starts[-1].log = daemon.log()


def _revive(daemon: DaemonProcess, store: SnapshotStore, seen: Seen) -> None:
    """Note a daemon that ended by itself, and start it again as a service manager would."""
    if not daemon.running():
        seen.died.append(f"exit code {daemon.wait(0)}; its log ends:\n{daemon.tail()}")
        assert len(seen.died) < 5, "\n".join(seen.died)
        _start(daemon, store, seen)


def _catch_up(daemon: DaemonProcess, watch: parts.Watch, seen: Seen, say: Callable[[str], None]) -> None:
    say("everything is sent")
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while not watch.caught_up() and daemon.running() and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    if not daemon.running():
        seen.died.append(f"exit code {daemon.wait(0)}; its log ends:\n{daemon.tail()}")


def _stop_and_start_again(daemon: DaemonProcess, store: SnapshotStore, seen: Seen) -> None:
    """Stop in order, then see which model a last start serves."""
    if daemon.running():
        seen.exit_code = daemon.terminate()
    _start(daemon, store, seen)
    daemon.until_ready()
    daemon.until(lambda: daemon.version() != "0.0", what="the restored model serves")
    seen.serving = (str(seen.starts[-1].expected), daemon.version())
    daemon.terminate()
    _note_log(daemon, seen)
