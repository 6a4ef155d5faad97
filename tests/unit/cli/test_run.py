"""`streamgmm run`: what signals do."""

import os
import signal
import socket
import threading

from daemon_process import PATIENCE, DaemonProcess

from streamgmm.cli.run import _signals
from streamgmm.stop import Stop


def test_a_hangup_is_logged_and_changes_nothing(caplog):
    stop = Stop()
    with _signals(stop):
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.requested()
    assert "SIGHUP" in caplog.text
    assert "restart" in caplog.text


def test_sigterm_asks_for_a_stop_and_handlers_are_given_back():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before, stop = [signal.getsignal(number) for number in numbers], Stop()
    with _signals(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested()
        assert stop.signal == signal.SIGTERM
    assert [signal.getsignal(number) for number in numbers] == before


def test_on_another_thread_signals_are_left_alone():
    found = []

    def look():
        with _signals(Stop()):
            found.append(signal.getsignal(signal.SIGHUP))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGHUP)]


def test_a_stop_while_brokers_are_waited_for_is_a_stop_by_signal(tmp_path):
    """Something listens and never answers: SIGTERM ends the start in order."""
    mute = socket.create_server(("127.0.0.1", 0))
    servers = f"127.0.0.1:{mute.getsockname()[1]}"
    config = {
        "source": {"topic": "rows", "bootstrap_servers": servers},
        "codec": {"type": "json", "fields": ["a"]},
        "sinks": [{"topic": "flags", "bootstrap_servers": servers}],
        "dead_letters": {"type": "file", "path": str(tmp_path / "letters")},
    }
    with DaemonProcess(tmp_path, config) as daemon:
        daemon.start()
        mute.settimeout(PATIENCE)
        connection, _ = mute.accept()
        assert daemon.terminate() == 128 + signal.SIGTERM
        assert daemon.log().rstrip().endswith("stopped")
        connection.close()
    mute.close()
