"""A request to stop: what fails or begins at the start after it is a stop."""

import signal

import pytest

from streamgmm.cli.run import _signals
from streamgmm.stop import InterruptedStartError, Stop


def _refused(signalled=None):
    if signalled is not None:
        signal.raise_signal(signalled)
    raise OSError("no broker answers")


def test_a_wait_that_fails_after_a_signal_is_a_stop():
    stop = Stop()
    with _signals(stop), pytest.raises(InterruptedStartError), stop.interruptible():
        _refused(signal.SIGTERM)
    assert stop.signal == signal.SIGTERM


def test_a_wait_that_fails_without_a_request_is_an_error():
    with pytest.raises(OSError, match="no broker"), Stop().interruptible():
        _refused()


def test_a_signal_raises_nothing_in_the_middle_of_a_wait():
    stop, done = Stop(), []
    with _signals(stop), stop.interruptible():
        signal.raise_signal(signal.SIGTERM)
        done.append(True)
    assert done
    assert stop.requested()


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


def test_it_is_not_taken_for_an_error():
    assert not issubclass(InterruptedStartError, Exception)
