"""The selector of the network thread does what the platform's does, but for the words of a KeyError."""

import selectors
import socket

import pytest

from streamgmm.bus.selector import QuickSelector

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    with near, far:
        yield near, far


@pytest.fixture(params=[QuickSelector, selectors.DefaultSelector])
def selector(request):
    with request.param() as made:
        yield made


def test_keys_follow_what_is_registered(selector, pair):
    near, far = pair
    with pytest.raises(KeyError):
        selector.get_key(near)
    assert selector.register(near, READ, "reader") == selector.get_key(near)
    assert selector.modify(near, READ | WRITE, "both") == selector.get_key(near)
    assert (selector.get_key(near).events, selector.get_key(near).data) == (READ | WRITE, "both")
    assert [key.fileobj for key, _ in selector.select(0)] == [near]
    far.send(b"x")
    assert dict(selector.select(0)) == {selector.get_key(near): READ | WRITE}
    selector.unregister(near)
    assert selector.select(0) == []
    with pytest.raises(KeyError):
        selector.get_key(near)
    with pytest.raises(KeyError):
        selector.unregister(near)


def test_a_file_that_was_closed_can_still_be_forgotten(selector, pair):
    selector.register(pair[0], READ)
    pair[0].close()
    selector.unregister(pair[0])
    assert not selector.get_map()


def test_nothing_is_said_of_a_socket_that_is_not_there(pair):
    with QuickSelector() as selector, pytest.raises(KeyError) as raised:
        selector.get_key(pair[0])
    assert raised.value.args == (pair[0],)
