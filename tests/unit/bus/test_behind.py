"""Which partitions a poll waits for, and that it never waits long."""

from streamgmm.bus.behind import FETCHED_BYTES, SMALLEST_FETCH_BYTES, Behind, fetch_bytes
from streamgmm.records import TopicPartition

A, B, C = (TopicPartition("t", i) for i in range(3))


def test_what_has_records_at_the_broker_and_none_at_hand_is_waited_for():
    assert Behind().missing({A: 5, B: 0, C: 7}, {C}) == {A}


def test_a_partition_that_gives_nothing_is_waited_for_once():
    behind, lag = Behind(patience=1.0), {A: 5, B: 5}
    behind.waited({A, B}, 0.6)
    assert behind.missing(lag, ()) == {A, B}
    behind.waited({A}, 0.3)  # B gave some
    behind.waited({A, B}, 0.6)
    assert behind.missing(lag, ()) == {B}
    assert behind.silent == {A}


def test_it_is_waited_for_again_when_it_gives_more_than_a_poll_takes():
    behind = Behind(patience=1.0)
    behind.waited({A}, 1.0)
    behind.gave([B])
    assert behind.missing({A: 5}, ()) == set()
    behind.gave([A])
    assert behind.missing({A: 5}, ()) == {A}


def test_all_that_is_fetched_is_bounded():
    assert fetch_bytes(1, 4 << 20) == 4 << 20
    assert fetch_bytes(3, 1000) == 1000
    assert fetch_bytes(100, 4 << 20) * 100 <= FETCHED_BYTES
    assert fetch_bytes(10**6, 4 << 20) == SMALLEST_FETCH_BYTES
