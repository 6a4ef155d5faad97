"""The systemd unit: orderly ends are no failures, and what it names is what the daemon has."""

import configparser
from pathlib import Path

import pytest

from streamgmm.cli import BAD_CONFIG, parser

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "systemd" / "streamgmm.service"


@pytest.fixture
def unit():
    found = configparser.ConfigParser(strict=True, interpolation=None)
    found.optionxform = str
    found.read_string(UNIT.read_text())
    return found


def test_exit_codes_mean_what_the_daemon_means(unit):
    service = unit["Service"]
    assert service["SuccessExitStatus"] == "143"
    assert set(service["RestartPreventExitStatus"].split()) == {str(BAD_CONFIG)}


def test_it_starts_what_there_is(unit):
    _, *arguments = unit["Service"]["ExecStart"].split()
    assert parser().parse_args(arguments).command == "run"


def test_a_stop_has_the_time_that_the_daemon_takes(unit):
    from streamgmm.config.outputs import Limits

    assert int(unit["Service"]["TimeoutStopSec"]) > Limits().shutdown


def test_systemd_takes_it(tmp_path, tool):
    text = UNIT.read_text().replace("/opt/streamgmm/bin/streamgmm", "/bin/true").replace("=streamgmm\n", "=root\n")
    (tmp_path / UNIT.name).write_text(text)
    tool("systemd-analyze", "verify", tmp_path / UNIT.name)
