"""Real Avro messages, and a schema registry to ask about them."""

from __future__ import annotations

import json
import struct
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Thread

import fastavro


def avro_bytes(schema, datum) -> bytes:
    """Return a bare datum."""
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), datum)
    return out.getvalue()


def framed(schema_id, schema, datum) -> bytes:
    """Return a datum as Confluent's serializers frame it."""
    return struct.pack(">bI", 0, schema_id) + avro_bytes(schema, datum)


class Registry:
    """What a registry knows, how it behaves, and what it was asked.

    Attributes
    ----------
    answers
        Path → the body, as plain values.
    failures
        How many requests are answered 503 before the next one is served.
    asked
        (path, Authorization) of every request.
    connections
        How many were opened.
    """

    def __init__(self) -> None:
        self.url = ""
        self.answers = {}
        self.failures = 0
        self.proof = None
        self.asked = []
        self.connections = 0

    def put(self, schema_id, schema, **more) -> None:
        self.answers[f"/schemas/ids/{schema_id}"] = {"schema": json.dumps(schema), **more}

    def answer(self, path, proof):
        self.asked.append((path, proof))
        if self.failures:
            self.failures -= 1
            return 503, {"error_code": 50003, "message": "later"}
        if self.proof is not None and proof != self.proof:
            return 401, {"error_code": 401, "message": "Unauthorized"}
        if path not in self.answers:
            return 404, {"error_code": 40403, "message": "Schema not found"}
        return 200, self.answers[path]


@contextmanager
def running_registry():
    """Serve a registry on a free port of this machine."""
    registry = Registry()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps connections open

        def setup(self):
            registry.connections += 1
            super().setup()

        def do_GET(self):
            status, body = registry.answer(self.path, self.headers.get("Authorization"))
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()
