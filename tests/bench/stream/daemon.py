"""The daemon as users run it: `streamgmm run` on a configuration file."""

from __future__ import annotations

import itertools

import yaml
from topics import FIELDS, begin_at

# There is no way to pause learning from outside: a schedule that is never due comes nearest. Window and calibration
# still follow the stream, as they would for a daemon that is paused for a while.
NEVER = 1_000_000_000
PAUSED = {"refresh_every": NEVER, "refit_every": {"records": NEVER}, "challenger_every": 0}
BENCHED = {
    "model": {"n_components": 8, "covariance_type": "full", "committee": "single"},
    "detection": {"target_rate": 1e-4},
}


class Daemons:
    """Configurations of daemons on one broker; every start gets a group and a folder of its own."""

    def __init__(self, servers, folder, out):
        self._servers, self._folder, self._out = servers, folder, out
        self._numbers = itertools.count()

    def command(self, topic, sections, begin, *options):
        """Return the arguments of an interpreter that runs a daemon from an offset on."""
        number = next(self._numbers)
        group, file = f"bench-daemon-{number}", self._folder / f"daemon-{number}.yaml"
        begin_at(self._servers, group, topic.name, begin)
        config = {
            "source": {"bootstrap_servers": self._servers, "topic": topic.name, "group_id": group},
            "codec": {"type": topic.codec, "fields": FIELDS},
            "sinks": [{"topic": self._out}],
            "state": {"dir": str(self._folder / f"state-{number}")},
            "http": {"listen": "127.0.0.1:0"},
            **sections,
        }
        file.write_text(yaml.safe_dump(config))
        return ["-m", "streamgmm", "run", "-c", str(file), *options]

    def until_end(self, topic, sections):
        """Return what makes the command that reads the last n records."""
        return lambda n: self.command(topic, sections, topic.records - n, "--until-end")
