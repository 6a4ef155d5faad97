"""From produce to the anomaly being visible to a consumer, at a rate of records offered.

`python latency.py SERVERS TOPIC RATE RECORDS SHARE SEED` is the producer: its key on a planted row is the moment of the
produce call, which the daemon hands on as the anomaly's key.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from daemon import counter, running, until
from processes import cpu_seconds, peak_memory
from topics import Stream, Topic, as_json, create, end

PLANTED_PER_SECOND = 25.0
LEAST_SHARE = 0.001
LEARNT_BEFORE = 15_000
SETTLE = 4.0
TICK = 0.001
# A window of two seconds of the stream: refits come every few seconds instead of every few minutes.
REFITTING = {"window": {"records": 1000, "span": "2s"}, "refit_every": {"records": 500}, "challenger_every": 1}


@dataclass(frozen=True)
class Latency:
    """Seconds from produce to visible of the planted rows that were found, and what the daemon did meanwhile."""

    rate: int
    offered: float
    seconds: np.ndarray
    planted: int
    refits: int
    refreshes: int
    cpu_per_row: float
    rss_bytes: int

    def quantile(self, q):
        return float(np.quantile(self.seconds, q)) if len(self.seconds) else float("nan")


def share_planted(rate):
    return max(LEAST_SHARE, PLANTED_PER_SECOND / rate)


def measure(daemons, servers, number, rate, seconds, learning, folder):
    """Run a daemon on a stream that is produced while it reads."""
    name, out, share = f"live-{number}", f"live-{number}-anomalies", share_planted(rate)
    create(servers, name, out)
    # Enough rows for the first model at once, then the offered rate; only the latter is timed.
    _produce(servers, name, 0, LEARNT_BEFORE, share, 0).wait(60)
    sections = {
        "model": {"n_components": 8, "committee": "single"},
        "detection": {"target_rate": 2 * share, "level": "fixed"},  # what is planted should be found, whatever else is
        "sinks": [{"topic": out}],
        "learning": learning,
    }
    topic = Topic(name, "json", 1, end(servers, name), 0.0)
    with running(daemons.command(topic, sections, 0), folder / "live.log") as (daemon, address):
        until(lambda: counter(address, "rows_scored_total") > 0.5 * LEARNT_BEFORE)
        with _watching(servers, out) as consumer:
            producer = _produce(servers, name, rate, int(rate * (SETTLE + seconds)), share, number)
            _watch(consumer, SETTLE)
            before = _standing(daemon, address)
            found = _watch(consumer, seconds)
            after = _standing(daemon, address)
        producer.wait(60)
        rss = peak_memory(daemon)
    change = {name: after[name] - before[name] for name in after}
    scored = max(1.0, change["rows_scored_total"])
    return Latency(
        rate, scored / change["clock"], np.array(found), int(rate * share * seconds), int(change["refits_total"]),
        int(change["refreshes_total"]), change["cpu"] / scored, rss,
    )  # fmt: skip


def _produce(servers, name, *arguments):
    command = [sys.executable, str(Path(__file__)), servers, name, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL)


def _standing(daemon, address):
    counters = {name: counter(address, name) for name in ("rows_scored_total", "refits_total", "refreshes_total")}
    return counters | {"cpu": cpu_seconds(daemon), "clock": time.monotonic()}


@contextmanager
def _watching(servers, out):
    """Open a consumer that waits for nothing but records."""
    consumer = Consumer({
        "bootstrap.servers": servers, "group.id": f"bench-watch-{out}", "enable.auto.commit": False,
        "fetch.wait.max.ms": 10, "fetch.queue.backoff.ms": 1,
    })  # fmt: skip
    consumer.assign([TopicPartition(out, 0, end(servers, out))])
    yield consumer
    consumer.close()


def _watch(consumer, seconds):
    """Return the seconds from produce to visible of the anomalies that become visible in this time."""
    found, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        message = consumer.poll(0.05)
        if message is not None and message.error() is None and message.key():
            found.append(time.time() - int(message.key()) / 1e9)
    return found


def produce(servers, name, rate, records, share, seed):
    """Send records at a rate (0: as fast as it goes), in small portions by the clock."""
    stream = Stream(1)
    for _ in range(seed + 1):  # other rows for every seed, of the same mixture
        X = stream.rows(20_000, anomalies=0.0)
    every = round(1 / share)
    plain, planted = as_json(X), as_json(X[:2000] + stream.shifts(2000))
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 1, "queue.buffering.max.messages": 1_000_000})
    begun, sent = time.perf_counter(), 0
    while sent < records:
        due = min(records, int((time.perf_counter() - begun) * rate)) if rate else min(records, sent + 1000)
        for i in range(sent, due):
            if i % every == every - 1:
                producer.produce(name, planted[i // every % len(planted)], key=str(time.time_ns()))
            else:
                producer.produce(name, plain[i % len(plain)])
        sent = due
        producer.poll(0)
        time.sleep(TICK if rate else 0)
    producer.flush(60)


if __name__ == "__main__":
    servers, name, *numbers = sys.argv[1:]
    rate, records, share, seed = (json.loads(number) for number in numbers)
    produce(servers, name, rate, records, share, seed)
