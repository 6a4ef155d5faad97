"""The load of a chaos run as a process, and a watch on what it all does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brokers import SCRIPT, apache, embedded_process
from chaos import plan as plans
from daemon_process import ROOT
from kafka import TopicPartition
from kafka.errors import KafkaError

from streamgmm.bus import client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOK_SECONDS = 0.25
# Longer than broker.session.timeout.ms of the cluster: the partitions of a dead node get other leaders.
NOTICE_SECONDS = 4.0


class Load:
    """The load's process."""

    def __init__(self, plan: plans.Plan, servers: str, folder: Path) -> None:
        self._ledger = folder / "ledger.json"
        values = {
            "servers": servers,
            "topic": plans.TOPIC,
            "ledger": self._ledger,
            "rows": plan.rows,
            "malformed": plan.malformed,
            "partitions": plans.PARTITIONS,
            "plant-every": plan.plant_every,
            "oversize": plans.OVERSIZE,
            "seed": plan.seed,
            "rate": plan.rate,
            "warm": plan.warm,
        }
        options = [text for name, value in values.items() for text in (f"--{name}", str(value))]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT)])}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.load", *options], stdin=subprocess.PIPE, cwd=ROOT, env=environment, text=True
        )

    def plant(self) -> None:
        """From now on anomalies may be planted."""
        assert self._process.stdin is not None
        self._process.stdin.write("now\n")
        self._process.stdin.flush()

    def running(self) -> bool:
        return self._process.poll() is None

    def ledger(self) -> dict[str, Any]:
        assert self._process.wait(60) == 0, "the load failed"
        return dict(json.loads(self._ledger.read_text()))

    def stop(self) -> None:
        if self.running():
            self._process.kill()
        self._process.wait(120)
        assert self._process.stdin is not None
        self._process.stdin.close()


@dataclass
class Watch:
    """Samples, from a thread of its own, committed and end offsets, and the daemon's resident memory."""

    servers: str
    pid: Callable[[], int]
    total: int
    committed: list[dict[int, int]] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
    memory: list[tuple[float, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[Watch]:
        thread = threading.Thread(target=self._run, name="watch")
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join(120)

    @property
    def sent(self) -> int:
        return sum(self.ends.values())

    def caught_up(self) -> bool:
        """Return whether everything is sent and everything sent is committed."""
        return self.sent == self.total and bool(self.committed) and self.committed[-1] == self.ends

    def _run(self) -> None:
        partitions = [TopicPartition(plans.TOPIC, p) for p in range(plans.PARTITIONS)]
        reader = client.consumer(
            client.Connection(client.servers(self.servers)), group_id=plans.GROUP, enable_auto_commit=False
        )
        try:
            while not self._stop.wait(LOOK_SECONDS):
                try:
                    self._look(reader, partitions)
                except KafkaError as error:
                    self.problems.append(repr(error))
        finally:
            client.call_with_budget(reader.close, timeout_ms=1000)

    def _look(self, reader: client.Client, partitions: list[TopicPartition]) -> None:
        committed = {tp.partition: int(reader.committed(tp) or 0) for tp in partitions}
        # Ends after offsets: an offset can then never stand beyond the end that is compared with it.
        self.ends = {tp.partition: int(end) for tp, end in reader.end_offsets(partitions).items()}
        self.committed.append(committed)
        memory = resident(self.pid())
        if memory:
            self.memory.append((self.sent / self.total, memory))


def resident(pid: int) -> int:
    """Return a process's resident memory in bytes, 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    sizes = [line.split()[1] for line in text.splitlines() if line.startswith("VmRSS:")]
    return int(sizes[0]) * 1024 if sizes else 0


class Brokers:
    """The brokers of a run."""

    def __init__(self, servers: str, directory: Path) -> None:
        self.servers = servers
        self._directory = directory

    def kill_and_start_again(self, node: int) -> None:
        """Kill a node of real Kafka, give the others time to notice, and start it on what it had on disk."""
        os.kill(int((self._directory / f"node{node}.pid").read_text()), signal.SIGKILL)
        time.sleep(NOTICE_SECONDS)
        base = self.servers.split(",")[0].rsplit(":", 1)[1]
        environment = os.environ | {"KAFKA_DATA": str(self._directory), "KAFKA_BASE_PORT": base}
        subprocess.run([SCRIPT, "again", str(node)], env=environment, check=True)


@contextmanager
def brokers(nodes: int, folder: Path) -> Iterator[Brokers]:
    """Run the embedded broker, or so many nodes of real Apache Kafka."""
    directory = folder / "broker"
    if nodes == 1:
        with embedded_process("--dir", str(directory)) as servers:
            yield Brokers(servers, directory)
    else:
        with apache("cluster", directory) as printed:
            yield Brokers(printed["BOOTSTRAP"], directory)


def create_topics(servers: str, replicas: int) -> None:
    """Create what a run reads and writes."""
    admin = client.admin(client.Connection(client.servers(servers)))
    counts = {plans.TOPIC: plans.PARTITIONS, plans.ANOMALIES: 1, plans.DEAD_LETTERS: 1}
    admin.create_topics(
        {name: {"num_partitions": n, "replication_factor": replicas} for name, n in counts.items()},
        wait_for_metadata=True,
    )
    client.call_with_budget(admin.close)
