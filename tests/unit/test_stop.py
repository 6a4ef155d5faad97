"""A request to stop: what waits at the start is interrupted, and nothing else ever is."""

import signal
import threading

import pytest

from streamgmm.cli.run import _signals
from streamgmm.stop import InterruptedStartError, Stop


def test_a_signal_interrupts_what_is_interruptible():
    stop = Stop()
    with _signals(stop), pytest.raises(InterruptedStartError), stop.interruptible():
        signal.raise_signal(signal.SIGTERM)
    assert stop.signal == signal.SIGTERM


def test_a_request_that_came_before_does_as_well():
    stop = Stop()
    stop.request()
    with pytest.raises(InterruptedStartError), stop.interruptible():
        pytest.fail("it was not interrupted")


def test_nothing_else_is_interrupted():
    stop = Stop()
    with stop.interruptible():
        pass
    stop.request()
    assert stop.requested()


def test_a_request_from_another_thread_interrupts_nobody():
    stop = Stop()
    with stop.interruptible():
        thread = threading.Thread(target=stop.request)
        thread.start()
        thread.join()
    assert stop.requested()


def test_it_is_not_taken_for_an_error():
    assert not issubclass(InterruptedStartError, Exception)
