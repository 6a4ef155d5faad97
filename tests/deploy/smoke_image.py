"""The built image, run by crun as the compose file runs it: .ci/image builds it and names it here.

The container has the host's network and nothing else of it: its own processes and mounts, a root that is read-only, no
capability, the user of the image. crun 1.8 refuses a machine that has both versions of cgroups, so that it is started
where the second is not mounted.
"""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from pathlib import Path

import pytest
import yaml
from brokers import ROOT, embedded_process
from daemon_process import COMPILING, PATIENCE, DaemonProcess
from kafka.admin import NewTopic

from streamgmm.bus import client
from streamgmm.config import load

pytestmark = pytest.mark.timeout(2 * COMPILING)

COMPOSE = ROOT / "deploy" / "compose"
SERVICE = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]["streamgmm"]
IMAGE_ROOT = os.environ["IMAGE_ROOT"]
IMAGE = json.loads(Path(os.environ["IMAGE_CONFIG"]).read_text())["Docker"]["config"]
NAMESPACES = ("pid", "ipc", "uts", "mount")
CRUN = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    'umount -q /sys/fs/cgroup/unified; exec crun --cgroup-manager=disabled "$@"',
    "sh",
]


def bind(source, destination, *options):
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["bind", *options]}


class Containers:
    """Containers of one pair of volumes."""

    def __init__(self, folder: Path, bootstrap_servers: str) -> None:
        self.folder = folder
        self.bootstrap_servers = bootstrap_servers
        self.volumes = [folder / volume.strip("/").replace("/", "-") for volume in IMAGE["Volumes"]]
        for mine, theirs in zip(self.volumes, IMAGE["Volumes"], strict=True):
            # A new volume of Docker has the owner and the mode of the folder in the image.
            there = Path(IMAGE_ROOT + theirs).stat()
            mine.mkdir()
            mine.chmod(there.st_mode & 0o777)
            os.chown(mine, there.st_uid, there.st_gid)

    def command(self, arguments):
        """Return what runs the image's entry point, or other arguments, in a new container, and the name of that."""
        name = f"smoke-{uuid.uuid4().hex[:8]}"
        bundle = self.folder / name
        bundle.mkdir()
        uid, gid = map(int, IMAGE["User"].split(":"))
        mounts = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"]},
            bind(COMPOSE / "streamgmm.yaml", "/etc/streamgmm/streamgmm.yaml", "ro"),
            *(bind(mine, theirs, "rw") for mine, theirs in zip(self.volumes, IMAGE["Volumes"], strict=True)),
        ]
        process = {
            "user": {"uid": uid, "gid": gid},
            "args": arguments,
            "env": [*IMAGE["Env"], f"STREAMGMM_BOOTSTRAP_SERVERS={self.bootstrap_servers}"],
            "cwd": IMAGE["WorkingDir"],
            "capabilities": {},
            "noNewPrivileges": True,
        }
        spec = {
            "ociVersion": "1.0.2",
            "root": {"path": IMAGE_ROOT, "readonly": SERVICE["read_only"]},
            "process": process,
            "mounts": mounts,
            "linux": {"namespaces": [{"type": kind} for kind in NAMESPACES]},
        }
        (bundle / "config.json").write_text(json.dumps(spec))
        return [*CRUN, "run", "--bundle", str(bundle), name], name

    def run(self, *arguments):
        command, _ = self.command(list(arguments))
        return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    def machine_code(self):
        """Return when each compiled kernel was written."""
        return {file: file.stat().st_mtime_ns for volume in self.volumes for file in volume.rglob("*.nbc")}

    def daemon(self):
        folder = self.folder / f"daemon-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        return Daemon(folder, self)


class Daemon(DaemonProcess):
    """The image's own command, in a container."""

    def __init__(self, folder: Path, containers: Containers) -> None:
        super().__init__(folder, {}, kernel_cache=folder)
        self._containers = containers
        self.name = ""

    def command(self, file, *options):  # noqa: ARG002 - the compose file mounts its own
        command, self.name = self._containers.command([*IMAGE["Entrypoint"], *IMAGE["Cmd"], *options])
        return command

    def terminate(self, timeout=PATIENCE):
        subprocess.run([*CRUN, "kill", self.name, IMAGE["StopSignal"]], check=True)
        return self.wait(timeout)

    def kill(self):
        subprocess.run([*CRUN, "kill", self.name, "KILL"], check=False)
        super().kill()

    def healthcheck(self):
        kind, *command = IMAGE["Healthcheck"]["Test"]
        assert kind == "CMD"
        user = ["--user", IMAGE["User"]]
        paths = [f"--env={value}" for value in IMAGE["Env"]]
        done = subprocess.run(
            [*CRUN, "exec", *user, *paths, self.name, *command], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def broker():
    with embedded_process() as address:
        configured = load(COMPOSE / "streamgmm.yaml")
        topics = [*configured.source.all_topics, configured.sinks[0].topic, configured.dead_letters.topic]
        admin = client.admin(client.Connection(client.servers(address)))
        admin.create_topics([NewTopic(topic, 3, 1) for topic in topics])
        admin.close()
        yield address


@pytest.fixture
def containers(broker, tmp_path):
    return Containers(tmp_path, broker)


def test_check_takes_the_configuration_of_the_compose_file(containers):
    done = containers.run(*IMAGE["Entrypoint"], "check", "--config", IMAGE["Cmd"][-1])
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_user_is_not_root_and_writes_to_the_volumes_alone(containers):
    program = """
import os, sys
assert os.getpid() == 1
assert os.getuid() == os.getgid() == 10001 and 0 not in os.getgroups()
for folder in sys.argv[1:]:
    open(os.path.join(folder, "probe"), "w").close()
for folder in ("/", "/opt/streamgmm", "/etc/streamgmm", "/usr/bin"):
    try:
        open(os.path.join(folder, "probe"), "w").close()
    except OSError:
        continue
    sys.exit(f"could write to {folder}")
"""
    done = containers.run("python", "-c", program, *IMAGE["Volumes"])
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_packages_fit_together(containers):
    done = containers.run("python", "-m", "pip", "check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_lives_while_kernels_compile_becomes_ready_and_stops_when_told(containers):
    with containers.daemon() as daemon:
        daemon.start()
        daemon.until(lambda: b"kernels are being compiled" in daemon.get("/readyz")[1], what="kernels are compiled")
        assert daemon.get("/livez") == (200, b"ok\n")
        assert daemon.healthcheck() == (0, "")
        daemon.until_ready(COMPILING)
        assert daemon.healthcheck() == (0, "")
        assert daemon.terminate() == 143
        said = [json.loads(line)["message"] for line in daemon.log().splitlines()]
        assert "http listening" in said[0]
        assert any("started" in line for line in said)
        assert said[-1] == "stopped"

        compiled = containers.machine_code()
        assert compiled
        daemon.start()  # the volume keeps what was compiled
        daemon.until_ready()
        assert daemon.terminate() == 143
        assert containers.machine_code() == compiled


def test_a_stop_while_kernels_compile_is_an_orderly_one(containers):
    with containers.daemon() as daemon:
        daemon.start()
        daemon.until(lambda: b"kernels are being compiled" in daemon.get("/readyz")[1], what="kernels are compiled")
        assert daemon.terminate() == 143
        assert "stopping before the start was over" in daemon.log()
