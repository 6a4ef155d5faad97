from __future__ import annotations

import http.client
import json
import socket
import statistics
import threading
import time

import pytest

from streamgmm.errors import ConfigError, StopError
from streamgmm.records import Report, TopicPartition
from streamgmm.supervisor import Stuck
from streamgmm.telemetry import http as http_module
from streamgmm.telemetry.build import build
from streamgmm.telemetry.http import FRESH_SECONDS, HEAD_BYTES, MOST_CONNECTIONS, Server, parse_listen


class Site:
    """A server on a free port, with everything behind it."""

    def __init__(self):
        self.stuck = []
        self.telemetry, self.table = build(
            config={"a": 1},
            target_rate=0.01,
            topics=["t"],
            sinks={"s": "topic s"},
            members=["single"],
            fields=["x"],
            stuck=lambda: self.stuck,
        )
        self.server = Server("127.0.0.1:0", self.table)
        self.address = self.server.start()

    def ask(self, path, method="GET", body=None, **headers):
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read().decode()
        finally:
            connection.close()


@pytest.fixture
def site():
    site = Site()
    yield site
    assert site.server.stop(5.0)


def test_the_ladder_over_http(site):
    assert site.ask("/livez")[0] == 200
    status, _, text = site.ask("/readyz")
    assert status == 503
    assert "kernels" in text
    site.telemetry.warm(12)
    site.telemetry.observe(Report(assigned=(TopicPartition("t", 0),)))
    assert site.ask("/readyz")[::2] == (200, "ok\n")
    assert "streamgmm_ready 1.0" in site.ask("/metrics")[2]
    site.stuck.append(Stuck("deliver", 400.0, "too long"))
    status, _, text = site.ask("/livez")
    assert (status, text) == (503, "deliver: too long (400 s)\n")


def test_metrics_speak_both_formats(site):
    _, headers, text = site.ask("/metrics")
    assert headers["Content-Type"].startswith("text/plain")
    assert 'streamgmm_records_consumed_total{topic="t"} 0.0' in text
    _, headers, text = site.ask("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    assert "process_resident_memory_bytes" in text


def test_status_and_index(site):
    status, headers, text = site.ask("/status?pretty")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(text)["config"] == {"a": 1}
    _, headers, text = site.ask("/")
    assert "/status" in text
    assert headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Python" not in headers["Server"]


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/../etc/passwd", "/%2e%2e/etc/passwd"])
def test_unknown_paths_are_404(site, path):
    assert site.ask(path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_wrong_methods_are_405_with_what_is_allowed(site, method):
    status, headers, _ = site.ask("/metrics", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert site.ask("/nothing", method)[0] == 404


def test_head_has_the_length_but_no_body(site):
    status, headers, text = site.ask("/livez", "HEAD")
    assert (status, headers["Content-Length"], text) == (200, "3", "")


def test_a_body_is_not_taken_for_the_next_request(site):
    with socket.create_connection(site.address, timeout=60) as s:
        smuggled = b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n"
        head = f"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: {len(smuggled)}\r\n\r\n"
        s.sendall(head.encode() + smuggled)
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 405")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"A" * 70000 + b"\r\n\r\n", b"GET\r\n\r\n"]
)
def test_garbage_closes_the_connection_and_nothing_else(site, garbage):
    with socket.create_connection(site.address, timeout=60) as s:
        s.sendall(garbage)
        try:
            while s.recv(65536):
                pass
        except ConnectionResetError:
            pass
    assert site.ask("/livez")[0] == 200


def test_a_client_that_leaves_in_the_middle_prints_nothing(site, capfd):
    for _ in range(5):
        s = socket.create_connection(site.address, timeout=60)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        s.sendall(b"GET /metrics HT")
        s.close()
    assert site.ask("/livez")[0] == 200
    assert capfd.readouterr().err == ""


def test_half_open_connections_cost_a_scrape_nothing(site):
    open_ones = [socket.create_connection(site.address, timeout=60) for _ in range(100)]
    try:
        assert site.ask("/metrics")[0] == 200
    finally:
        for s in open_ones:
            s.close()


def test_clients_that_never_end_their_request_are_bounded_in_number_and_probes_get_through(site):
    """Each new connection closes the one that has waited longest; none of them is refused."""
    drips = []
    try:
        for _ in range(3 * MOST_CONNECTIONS):
            drips.append(socket.create_connection(site.address, timeout=60))
            drips[-1].sendall(b"GET /metrics HT")
        assert site.ask("/livez")[0] == 200
        assert drips[0].recv(1) == b"", "the oldest was closed"
        serving = [t for t in threading.enumerate() if "process_request_thread" in t.name and t.is_alive()]
        waiting = len(site.server._server._open)
        assert waiting <= MOST_CONNECTIONS
        for thread in serving[: len(serving) - MOST_CONNECTIONS]:
            thread.join(60)
        assert site.ask("/readyz")[0] == 503
    finally:
        for drip in drips:
            drip.close()


def test_without_a_descriptor_the_oldest_connection_gives_its_own(site, monkeypatch):
    """The process may have spent its descriptors elsewhere; a probe must get through all the same."""
    take, refusals = http_module.ThreadingHTTPServer.get_request, [True] * 3

    def refused(server):
        if refusals and refusals.pop():
            raise OSError(24, "Too many open files")
        return take(server)

    with socket.create_connection(site.address, timeout=60) as drip:
        drip.sendall(b"GET /metrics HT")
        while not site.server._server._open:
            time.sleep(0.01)
        monkeypatch.setattr(http_module.ThreadingHTTPServer, "get_request", refused)
        assert site.ask("/livez")[0] == 200
        assert drip.recv(1) == b"", "it was closed"
    assert not refusals


@pytest.mark.parametrize("sent", [b"GET /livez HTTP/1.1\r\nX: ", b"", b"GET /livez HTTP/1.1\r\n\r\nGET /livez HT"])
def test_a_byte_now_and_then_does_not_hold_a_thread(monkeypatch, sent):
    monkeypatch.setattr(http_module, "WAIT_SECONDS", 0.5)
    site = Site()
    with socket.create_connection(site.address, timeout=60) as s:
        s.sendall(sent)
        s.settimeout(0.05)
        while True:  # ends when the server closes; a server that never does is ended by the run's own time
            try:
                if not s.recv(65536):
                    break
            except TimeoutError:
                s.sendall(b"x")
            except OSError:
                break
    assert site.server.stop(5.0)


def test_headers_without_end_close_the_connection(site):
    with socket.create_connection(site.address, timeout=60) as s:
        try:
            s.sendall(b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * HEAD_BYTES)
            assert s.recv(65536) == b""
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert site.ask("/livez")[0] == 200


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=1.0.0; escaping=zzz",
        "text/plain; version=1.0.0; escaping=",
        "text/plain; version=x",
        ";;;",
        "application/openmetrics-text; version=1.0.0; escaping=dots",
    ],
)
def test_whatever_form_is_asked_for_metrics_are_answered(site, accept):
    status, headers, text = site.ask("/metrics", Accept=accept)
    assert status == 200
    assert headers["Content-Type"].startswith(("text/plain", "application/openmetrics-text"))
    assert "streamgmm_ready" in text


def test_scrapes_close_together_get_one_page():
    class Counting:
        written = 0

        def collect(self):
            self.written += 1
            return iter(())

    counting, now = Counting(), [10.0]
    page = http_module._Exposition(counting, lambda: now[0])
    for _ in range(80):
        page("text/plain")
    assert counting.written == 1
    page("application/openmetrics-text; version=1.0.0")
    for version in range(1, 50):
        page(f"application/openmetrics-text; version={version}.0.0")
    assert counting.written == 2, "another form is another page; another version is not"
    now[0] += FRESH_SECONDS
    page("text/plain")
    assert counting.written == 3


def test_a_kept_connection_answers_without_waiting_for_acknowledgements(site):
    """Header and body leave in one write: with Nagle's algorithm in the way, each answer takes 40 ms."""
    connection = http.client.HTTPConnection(*site.address, timeout=60)
    times = []
    for _ in range(15):
        start = time.monotonic()
        connection.request("GET", "/livez")
        assert connection.getresponse().read() == b"ok\n"
        times.append(time.monotonic() - start)
    connection.close()
    assert statistics.median(times) < 0.03


def test_a_fault_in_one_answer_is_a_500_and_logged(site, caplog):
    def broken(_):
        raise RuntimeError("secret detail")

    site.table["/broken"] = broken
    status, _, text = site.ask("/broken")
    assert status == 500
    assert "secret" not in text
    assert "/broken failed" in caplog.text


def test_start_stop_and_stop_again():
    server = Server("127.0.0.1:0", {})
    assert server.stop(1.0)
    host, port = server.start()
    assert server.stop(5.0)
    assert server.stop(5.0)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, port), timeout=1)


def test_a_taken_port_says_so(site):
    taken = "{}:{}".format(*site.address)
    with pytest.raises(StopError, match=r"cannot listen on 127\.0\.0\.1:\d+: Address already in use"):
        Server(taken, {}).start()


def test_addresses():
    assert parse_listen("127.0.0.1:8642") == ("127.0.0.1", 8642)
    assert parse_listen("[::1]:0") == ("::1", 0)
    for wrong in ("8642", ":8642", "host:", "host:port", "host:65536", "host:-1", "host:²"):
        with pytest.raises(ConfigError, match="not host:port"):
            parse_listen(wrong)
