"""kafka-python's join loop with a join that outlived its poll; test_source.py sees the same on real Kafka."""

import asyncio
from types import SimpleNamespace

import pytest
from kafka.future import Future

from streamgmm.bus.rejoin import finish_join


class Coordinator:
    def __init__(self, task):
        self._join_task = task
        self.asked = 0

    def request_rejoin(self):
        self.asked += 1


def minded(task):
    coordinator = Coordinator(task)
    assert finish_join(SimpleNamespace(_coordinator=coordinator))
    return coordinator


def test_a_library_that_keeps_its_join_elsewhere_is_polled_for_longer():
    assert not finish_join(SimpleNamespace())
    assert not finish_join(SimpleNamespace(_coordinator=SimpleNamespace()))


def test_without_a_join_nothing_is_asked_for():
    assert minded(None).asked == 0


def test_a_join_under_way_is_waited_for():
    task = Future()
    coordinator = minded(task)
    assert coordinator.asked == 1
    assert coordinator._join_task is task


@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_a_join_that_is_done_is_not_asked_for_again_but_taken(outcome):
    task = Future()
    value = b"assignment" if outcome == "success" else ValueError("refused")
    getattr(task, outcome)(value)
    taken = minded(task)._join_task
    assert not taken.is_done  # kafka-python starts another one when it is
    heard = []
    taken.add_callback(heard.append)
    taken.add_errback(heard.append)
    assert heard == [value]

    async def harvest():
        return await taken

    if outcome == "success":
        assert asyncio.run(harvest()) == value
    else:
        with pytest.raises(ValueError, match="refused"):
            asyncio.run(harvest())


def test_kafka_python_still_has_the_state_that_this_minds():
    from kafka.coordinator.base import BaseCoordinator

    assert {"request_rejoin", "join_group_async"} <= set(dir(BaseCoordinator))
    assert "_join_task" in BaseCoordinator.join_group_async.__code__.co_names
