"""How hard a chaos run is, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


TOPIC, GROUP, ANOMALIES, DEAD_LETTERS = "rows", "chaos", "anomalies", "rows-dead-letters"
PARTITIONS = 3
OVERSIZE = 2048


@dataclass(frozen=True)
class Plan:
    """One run.

    Attributes
    ----------
    rows, malformed, rate
        What is sent, and how many records a second.
    kills
        How often the daemon is killed with -9. The load sends `warm` of its records and waits for a full calibration.
        What is left is divided into so many equal parts, and each holds one kill after a random share of its records:
        a slow machine then sees the same run as a quick one.
    target_rate, buffer
        `detection` of the daemon. Planted anomalies are an eighth of the target rate: the calibration learns them like
        every other row, and more than the target in the buffer would be what is usual. The level is fixed: an adaptive
        one falls after a burst of chance flags, and a planted row whose likes are in the buffer may then pass.
    span, refit_every, save_every
        Event time (s) that the window covers, learnt rows between refits, seconds between snapshots: short, so that
        promotions and snapshots fall all over the run.
    nodes, node_kills
        Brokers (one: embedded; more: real Apache Kafka), and how often one of them is killed with -9 and started
        again, placed as the kills of the daemon are.
    """

    rows: int
    malformed: int
    rate: float
    kills: int
    target_rate: float
    buffer: int
    span: float
    refit_every: int
    save_every: float
    seed: int
    nodes: int = 1
    node_kills: int = 0
    warm: float = 0.25

    @property
    def records(self) -> int:
        return self.rows + self.malformed

    @property
    def seconds(self) -> float:
        return self.records / self.rate

    @property
    def plant_every(self) -> int:
        return round(8 / self.target_rate)

    def undisturbed(self) -> Plan:
        return replace(self, kills=0, node_kills=0)

    def config(self, servers: str) -> Mapping[str, Any]:
        """Return the daemon's configuration."""
        return {
            "source": {
                "bootstrap_servers": servers,
                "topic": TOPIC,
                "group_id": GROUP,
                "group_instance_id": "chaos-0",
                "client": {"session_timeout_ms": 6000, "heartbeat_interval_ms": 2000},
            },
            "codec": {"type": "float32", "fields": [f"x{i}" for i in range(16)]},
            "model": {"members": {name: {"refit_every": self.refit_every} for name in ("slow", "fast", "marginals")}},
            "learning": {"window": {"span": self.span}, "seed": self.seed},
            "detection": {"target_rate": self.target_rate, "buffer": self.buffer, "level": "fixed"},
            "sinks": [{"type": "kafka", "topic": ANOMALIES}],
            "state": {"interval": self.save_every},
            "limits": {"record_bytes": OVERSIZE},
        }


SHORT = Plan(
    rows=60_000,
    malformed=600,
    rate=4000.0,
    kills=4,
    target_rate=0.01,
    buffer=1000,
    span=5.0,
    refit_every=500,
    save_every=1.0,
    seed=20240607,
)
CLUSTER = Plan(
    rows=50_000,
    malformed=500,
    rate=1000.0,
    kills=2,
    target_rate=0.01,
    buffer=1000,
    span=10.0,
    refit_every=500,
    save_every=1.0,
    seed=20240608,
    nodes=3,
    node_kills=3,
)
FULL = Plan(
    rows=1_000_000,
    malformed=10_000,
    rate=5000.0,
    kills=20,
    target_rate=0.001,
    buffer=10_000,
    span=20.0,
    refit_every=500,
    save_every=5.0,
    seed=20240607,
)
