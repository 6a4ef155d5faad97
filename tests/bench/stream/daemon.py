"""The daemon as users run it: `streamgmm run` on a configuration file."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import yaml
from processes import ENVIRONMENT, ROOT, run
from topics import FIELDS, begin_at

# There is no way to pause learning from outside: a schedule that is never due comes nearest. Window and calibration
# still follow the stream, as they would for a daemon that is paused for a while.
NEVER = 1_000_000_000
PAUSED = {"refresh_every": NEVER, "refit_every": {"records": NEVER}, "challenger_every": 0}
PAUSED_COMMITTEE = {
    "members": {
        name: {"refresh_every": NEVER, "refit_every": NEVER} for name in ("slow", "fast", "marginals", "temporal")
    }
}
BENCHED = {
    "model": {"n_components": 8, "covariance_type": "full", "committee": "single"},
    "detection": {"target_rate": 1e-4},
}
LISTENING = re.compile(rb"http listening on (http://\S+)")
PATIENCE = 60.0


class Daemons:
    """Configurations of daemons on one broker; every start gets a group and a folder of its own."""

    def __init__(self, servers, folder, out):
        self._servers, self._folder, self._out = servers, folder, out
        self._numbers = itertools.count()

    def command(self, topic, sections, begin, *options, warm=None):
        """Return the arguments of an interpreter that runs a daemon from an offset on, from a state if there is one."""
        number = next(self._numbers)
        group, file = f"bench-daemon-{number}", self._folder / f"daemon-{number}.yaml"
        begin_at(self._servers, group, topic.name, begin)
        if warm is not None:
            shutil.copytree(warm, self._state(number))
        config = {
            "source": {"bootstrap_servers": self._servers, "topic": topic.name, "group_id": group},
            "codec": {"type": topic.codec, "fields": FIELDS},
            "sinks": [{"topic": self._out}],
            "state": {"dir": str(self._state(number))},
            "http": {"listen": "127.0.0.1:0"},
            **sections,
        }
        file.write_text(yaml.safe_dump(config))
        return ["-m", "streamgmm", "run", "-c", str(file), *options]

    def _state(self, number):
        return self._folder / f"state-{number}"

    def warmed(self, topic, sections):
        """Return the state of a daemon that has read a whole topic.

        A first model, a full calibration buffer and the stream's rate take seconds of learning, more or fewer by
        chance: no run that is measured should begin with them.
        """
        state = self._folder / f"warm-{next(self._numbers)}"
        run(self.command(topic, sections | {"state": {"dir": str(state)}}, 0, "--until-end"), self._folder / "warm.log")
        return state

    def until_end(self, topic, sections, warm=None):
        """Return what makes the command that reads the last n records."""
        return lambda n: self.command(topic, sections, topic.records - n, "--until-end", warm=warm)


@contextmanager
def running(command, log):
    """Run a daemon meanwhile; yields the process and the address of its HTTP side once it listens."""
    with log.open("wb") as out:
        daemon = subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=ENVIRONMENT, cwd=ROOT
        )
    try:
        until(lambda: daemon.poll() is not None or LISTENING.search(log.read_bytes()))
        found = LISTENING.search(log.read_bytes())
        if found is None:
            raise RuntimeError(log.read_text(errors="replace")[-1000:])
        yield daemon, found[1].decode()
    finally:
        daemon.terminate()
        daemon.wait(PATIENCE)


def until(holds):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE:g} s")
        time.sleep(0.1)


def counter(address, name):
    """Return a counter of the daemon, summed over its labels; 0 while it does not answer."""
    try:
        with urllib.request.urlopen(f"{address}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except (urllib.error.URLError, OSError):
        return 0.0
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"streamgmm_{name}[ {{]", line))
