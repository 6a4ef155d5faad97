"""The stream of a chaos run, in a process of its own: paced, seeded, and with a ledger of what must be found again.

It sends a share of the records (`--warm`) and waits for a line on standard input, which says that the daemon's
calibration is full. Anomalies are planted only after that.

    PYTHONPATH=tests python -m chaos.load --servers HOST:PORT --topic T --ledger FILE ...
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
from streams import Mixture, malformed_float32, packed

from streamgmm.bus import client

D = 16
CHUNK = 500
FLUSH_SECONDS = 60.0


class Load:
    """Sends rows + malformed records and remembers where the special ones went."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._rng = np.random.default_rng(args.seed)
        self._mixture = Mixture(D, args.seed)
        self._producer = client.producer(
            client.Connection(client.servers(args.servers)), acks="all", linger_ms=10, batch_size=1 << 16
        )
        self._total = args.rows + args.malformed
        places = self._rng.choice(self._total, args.malformed, replace=False)
        self._malformed = set(places.tolist())
        self._planting = threading.Event()
        self._ledger = {"malformed": [], "planted": []}
        self._sent_malformed = 0

    def listen(self) -> None:
        """Start planting at the first line on standard input."""
        if sys.stdin.readline():
            self._planting.set()

    def run(self) -> dict[str, object]:
        threading.Thread(target=self.listen, daemon=True).start()
        warm = int(self._args.warm * self._total)
        started, begun = time.monotonic(), 0
        planted_at, first_planted, late = -1, None, 0.0
        for start in range(0, self._total, CHUNK):
            if start >= warm and not begun:
                self._producer.flush(timeout=FLUSH_SECONDS)
                self._planting.wait()
                started, begun = time.monotonic(), start
            late = max(late, self._pace(started, start - begun))
            n = min(CHUNK, self._total - start)
            rows = self._mixture.rows(n, self._rng).astype("<f4")
            partitions = self._rng.integers(self._args.partitions, size=n).tolist()
            for i in range(n):
                number = start + i
                if number in self._malformed:
                    self._send_malformed(number, partitions[i])
                    continue
                stratum = number // self._args.plant_every
                if stratum > planted_at and self._planting.is_set() and self._due(number):
                    planted_at = stratum
                    first_planted = number if first_planted is None else first_planted
                    self._send_planted(number, partitions[i])
                    continue
                self._producer.send(self._args.topic, rows[i].tobytes(), partition=partitions[i])
        self._producer.flush(timeout=FLUSH_SECONDS)
        seconds = time.monotonic() - started
        return self._result() | {
            "records": self._total,
            "rate": (self._total - begun) / seconds,
            "late": late,
            "first_planted": first_planted,
        }

    def _due(self, number: int) -> bool:
        """Return whether the stratum's anomaly comes now: one in every stratum, so that no two dozen come together."""
        left = self._args.plant_every - number % self._args.plant_every
        return bool(self._rng.random() < 1.0 / left)

    def _pace(self, started: float, number: int) -> float:
        """Wait until a record is due; return by how many seconds it is late."""
        ahead = started + number / self._args.rate - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        return -ahead

    def _send_malformed(self, number: int, partition: int) -> None:
        value, reason = malformed_float32(self._sent_malformed, D, self._rng, self._args.oversize)
        self._sent_malformed += 1
        key = f"malformed {number}".encode()
        future = self._producer.send(
            self._args.topic, value, key, headers=[("number", str(number).encode())], partition=partition
        )
        entry = {"value": base64.b64encode(value).decode(), "key": key.decode(), "number": number, "reason": reason}
        self._ledger["malformed"].append((future, entry))

    def _send_planted(self, number: int, partition: int) -> None:
        key = f"planted {number}".encode()
        value = packed(self._mixture.far(1, self._rng)[0])
        future = self._producer.send(self._args.topic, value, key, partition=partition)
        self._ledger["planted"].append((future, {"key": key.decode(), "number": number}))

    def _result(self) -> dict[str, object]:
        """Return the ledger with the place that the broker gave each special record."""
        placed = {}
        for kind, entries in self._ledger.items():
            placed[kind] = []
            for future, entry in entries:
                metadata = future.get(timeout=0)
                placed[kind].append(entry | {"partition": metadata.partition, "offset": metadata.offset})
        return placed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    for name in ("rows", "malformed", "partitions", "plant-every", "oversize", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--warm", type=float, required=True, help="share of the records")
    parser.add_argument("--rate", type=float, required=True, help="records a second")
    args = parser.parse_args()
    args.ledger.write_text(json.dumps(Load(args).run()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
