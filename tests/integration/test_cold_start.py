"""The real daemon where nothing is compiled yet, by its probes and its log; then killed, started again, stopped."""

import re

import pytest
from daemon_process import COMPILING, ROOT, DaemonProcess
from kafka.admin import NewTopic

from streamgmm.bus import client

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2 * COMPILING)]

PROGRESS = re.compile(r"kernels are being compiled: (\d+) of (\d+), ([\w.]+)\n")
LIVE = (200, b"ok\n")
STARTED = ("^http listening on ", "^streamgmm .* started$", "^rebalance event=assigned ")


class Probes:
    """Asks what an orchestrator asks, and keeps the reasons for which the daemon was not ready."""

    def __init__(self, daemon):
        self._daemon = daemon
        self.reasons = []

    def ready(self):
        """Ask both; in every state before ready the daemon must be live."""
        if self._daemon.get("/livez")[0] == 0 and not self.reasons:
            return False  # nothing listens yet
        assert self._daemon.get("/livez") == LIVE
        code, body = self._daemon.get("/readyz")
        assert code in {200, 503}
        if code == 503:
            self.reasons.append(body.decode())
        return code == 200

    def progress(self):
        """Return done, how many there are, and the module of every answer that named one."""
        found = [PROGRESS.fullmatch(reason) for reason in self.reasons]
        return [(int(match[1]), int(match[2]), match[3]) for match in found if match]


def messages(daemon):
    """Return what our own loggers wrote, without time and level."""
    return re.findall(r"(?m)^\S+ [A-Z]+ streamgmm[\w.]* (.*)$", daemon.log())


def machine_code(folder):
    """Return when each compiled kernel below a folder was written."""
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*.nbc")}


def in_this_order(daemon, *patterns):
    """Return whether lines that match these patterns were written one after the other."""
    lines = iter(messages(daemon))
    return all(any(re.search(pattern, line) for line in lines) for pattern in patterns)


def test_it_is_live_from_the_beginning_and_says_what_is_compiled(broker, tmp_path):
    admin = client.admin(client.Connection(client.servers(broker.bootstrap_servers)))
    admin.create_topics([NewTopic(topic, 1, 1) for topic in ("in", "out")])
    admin.close()
    config = {
        "source": {"bootstrap_servers": broker.bootstrap_servers, "topic": "in", "group_id": "cold"},
        "codec": {"fields": ["a", "b"]},
        "sinks": [{"type": "kafka", "topic": "out"}],
    }
    with DaemonProcess(tmp_path, config, kernel_cache=tmp_path / "kernels") as daemon:
        probes = Probes(daemon.start())
        daemon.until(probes.ready, COMPILING, "it is ready")
        progress = probes.progress()
        assert len({module for _, _, module in progress}) > 1
        assert progress == sorted(progress, key=lambda answer: answer[0])
        assert all(done < modules for done, modules, _ in progress)
        for _, _, module in progress:
            assert (ROOT / "streamgmm" / module.replace(".", "/")).with_suffix(".py").exists()
        assert in_this_order(daemon, *STARTED), daemon.tail()

        daemon.kill()
        assert not {"stopping", "stopped"} & set(messages(daemon))

        compiled = machine_code(tmp_path)
        again = Probes(daemon.start())
        daemon.until(again.ready, what="it is ready again")
        assert daemon.terminate() == 143
        assert compiled
        assert machine_code(tmp_path) == compiled
        assert in_this_order(daemon, *STARTED, "^stopping$"), daemon.tail()
        assert messages(daemon)[-1] == "stopped"
