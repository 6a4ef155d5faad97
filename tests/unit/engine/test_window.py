"""The window is a value: at most so many rows, newest last, and nobody can write to what a refit reads."""

from collections import deque

import numpy as np
import pytest

from streamgmm.engine.window import Block, Window, latest


def block(values):
    values = np.asarray(values, dtype=float)
    return Block.seal(values[:, None], values)


def test_it_holds_what_a_deque_would(rng):
    window, naive = Window(37), deque(maxlen=37)
    for _ in range(60):
        values = rng.normal(size=rng.integers(0, 50))
        window = window.add(block(values))
        naive.extend(values)
        np.testing.assert_array_equal(window.rows()[:, 0], np.array(naive))
        np.testing.assert_array_equal(window.times(), np.array(naive))
        assert len(window) == len(naive)


def test_blocks_are_sealed_copies():
    source = np.zeros((3, 2))
    sealed = Block.seal(source, np.zeros(3))
    source[:] = 1.0
    assert not sealed.X.any()
    with pytest.raises(ValueError, match="read-only"):
        sealed.X[0, 0] = 1.0


def test_an_older_window_stays_as_it_was():
    old = Window(2).add(block([1.0, 2.0]))
    old.add(block([3.0]))
    np.testing.assert_array_equal(old.rows()[:, 0], [1.0, 2.0])


def test_newest_rows_and_span():
    window = Window(10).add(block([5.0, 1.0, 9.0]))
    np.testing.assert_array_equal(window.rows(2)[:, 0], [1.0, 9.0])
    assert (window.span(), window.span(2), window.newest()) == (8.0, 8.0, 9.0)
    assert np.isnan(Window(3).newest())


def test_steps_that_teach_nothing_leave_no_trace():
    window = Window(10).add(block([1.0]))
    assert window.add(block([])) is window


def test_the_newest_time_leaves_with_its_block():
    window = Window(3).add(block([9.0, np.nan])).add(block([np.nan]))
    assert window.newest() == 9.0
    assert np.isnan(window.add(block([np.nan])).newest())
    assert window.add(block([2.0, 1.0])).newest() == 2.0


@pytest.mark.parametrize("wrong", [4.07e9, 2.5e11, 1.7e9 + 1e6])
def test_one_row_of_another_century_stops_nothing(rng, wrong):
    t = 1.7e9 + np.cumsum(rng.exponential(60.0, 100))
    assert latest(t) == t[-1]
    known = t[-1]
    t[[13, 60]] = wrong
    assert latest(t) == known
    t[20:40] = np.nan
    assert latest(t) == known


def test_times_far_apart_are_believed_where_all_are():
    t = 1.7e9 + 1e5 * np.arange(100.0)
    assert latest(t) == t[-1]
    assert np.isnan(latest(np.full(3, np.nan)))
    assert latest(np.array([5.0])) == 5.0


@pytest.mark.parametrize("at", [0, 10, 19])
def test_a_wrong_time_is_not_believed_when_few_rows_are_left_beside_it(at):
    t = 1.7e9 + 60.0 * np.arange(60.0)
    first = t[:20].copy()
    first[at] = 4.07e9
    window = Window(22).add(Block.locked(np.zeros((20, 1)), first))
    for row in t[20:]:
        window = window.add(block([row]))
        assert window.newest() == row


@pytest.mark.parametrize("wrong", [0.0, 4.07e9])
def test_a_wrong_time_does_not_count_for_the_span(wrong):
    t = 1.7e9 + 60.0 * np.arange(50.0)
    t[20] = wrong
    assert Window(50).add(block(t)).span() == 49 * 60.0
