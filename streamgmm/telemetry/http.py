"""The HTTP side: the standard library's threading server, tamed. Handlers only read published values.

Measured: as it comes, it needs 46 ms a scrape (Nagle's algorithm against delayed acknowledgements, since header and
body leave as two writes); with one buffered write 10 ms, which no framework beats.
"""

from __future__ import annotations

import io
import logging
import math
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import msgspec
from prometheus_client.exposition import choose_encoder

from streamgmm.errors import ConfigError, StopError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from streamgmm.telemetry.board import Board

_log = logging.getLogger(__name__)

WAIT_SECONDS = 10.0  # for a whole request, and for a whole answer to be taken; then the connection is closed
MOST_CONNECTIONS = 64  # each has a thread; one more closes the one that has waited longest, so that probes get through
HEAD_BYTES = 16384  # of a request line and its headers
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
FRESH_SECONDS = 0.5  # scrapes within so long of each other get the same page: to write it costs as much as 1000 rows
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
}
INDEX = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>streamgmm</title>
<h1>streamgmm</h1>
<ul>
<li><a href="/status">/status</a>: what it is doing, as JSON</li>
<li><a href="/metrics">/metrics</a>: for Prometheus</li>
<li><a href="/livez">/livez</a>: 503 when a part is past its deadline and a restart would help</li>
<li><a href="/readyz">/readyz</a>: 200 while it has its share, brokers answer and sinks take their records</li>
</ul>
</html>
"""


class Response(NamedTuple):
    """What a route answers."""

    status: int
    content_type: str
    body: bytes


Route: TypeAlias = Callable[[str], Response]
"""Takes the Accept header."""


def routes(registry: CollectorRegistry, board: Board) -> dict[str, Route]:
    """Return path → what answers a GET there."""
    metrics = _Exposition(registry)

    def livez(_: str) -> Response:
        health = board.health()
        return verdict(health.live, health.reasons)

    def readyz(_: str) -> Response:
        health = board.health()
        return verdict(health.ready, health.reasons)

    return {
        "/": lambda _: Response(HTTPStatus.OK, "text/html; charset=utf-8", INDEX.encode()),
        "/metrics": metrics,
        "/livez": livez,
        "/readyz": readyz,
        "/status": lambda _: Response(HTTPStatus.OK, "application/json", msgspec.json.encode(board.status())),
    }


class _Exposition:
    """The page of metrics, written at most once in FRESH_SECONDS for each of its two forms."""

    def __init__(self, registry: CollectorRegistry, now: Callable[[], float] = time.monotonic) -> None:
        self._registry, self._now = registry, now
        self._lock = threading.Lock()
        self._pages: dict[str, tuple[float, Response]] = {}

    def __call__(self, accept: str) -> Response:
        """Return the page in OpenMetrics where that is asked for and understood, else in plain text."""
        encode, content_type = choose_encoder(_form(accept))
        with self._lock:
            written, page = self._pages.get(content_type, (-math.inf, _plain(HTTPStatus.OK)))
            if self._now() - written >= FRESH_SECONDS:
                page = Response(HTTPStatus.OK, content_type, encode(self._registry))
                self._pages[content_type] = self._now(), page
        return page


def _form(accept: str) -> str:
    """Return one of two Accept headers: versions and escapings that a client may name are without end."""
    try:
        _, content_type = choose_encoder(accept)
    except Exception:  # noqa: BLE001 - prometheus_client fails in several ways at what it cannot read
        return ""
    return OPEN_METRICS if content_type.startswith("application/openmetrics-text") else ""


def verdict(good: bool, reasons: tuple[str, ...]) -> Response:
    """Return what a probe is answered: 200, or 503 with a line for each reason."""
    status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    text = "ok" if good else "\n".join(reasons)
    return Response(status, "text/plain; charset=utf-8", f"{text}\n".encode())


class Server:
    """Serves routes on a daemon thread.

    Parameters
    ----------
    listen
        "host:port" or "[v6 address]:port"; port 0 takes a free one.
    routes
        Path → what answers a GET (and a HEAD) there.

    Raises
    ------
    ConfigError
        When `listen` is not an address.
    """

    def __init__(self, listen: str, routes: Mapping[str, Route]) -> None:
        self._address = parse_listen(listen)
        self._routes = routes
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> tuple[str, int]:
        """Bind and serve; return the address it listens on.

        Raises
        ------
        StopError
            When the address cannot be had.
        """
        host, port = self._address
        try:
            self._server = _Server(self._address, self._routes)
        except OSError as error:
            raise StopError(
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                hint="choose another http.listen, or stop the process that uses this port",
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="http", daemon=True
        )
        self._thread.start()
        return str(self._server.server_address[0]), self._server.server_address[1]

    def exchange(self, routes: Mapping[str, Route]) -> None:
        """Answer with other routes from the next request on."""
        self._routes = routes
        if self._server is not None:
            self._server.routes = routes

    def stop(self, timeout: float) -> bool:
        """Take no more requests and close; False when that took longer. Safe to call twice, or before `start`."""
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return True
        self._server = self._thread = None
        # shutdown() waits without a limit, so it waits on a thread of its own and we wait here.
        threading.Thread(target=server.shutdown, name="http-stop", daemon=True).start()
        thread.join(timeout)
        server.server_close()
        return not thread.is_alive()


def parse_listen(listen: str) -> tuple[str, int]:
    """Split "host:port"."""
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"http.listen: {listen!r} is not host:port", hint='for example "127.0.0.1:8642"')
    return host.removeprefix("[").removesuffix("]"), int(port)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "streamgmm"
    sys_version = ""
    timeout = WAIT_SECONDS
    disable_nagle_algorithm = True
    wbufsize = 65536
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(message)s\n"
    hints: ClassVar = {HTTPStatus.METHOD_NOT_ALLOWED: {"Allow": "GET, HEAD"}}

    def handle_one_request(self) -> None:
        """Answer one request; whatever method it names, for `do_X` methods would turn a wrong one into a 501."""
        self.server.waits(self.connection)
        head = self._head()
        if not head:
            self.close_connection = True
            return
        connection, self.rfile = self.rfile, io.BytesIO(head)
        self.raw_requestline = self.rfile.readline()
        understood = self.parse_request()
        self.rfile = connection
        if understood:
            if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
                self.close_connection = True  # a body that nobody reads would be taken for the next request
            self._answer()
        self.wfile.flush()

    def _head(self) -> bytes:
        """Read a request up to the empty line after its headers; nothing of one that ends before or has no end."""
        head = b""
        while len(head) < HEAD_BYTES:
            line = self.rfile.readline(HEAD_BYTES - len(head))
            head += line
            if not line:
                return b""
            if line in (b"\r\n", b"\n") and head != line:
                return head
        return b""

    def _answer(self) -> None:
        route = self.server.routes.get(urlsplit(self.path).path)
        if route is None:
            self._send(_plain(HTTPStatus.NOT_FOUND))
        elif self.command not in ("GET", "HEAD"):
            self._send(_plain(HTTPStatus.METHOD_NOT_ALLOWED))
        else:
            try:
                response = route(self.headers.get("Accept", ""))
            except Exception:  # noqa: BLE001 - a fault in one answer must not end the connection without one
                _log.exception("%s failed", urlsplit(self.path).path)
                response = _plain(HTTPStatus.INTERNAL_SERVER_ERROR)
            self._send(response)

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        for name, value in (HEADERS | self.hints.get(HTTPStatus(response.status), {})).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing of requests: a scrape every few seconds is no news."""


class _Server(ThreadingHTTPServer):
    """A thread for each connection, bounded in number and in time.

    A client that sends a byte now and then resets every time-out of its socket; so the time is looked at from outside,
    and the connection is shut down, which wakes its thread.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], routes: Mapping[str, Route]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.routes = routes
        # Connection → since when its request, or its client's taking of the answer, is waited for; oldest first.
        self._open: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without asking the name service who we are, as the base class does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def get_request(self) -> tuple[Any, Any]:
        """Take the next connection; where the process has no descriptor left for it, the oldest one gives its own."""
        try:
            return super().get_request()
        except OSError:
            with self._lock:
                oldest = next(iter(self._open), None)
            if oldest is not None:
                self._drop(oldest)
            time.sleep(0.1)  # the client still waits, and would be asked for at once, again and again
            raise

    def waits(self, connection: socket.socket) -> None:
        """Note that the next request of a connection is waited for from now on."""
        with self._lock:
            self._open.pop(connection, None)
            self._open[connection] = time.monotonic()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base class's types
        """Serve a connection on a thread of its own; one too many closes the one that has waited longest."""
        with self._lock:
            crowded = len(self._open) >= MOST_CONNECTIONS
            oldest = next(iter(self._open), None)
        if crowded and oldest is not None:
            self._drop(oldest)
        self.waits(request)
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Close connections whose time is up; called ten times a second."""
        latest = time.monotonic() - WAIT_SECONDS
        with self._lock:
            late = [connection for connection, since in self._open.items() if since < latest]
        for connection in late:
            self._drop(connection)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - the base class's types
        """Close a connection, and forget it."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def _drop(self, connection: socket.socket) -> None:
        """Shut a connection down: its thread wakes, and closes it."""
        with self._lock:
            self._open.pop(connection, None)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - overrides
        """Note that a client left in the middle; the base class prints a traceback."""
        _log.debug("connection from %s ended early", client_address, exc_info=True)


def _plain(status: HTTPStatus) -> Response:
    return Response(status, "text/plain; charset=utf-8", f"{status.value} {status.phrase}\n".encode())
