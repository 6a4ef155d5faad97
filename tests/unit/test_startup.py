"""The order of a start: listen, compile, and only then everything else."""

import http.client
import logging
import sys
from types import SimpleNamespace

import pytest

from streamgmm import startup
from streamgmm.stop import Stop
from streamgmm.telemetry.starting import Starting


@pytest.fixture
def config():
    return SimpleNamespace(
        logging=SimpleNamespace(level="INFO", format="text"), http=SimpleNamespace(listen="127.0.0.1:0")
    )


@pytest.fixture(autouse=True)
def _log_as_before(monkeypatch):
    monkeypatch.setattr(startup, "configure", lambda *_: None)


def test_it_answers_while_it_compiles_and_a_stop_ends_it(config, monkeypatch, caplog):
    stop, answers, addresses = Stop(), {}, []
    started = startup.Server.start
    monkeypatch.setattr(startup.Server, "start", lambda server: addresses.append(started(server)) or addresses[-1])

    def load(tell):
        tell("codecs.csv_kernels", 1, 28)
        for path in ("/livez", "/readyz"):
            connection = http.client.HTTPConnection(*addresses[0], timeout=60)
            connection.request("GET", path)
            answer = connection.getresponse()
            answers[path] = (answer.status, answer.read().decode())
            connection.close()
        stop.request(15)
        tell("codecs.json_kernels", 2, 28)
        pytest.fail("the stop was not seen")

    monkeypatch.setattr(startup, "load_kernels", load)
    with caplog.at_level(logging.INFO):
        startup.serve(config, stop)
    assert answers["/livez"] == (200, "ok\n")
    assert answers["/readyz"] == (503, "kernels are being compiled: 1 of 28, codecs.csv_kernels\n")
    assert "stopping before the start was over" in caplog.text


def test_a_slow_start_is_logged_now_and_then(caplog):
    times = iter([0.0, 1.0, 16.0, 16.0, 17.0])
    tell = startup._telling(Starting(), Stop(), lambda: next(times))
    with caplog.at_level(logging.INFO):
        for done in range(3):
            tell("mixture.kernels", done, 28)
    assert [record.getMessage() for record in caplog.records] == [
        "compiling kernels, once for this processor: 1 of 28, mixture.kernels"
    ]


def test_what_listens_first_imports_no_kernels_of_the_engine():
    """Else they would be compiled before anything answers."""
    import subprocess

    program = (
        "import sys; import streamgmm.startup, streamgmm.config, streamgmm.cli.run; "
        "print(*[m for m in sys.modules if m.startswith('streamgmm') and m.endswith('kernels')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
