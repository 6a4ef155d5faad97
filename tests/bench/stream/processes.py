"""Contenders as processes: what a run costs, and what a record costs by the slope between two run lengths."""

from __future__ import annotations

import itertools
import os
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ENVIRONMENT = os.environ | dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
PATIENCE = 120.0


class BrokenRunError(RuntimeError):
    """A contender did not come to its end; the message is the end of what it said."""


@dataclass(frozen=True)
class Run:
    """What one process took: user and system time of all its threads and children, wall time, peak memory."""

    cpu_seconds: float
    seconds: float
    rss_bytes: int


@dataclass(frozen=True)
class Contender:
    """Something that reads the last n records of a topic: its name, the topic, and the command for n.

    `short` is a run length at which everything that happens only once has happened, `long` a first guess at the other.
    """

    name: str
    topic: object
    command: object
    short: int
    long: int
    rounds: int = 99


@dataclass
class Measured:
    """What a contender costs per record, by each pair of runs."""

    contender: Contender
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)

    def add(self, slope):
        self.cpu.append(slope.cpu_seconds)
        self.wall.append(slope.seconds)
        self.rss.append(slope.rss_bytes)

    def cpu_per_row(self):
        """Return the median, least and greatest CPU seconds per row."""
        rows = self.contender.topic.rows_per_record
        return tuple(value / rows for value in (statistics.median(self.cpu), min(self.cpu), max(self.cpu)))

    def rows_per_second(self):
        """Return the rows per second of the wall clock as text; a noisy machine may leave nothing to say."""
        seconds = statistics.median(self.wall) / self.contender.topic.rows_per_record
        return f"{1 / seconds:,.0f}" if seconds > 0 else "–"


def run(command, log):
    """Run a command to its end.

    Raises
    ------
    BrokenRunError
        It failed, or did not end in time.
    """
    start = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=ENVIRONMENT, cwd=ROOT
        )
        try:
            usage, rss = _wait(process, start + PATIENCE)
        finally:
            process.kill()
    if process.returncode:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise BrokenRunError(f"{command}: {process.returncode}\n{last}")
    return Run(usage.ru_utime + usage.ru_stime, time.monotonic() - start, rss)


def _wait(process, deadline):
    """Return what the process used, its children's included, and its peak memory."""
    rss = 0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage, rss
        rss = max(rss, peak_memory(process))
        if time.monotonic() > deadline:
            process.kill()
        time.sleep(0.02)


def peak_memory(process):
    """Return the peak resident memory in bytes; what `wait4` says would include the parent's, from before the exec."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


def cpu_seconds(process):
    """Return the user and system time that a running process has taken."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def longer(contender, budget, slope):
    """Return the run length that costs about `budget` CPU seconds more than the short one, by a first slope."""
    more = int(budget / max(slope.cpu_seconds, 1e-9))
    return min(contender.topic.records, max(contender.short + more, contender.long // 2))


def _slope(contender, short, long, log):
    first, second = (run(contender.command(n), log) for n in (short, long))
    more = long - short
    return Run(
        (second.cpu_seconds - first.cpu_seconds) / more, (second.seconds - first.seconds) / more, second.rss_bytes
    )


def measure(contenders, budget, rounds, seconds, folder, say):
    """Return what each contender costs, by name; rounds go through all of them, so that a slow minute hits everybody.

    The first round takes the guessed run lengths, the others what it says; after `seconds` no more are run.
    """
    deadline = time.monotonic() + seconds
    measured = {c.name: Measured(c) for c in contenders}
    long = {c.name: min(c.long, c.topic.records) for c in contenders}
    for turn, contender in itertools.product(range(rounds), contenders):
        if turn < contender.rounds and (turn == 0 or time.monotonic() < deadline):
            slope = _slope(contender, contender.short, long[contender.name], folder / "contender.log")
            measured[contender.name].add(slope)
            say(f"{contender.name}: {1e6 * slope.cpu_seconds:.3f} µs CPU a record, to {long[contender.name]}")
            if turn == 0:
                long[contender.name] = longer(contender, budget, slope)
    return measured
