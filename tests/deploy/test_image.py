"""The image and the compose file, as far as they can be judged without a container runtime."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from streamgmm.cli import parser
from streamgmm.config import load

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose" / "compose.yaml"
SERVICES = yaml.safe_load(COMPOSE.read_text())["services"]
TEXT = (ROOT / "Dockerfile").read_text()
LINES = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", TEXT)).splitlines()
STEPS = [line.split(maxsplit=1) for line in LINES if line.strip()]


def last(instruction):
    return [rest for name, rest in STEPS if name == instruction][-1]


def sources():
    """Return what COPY takes from the build context."""
    copies = [shlex.split(rest) for name, rest in STEPS if name == "COPY"]
    return [source for words in copies if not words[0].startswith("--from") for source in words[:-1]]


def test_every_copied_source_exists_and_is_not_ignored():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sources()
    assert set(sources()) == allowed
    assert all((ROOT / source).exists() for source in sources())


def test_what_the_build_reads_is_in_the_context():
    """Names of files in pyproject.toml that are needed to build must be among what is copied."""
    named = re.findall(r'"([\w./]+(?:LICENSE|NOTICE|README\.md))"', (ROOT / "pyproject.toml").read_text())
    assert named
    for file in (name.lstrip("/") for name in named if name != "/CHANGELOG.md"):
        assert any(fnmatch.fnmatch(file, source) or file.startswith(f"{source}/") for source in sources())


def test_runs_as_a_numbered_user_who_is_not_root():
    assert last("USER") == "10001:10001"
    assert [name for name, _ in STEPS].index("USER") < [name for name, _ in STEPS].index("ENTRYPOINT")


def test_the_kernel_cache_is_its_owners_alone():
    cache = re.search(r"NUMBA_CACHE_DIR=(\S+)", TEXT)[1]
    made = next(rest for name, rest in STEPS if name == "RUN" and "install -d" in rest)
    assert re.search(rf"install -d -m 0700 -o 10001 -g 10001 .*{re.escape(cache)}", made)
    assert cache in json.loads(last("VOLUME"))


def test_stops_by_the_signal_that_the_daemon_knows():
    assert last("STOPSIGNAL") == "SIGTERM"


def test_no_secret_is_baked_in():
    assert not re.search(r"(?i)(password|secret|token|api_?key)", TEXT)


def test_the_command_is_one_that_the_program_takes():
    assert json.loads(last("ENTRYPOINT")) == ["streamgmm"]
    args = parser().parse_args(json.loads(last("CMD")))
    assert str(args.config) == "/etc/streamgmm/streamgmm.yaml"


@pytest.mark.parametrize(("stuck", "code"), [(False, 0), (True, 1)])
def test_the_healthcheck_follows_livez(stuck, code):
    from streamgmm.supervisor import Stuck
    from streamgmm.telemetry.build import build
    from streamgmm.telemetry.http import Server

    settings = {"config": {}, "target_rate": 0.01, "topics": [], "sinks": {}, "members": [], "fields": []}
    _, served = build(**settings, stuck=lambda: [Stuck("poll", 1.0, "x")] if stuck else [])
    server = Server("127.0.0.1:0", served)
    _, port = server.start()
    try:
        python, *args = json.loads(last("HEALTHCHECK").split("CMD ", 1)[1])
        assert python == "python"
        asked = [arg.replace(":8642/", f":{port}/") for arg in args]
        assert asked != args
        assert subprocess.run([sys.executable, *asked], capture_output=True, check=False, timeout=30).returncode == code
    finally:
        server.stop(5.0)


def test_the_port_is_the_one_that_everything_names():
    config = load(ROOT / "deploy" / "compose" / "streamgmm.yaml")
    port = last("EXPOSE")
    assert config.http.listen == f"0.0.0.0:{port}"
    assert f":{port}/livez" in last("HEALTHCHECK")
    assert f'"streamgmm:{port}"' in (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()


def test_hadolint_finds_nothing(tool):
    tool("hadolint", ROOT / "Dockerfile")


def test_the_compose_file_keeps_to_its_schema(tool):
    tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)


def test_the_compose_configuration_loads_and_its_topics_are_made():
    config = load(ROOT / "deploy" / "compose" / "streamgmm.yaml")
    made = re.search(r"for topic in (.*); do", SERVICES["topics"]["command"][-1])[1].split()
    assert [*config.source.all_topics, config.sinks[0].topic, config.dead_letters.topic] == made


def test_mounted_files_exist():
    mounts = [v.split(":") for service in SERVICES.values() for v in service.get("volumes", ()) if v.startswith(".")]
    assert len(mounts) >= 3
    assert all((COMPOSE.parent / source).exists() and mode == "ro" for source, _, mode in mounts)


def test_published_ports_are_on_loopback_only():
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) >= 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_stop_has_more_time_than_the_daemon_takes():
    config = load(ROOT / "deploy" / "compose" / "streamgmm.yaml")
    assert float(SERVICES["streamgmm"]["stop_grace_period"].removesuffix("s")) > config.limits.shutdown


def test_the_daemon_can_write_where_the_image_lets_it():
    config = load(ROOT / "deploy" / "compose" / "streamgmm.yaml")
    targets = [volume.split(":")[1] for volume in SERVICES["streamgmm"]["volumes"]]
    assert set(json.loads(last("VOLUME"))) <= set(targets)
    assert str(config.state.dir) in targets
