import os
import sys
import textwrap

import pytest
import yaml

from streamgmm.demo.daemon import Daemon, config_text
from streamgmm.demo.names import Names
from streamgmm.errors import StopError

# Stands in for `streamgmm run`: logs its address, answers /metrics, and obeys SIGTERM unless told otherwise.
FAKE = textwrap.dedent("""
    import http.server, signal, sys
    mode = sys.argv[1]
    if mode == "dies":
        print("the disk is full", flush=True)
        sys.exit(3)
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            status = self.path == "/status"
            body = b'{"engine": {"version": "3.14"}}' if status else b"streamgmm_rows_scored_total 12.0"
            self.wfile.write(body)
        def log_message(self, *args): pass
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(mode)))
    print(f"http listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
""")


@pytest.fixture
def start(tmp_path):
    running = []

    def run(mode):
        command = (sys.executable, "-c", FAKE, mode)
        running.append(Daemon(tmp_path / "c.yaml", tmp_path / "log", os.getpgrp(), command))
        return running[-1]

    yield run
    for daemon in running:
        daemon.stop()


def test_only_the_target_rate_is_said_about_detection(tmp_path):
    names = Names.make("abc123")
    config = yaml.safe_load(config_text("127.0.0.1:9092", names, ("a", "b: c", "yes"), tmp_path))
    assert config["detection"] == {"target_rate": 0.007}
    assert config["codec"]["fields"] == ["a", "b: c", "yes"]
    assert config["source"]["topic"] == names.input
    assert config["sinks"] == [{"type": "kafka", "topic": names.anomalies}]
    assert not {"model", "learning", "features"} & set(config)


def test_names_on_a_broker_of_the_users_are_apart():
    one, other = Names.make("a"), Names.make("b")
    assert not {*one.topics, one.group} & {*other.topics, other.group}


def test_address_metrics_and_version_come_from_the_running_process(start, until):
    daemon = start("0")
    assert until(daemon.address, 120)
    daemon.check()
    assert daemon.metrics().total("rows_scored_total") == 12
    assert daemon.version() == "3.14"


def test_without_an_address_there_are_no_metrics(start, until):
    daemon = start("dies")
    assert until(lambda: daemon.stop() is not None, 120)
    assert daemon.address() is None
    assert daemon.metrics().seen == 0
    assert daemon.version() == "0.0"


def test_a_daemon_that_dies_shows_its_log(start, until):
    daemon = start("dies")

    def dead():
        try:
            daemon.check()
        except StopError as error:
            return str(error)
        return ""

    assert until(dead, 120)
    assert "exit code 3" in dead()
    assert "the disk is full" in dead()


@pytest.mark.parametrize("code", [0, 143])
def test_it_stops_in_order(start, until, code):
    daemon = start(str(code))
    assert until(daemon.address, 120)
    daemon.stop_in_order()
    assert daemon.stop() == code


def test_it_says_when_it_does_not_stop_in_order(start, until):
    daemon = start("1")
    assert until(daemon.address, 120)
    with pytest.raises(StopError, match="exit code 1"):
        daemon.stop_in_order()
