"""The embedded broker as an object and as a process."""

import socket
import struct
import subprocess
import sys
import threading

import pytest

from streamgmm.demo.broker import Broker
from streamgmm.demo.broker_faults import Faults
from streamgmm.demo.broker_protocol import Code, api_versions
from streamgmm.errors import RetryableError


def call(address, frame):
    """Send raw bytes as one frame; returns the answer, or b"" when the broker hangs up."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection, connection.makefile("rb") as answers:
        connection.sendall(struct.pack(">i", len(frame)) + frame)
        size = answers.read(4)
        return answers.read(struct.unpack(">i", size)[0]) if size else b""


VERSIONS = struct.pack(">hhih", 18, 0, 77, -1)


def test_it_listens_on_loopback_and_lets_go():
    before = set(threading.enumerate())
    broker = Broker()
    with broker:
        assert broker.bootstrap_servers.startswith("127.0.0.1:")
        answer = call(broker.bootstrap_servers, VERSIONS)
        assert struct.unpack_from(">ih", answer) == (77, 0)
        with pytest.raises(RetryableError, match="cannot listen"):
            Broker(port=broker.port).start()
    broker.stop()
    assert set(threading.enumerate()) == before
    with pytest.raises(OSError, match="refused"):
        call(broker.bootstrap_servers, VERSIONS)
    with broker:  # again, on the port that it had
        assert call(broker.bootstrap_servers, VERSIONS)


def test_a_newer_client_is_told_what_is_spoken():
    with Broker() as broker:
        answer = call(broker.bootstrap_servers, struct.pack(">hhih", 18, 99, 5, -1))
        correlation, code, count = struct.unpack_from(">ihi", answer)
        assert (correlation, code) == (5, Code.UNSUPPORTED_VERSION)
        assert count == len(api_versions()["api_keys"])


@pytest.mark.parametrize(
    "frame",
    [b"", b"x", b"\xff" * 40, struct.pack(">hhih", 999, 0, 1, -1), struct.pack(">hhih", 0, 99, 1, -1), VERSIONS[:9]],
    ids=["empty", "short", "noise", "unknown request", "unknown version", "cut short"],
)
def test_nonsense_closes_its_connection_and_no_other(frame):
    with Broker() as broker:
        assert call(broker.bootstrap_servers, frame) == b""
        assert call(broker.bootstrap_servers, VERSIONS)


def test_faults_are_used_up():
    faults = Faults()
    faults.refuse("Fetch", Code.CORRUPT_MESSAGE, times=2)
    assert [faults.refusal("Fetch") for _ in range(3)] == [Code.CORRUPT_MESSAGE, Code.CORRUPT_MESSAGE, Code.NONE]
    assert faults.refusal("Produce") == Code.NONE
    faults.slow("Fetch", 0.5)
    assert faults.delay("Fetch") == 0.5
    faults.slow("Fetch", 0)
    assert faults.delay("Fetch") == 0


def test_the_process_prints_its_address(tmp_path):
    command = [sys.executable, "-m", "streamgmm.demo.broker", "--dir", str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().strip()
            assert call(address, VERSIONS)
        finally:
            process.kill()
