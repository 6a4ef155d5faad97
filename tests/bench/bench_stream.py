"""The daemon against what users would write, on real Apache Kafka; writes its part of docs/benchmarks.md.

`python tests/bench/bench_stream.py [--quick] [--parts costs,latency,profile] [--write]`: about ten minutes, two with
`--quick`. All costs are user and system time of whole processes, by the slope between two run lengths.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE / "stream"), str(HERE.parent), str(ROOT)]

import brokers  # noqa: E402  # found through the path above
import contenders  # noqa: E402  # as above
import daemon  # noqa: E402  # as above
import latency  # noqa: E402  # as above
import pages  # noqa: E402  # as above
import processes  # noqa: E402  # as above
import shares  # noqa: E402  # as above
import tables  # noqa: E402  # as above
import topics  # noqa: E402  # as above

from streamgmm.compiled import load_kernels  # noqa: E402  # as above

PARTS = ("costs", "latency", "profile")
COSTS_SECONDS = 400.0
FULL = {"rounds": 3, "budget": 1.5, "seconds": 8, "profile": 2, "float32": 4_000_000, "json": 1_500_000}
QUICK = {"rounds": 1, "budget": 0.0, "seconds": 5, "profile": 1, "float32": 1_500_000, "json": 600_000}
LIVE = (  # records a second offered, what is special, its `learning` section
    (1_000, "", {}),
    (5_000, "", {}),
    (5_000, "learning paused", daemon.PAUSED),
    (5_000, "refits all the time", latency.REFITTING),
    (10_000, "", {}),
    (100_000, "", {}),
)


def say(text):
    sys.stderr.write(f"{text}\n")


def filled(servers, size, quick):
    """Return the topics by what they hold."""
    kinds = {
        "float32": ("float32", size["float32"], 1, None),
        "json": ("json", size["json"], 1, None),
        "matrices": ("float32", size["float32"] // topics.ROWS_PER_MATRIX, topics.ROWS_PER_MATRIX, None),
        "slow": ("float32", size["float32"] // 5, 1, topics.SLOW_ROWS_PER_SECOND),
    }
    kinds |= {  # the calibration buffer of the target rate takes 100,000 scores
        f"{name}-warm": (codec, 120_000, 1, rate) for name, (codec, _, _, rate) in kinds.items() if name != "matrices"
    }
    if quick:
        kinds = {name: kind for name, kind in kinds.items() if not name.startswith("slow")}
    return {
        name: topics.fill(servers, name, codec, records, 1, rows, rate)
        for name, (codec, records, rows, rate) in kinds.items()
    }


def costs(run, size, quick):
    load_kernels()  # on a machine that has never seen them: no contender should have to compile
    found = processes.measure(
        contenders.contenders(run, quick), size["budget"], size["rounds"], COSTS_SECONDS, run.folder, say
    )
    return tables.costs(found)


def live(run, size, quick):
    chosen = [LIVE[i] for i in (1, 3, 5)] if quick else LIVE
    measured = []
    for number, (rate, special, learning) in enumerate(chosen):
        found = latency.measure(run.daemons, run.servers, number, rate, size["seconds"], learning, run.folder)
        say(f"{rate}/s {special}: p99 {1e3 * found.quantile(0.99):.0f} ms")
        measured.append((special, found))
    return tables.latency(measured)


def profiles(run, size, _):
    found = {}
    for name in ("float32", "json"):
        topic = run.topics[name]
        commands = (run.until_end(name, daemon.BENCHED)(topic.records) for _ in range(size["profile"]))
        found[name] = shares.read("".join(shares.record(command, run.folder) for command in commands))
        say(f"{name}\n{shares.listing(found[name])}")
    return tables.shares(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about two minutes instead of ten")
    parser.add_argument("--parts", default=",".join(PARTS), help="which of them, with commas")
    parser.add_argument("--write", action="store_true", help="replace the tables in docs/benchmarks.md")
    options = parser.parse_args()
    size, begun = QUICK if options.quick else FULL, time.monotonic()
    measures = dict(zip(PARTS, (costs, live, profiles), strict=True))
    with tempfile.TemporaryDirectory() as place, brokers.apache("single", Path(place) / "kafka") as printed:
        folder, servers = Path(place), printed["BOOTSTRAP"]
        topics.create(servers, contenders.OUT)
        held = filled(servers, size, options.quick)
        say(f"{len(held)} topics after {time.monotonic() - begun:.0f} s")
        run = contenders.Bench(servers, folder, held)
        texts = [tables.heading(held, options.quick)]
        for part in options.parts.split(","):
            texts.append(measures[part](run, size, options.quick))
            sys.stdout.write(f"{texts[-1]}\n\n")
            sys.stdout.flush()
    say(f"{time.monotonic() - begun:.0f} s in all")
    if options.write:
        pages.write("stream", "\n\n".join(texts))


if __name__ == "__main__":
    main()
