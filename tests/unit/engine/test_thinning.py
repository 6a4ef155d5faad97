"""Slow streams teach every row, fast ones a repeatable sample that covers the span."""

import numpy as np
import pytest

from streamgmm.engine.thinning import Tally, Thinning, elapsed, row_hashes, stream_hash
from streamgmm.engine.thinning_kernels import has_ticks, median


def hashes(n, name="topic/0"):
    streams = np.full(n, stream_hash(name), dtype=np.uint64)
    return row_hashes(streams, np.arange(n), np.arange(n), np.zeros(n, dtype=np.int64))


def naive_split_mix(h):
    h = (h + 0x9E3779B97F4A7C15) % 2**64
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    h = (h ^ h >> 27) * 0x94D049BB133111EB % 2**64
    return h ^ h >> 31


def test_hashes_are_those_of_whole_numbers_taken_modulo_2_to_the_64():
    rng = np.random.default_rng(0)
    stream, offset = rng.integers(2**63, size=7).astype(np.uint64), rng.integers(2**62, size=7)
    record, row = np.sort(rng.integers(7, size=50)), rng.integers(1000, size=50)
    expected = [
        naive_split_mix(int(stream[i]) ^ naive_split_mix(int(offset[i]) ^ naive_split_mix(int(j))))
        for i, j in zip(record, row, strict=True)
    ]
    assert row_hashes(stream, offset, record, row).tolist() == expected


@pytest.mark.parametrize("share", [0.9, 0.1, 0.001])
def test_the_share_of_rows_that_enter_is_the_share_asked_for(share):
    entered = Thinning(share, share).enters_window(hashes(200_000)).mean()
    assert entered == pytest.approx(share, rel=0.1)


def test_rows_of_the_window_are_among_those_of_the_calibration():
    thinning, h = Thinning(0.05, 0.3), hashes(10_000)
    assert not (thinning.enters_window(h) & ~thinning.enters_calibration(h)).any()


def test_hashes_tell_streams_offsets_and_rows_apart():
    one, other = hashes(1000), hashes(1000, "topic/1")
    stream = np.array([stream_hash("topic/0")], np.uint64)
    rows = row_hashes(stream, np.zeros(1, np.int64), np.zeros(1000, np.int64), np.arange(1000))
    assert len(set(one) | set(other) | set(rows)) == 3000 - 1  # offset 0, row 0 is in two of them


def test_a_slow_stream_is_learnt_whole():
    thinning = Thinning().follow(rows=100, seconds=6000.0, window=1000 / 600, calibration=5000 / 600)
    assert (thinning.window, thinning.calibration) == (1.0, 1.0)


def test_a_fast_stream_is_thinned_to_cover_the_span():
    thinning = Thinning().follow(rows=100_000, seconds=10.0, window=1000 / 600, calibration=5000 / 600)
    assert thinning.window == pytest.approx(1000 / 600 / 10_000)
    assert thinning.calibration == pytest.approx(5000 / 600 / 10_000)


def test_a_stream_that_slows_down_is_learnt_whole_again():
    thinning = Thinning().follow(100_000, 1.0, 2.0, 10.0)
    for _ in range(40):
        thinning = thinning.follow(10, 100.0, 2.0, 10.0)
    assert thinning.window == 1.0


def test_a_producer_without_a_clock_changes_nothing():
    thinning = Thinning().follow(100, 0.0, 2.0, 10.0)
    assert thinning.window == 1.0
    assert thinning.follow(100, float("nan"), 2.0, 10.0) == thinning


def test_wild_timestamps_do_not_stop_the_clock():
    t = np.arange(100.0)
    wild = t.copy()
    wild[[3, 50, 99]] = [4e9, -1e9, 4e9]
    assert elapsed(wild) == pytest.approx(elapsed(t), rel=0.1)
    assert elapsed(np.empty(0)) == 0.0


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_times_of_a_step_are_measured_as_numpy_would(rng, n):
    t = rng.integers(0, 12, size=n) / 4.0
    assert median(t) == np.median(t)
    for number in range(1, 14):
        assert has_ticks(t, number) == (len(np.unique(t)) >= number)


def rates(times, rows=100):
    """Return what a tally measures, step by step, in rows per second."""
    tally, found = Tally(), []
    for t in np.split(times, len(times) // rows):
        tally, counted, seconds = tally.add(rows, t)
        if counted and seconds > 0:
            found.append(counted / seconds)
    return found


@pytest.mark.parametrize("rate", [20.0, 900.0, 30_000.0, 1e6, 7e6])
def test_a_clock_of_milliseconds_tells_the_rate_of_any_stream(rate):
    found = rates(np.floor(1000.0 * (1.7e9 + np.arange(200_000) / rate)) / 1000.0)
    assert found
    assert np.exp(np.mean(np.log(found))) == pytest.approx(rate, rel=0.1)
    assert max(found) < 1.6 * rate
    assert min(found) > rate / 1.6


def test_rows_of_one_time_measure_nothing():
    assert rates(np.full(10_000, 5.0)) == []


def test_time_that_jumps_back_starts_the_tally_anew():
    times = np.concatenate([np.repeat(np.arange(5.0) + 1e6, 100), np.repeat(np.arange(40.0), 100)])
    assert rates(times) == pytest.approx([100.0] * 4)
