import json

import numpy as np
import pytest

from streamgmm.demo.replay import Replay, event_time_ms, payload
from streamgmm.demo.stream import load


@pytest.fixture
def sent():
    return []


@pytest.fixture
def replay(small, sent):
    return Replay(small, lambda value, time: sent.append((value, time)), end=1_000_000.0, rate=2.0)


def test_a_row_is_an_object_of_its_fields(small):
    assert json.loads(payload(small, 3)) == {"a": 0.006, "b": 0.007}


def test_six_decimals_keep_the_data_exactly():
    stream = load()
    rows = [json.loads(payload(stream, row)) for row in range(0, len(stream), 500)]
    back = np.array([[row[name] for name in stream.fields] for row in rows], dtype=np.float32)
    np.testing.assert_array_equal(back, stream.X[::500])


def test_event_time_is_a_row_a_minute_and_ends_at_the_end():
    times = [event_time_ms(row, 3, 1000.0) for row in range(3)]
    assert times == [880_000, 940_000, 1_000_000]


def test_the_warm_up_goes_at_once(replay, sent, small):
    replay.warm_up()
    assert len(sent) == replay.sent == small.warm


def test_the_rest_is_paced(replay, sent, small):
    replay.warm_up()
    replay.start(100.0)
    counts = []
    for now in (100.0, 100.4, 100.5, 101.0, 101.0, 103.0):
        replay.tick(now)
        counts.append(len(sent) - small.warm)
    assert counts == [0, 0, 1, 2, 2, 6]
    assert not replay.done


def test_it_sends_every_row_once_in_order_and_no_more(replay, sent, small):
    replay.warm_up()
    replay.start(0.0)
    replay.tick(1e6)
    replay.tick(2e6)
    assert replay.done
    assert [json.loads(value)["a"] for value, _ in sent] == [round(float(a), 6) for a in small.X[:, 0]]
    assert [time for _, time in sent] == sorted({time for _, time in sent})
