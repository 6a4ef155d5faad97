"""The HTTP side: the standard library's threading server, tamed. Handlers only read published values.

Measured: as it comes, it needs 46 ms a scrape (Nagle's algorithm against delayed acknowledgements, since header and
body leave as two writes); with one buffered write 10 ms, which no framework beats.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import msgspec
from prometheus_client.exposition import choose_encoder

from streamgmm.errors import ConfigError, StopError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from streamgmm.telemetry.board import Board

_log = logging.getLogger(__name__)

IDLE_SECONDS = 10  # a connection that says nothing for so long is closed: 300 half-open ones cost a scrape nothing
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
<li><a href="/readyz">/readyz</a>: 200 once it takes part in the group and its kernels are compiled</li>
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

    def metrics(accept: str) -> Response:
        encode, content_type = choose_encoder(accept)
        return Response(HTTPStatus.OK, content_type, encode(registry))

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
                hint="choose another http.listen, or find out who has that port",
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
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    wbufsize = 65536
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(message)s\n"
    hints: ClassVar = {HTTPStatus.METHOD_NOT_ALLOWED: {"Allow": "GET, HEAD"}}

    def handle_one_request(self) -> None:
        """Answer one request; whatever method it names, for `do_X` methods would turn a wrong one into a 501."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or len(self.raw_requestline) > 65536:
            self.close_connection = True
            return
        if self.parse_request():
            if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
                self.close_connection = True  # a body that nobody reads would be taken for the next request
            self._answer()
            self.wfile.flush()

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
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], routes: Mapping[str, Route]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.routes = routes
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without asking the name service who we are, as the base class does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - overrides
        """Note that a client left in the middle; the base class prints a traceback."""
        _log.debug("connection from %s ended early", client_address, exc_info=True)


def _plain(status: HTTPStatus) -> Response:
    return Response(status, "text/plain; charset=utf-8", f"{status.value} {status.phrase}\n".encode())
