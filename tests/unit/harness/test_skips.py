"""What a run in CI says of skips, tried on runs of their own."""

import os
import subprocess
import sys
from pathlib import Path

import brokers
import pytest
from skips import DECLARED, declared

ROOT = Path(__file__).parents[3]
UNDECLARED = """
import pytest

def test_it():
    pytest.skip("no such thing here")
"""
WHOLE_FILE = 'import pytest\npytest.skip("nothing of this", allow_module_level=True)\n'
XFAILED = """
import pytest

@pytest.mark.xfail(reason="known")
def test_it():
    raise ValueError
"""


def run(folder, text, ci):
    """Run one file of tests under the conftest of all tests; returns exit code and output."""
    (folder / "test_one.py").write_text(text)
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | ({"CI": "true"} if ci else {})
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull]
    plugins = "from skips import Skips\ndef pytest_configure(config): config.pluginmanager.register(Skips())\n"
    (folder / "conftest.py").write_text(plugins)
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests"), environment.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, "test_one.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(("text", "reason"), [(UNDECLARED, "no such thing here"), (WHOLE_FILE, "nothing of this")])
def test_a_skip_that_is_not_declared_fails_in_ci(tmp_path, text, reason):
    code, said = run(tmp_path, text, ci=True)
    assert code == 1
    assert f"1 × {reason} (NOT DECLARED" in said


def test_it_passes_at_home(tmp_path):
    code, said = run(tmp_path, UNDECLARED, ci=False)
    assert code == 0
    assert "1 skipped" in said


def test_a_failure_that_is_expected_is_no_skip(tmp_path):
    code, said = run(tmp_path, XFAILED, ci=True)
    assert code == 0
    assert "0 skips by reason" in said


def test_a_declared_skip_is_known_by_its_place():
    place, _ = DECLARED[0]
    assert declared(f"{place}[a]", "as above")
    assert not declared("tests/unit/test_other.py::test_skipped[a]", "as above")


def test_what_is_declared_is_there():
    assert all((ROOT / place.split("::")[0]).exists() for place, _ in DECLARED)


@pytest.mark.parametrize("code", [brokers.NO_TOOLS, brokers.NO_MAVEN_CENTRAL])
@pytest.mark.parametrize("ci", [False, True])
def test_without_real_kafka_tests_are_skipped_at_home_and_fail_in_ci(tmp_path, monkeypatch, code, ci):
    script = tmp_path / "apache_kafka.sh"
    script.write_text(f"#!/bin/sh\necho no Kafka >&2\nexit {code}\n")
    script.chmod(0o755)
    monkeypatch.setattr(brokers, "SCRIPT", script)
    monkeypatch.setenv("CI", "true") if ci else monkeypatch.delenv("CI", raising=False)
    with (
        pytest.raises(AssertionError if ci else pytest.skip.Exception, match="no Kafka"),
        brokers.apache("single", tmp_path),
    ):
        pytest.fail("there was nothing to start")
