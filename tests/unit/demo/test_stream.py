import numpy as np
import pytest

from streamgmm.demo.stream import LabelledEvent, load, merge


@pytest.fixture(scope="module")
def stream():
    return load()


def test_the_bundled_stream_is_what_its_notice_says(stream):
    assert stream.X.shape == (8500, 38)
    assert len(set(stream.fields)) == 38
    assert stream.warm == 1500
    assert stream.judged == 7000
    assert np.isfinite(stream.X).all()
    assert int((stream.X[: stream.warm].std(axis=0) == 0).sum()) == 5


def test_nine_causes_are_eight_events(stream):
    assert len(stream.events) == 8
    assert len(stream.events[6]) == 481
    assert {"load_1", "udp_snd_buf_errs"} <= set(stream.events[6].causes)
    assert stream.events[0] == LabelledEvent(1976, 1986, ("disk_w",))


def test_causes_are_fields(stream):
    assert all(set(event.causes) <= set(stream.fields) for event in stream.events)


def test_normal_rows_are_those_after_the_warm_up_outside_every_event(stream):
    expected = np.arange(len(stream)) >= stream.warm
    for event in stream.events:
        expected[event.start : event.end] = False
    np.testing.assert_array_equal(stream.normal, expected)


def test_overlapping_and_touching_events_join_and_others_do_not():
    events = [
        LabelledEvent(50, 60, ("c",)),
        LabelledEvent(10, 20, ("a", "b")),
        LabelledEvent(12, 15, ("b", "d")),
        LabelledEvent(20, 22, ("e",)),
        LabelledEvent(23, 24, ("f",)),
    ]
    assert merge(events) == (
        LabelledEvent(10, 22, ("a", "b", "d", "e")),
        LabelledEvent(23, 24, ("f",)),
        LabelledEvent(50, 60, ("c",)),
    )


def test_the_licence_travels_with_the_data():
    from importlib.resources import files

    data = files("streamgmm.demo") / "data"
    assert "MIT License" in (data / "LICENSE").read_text()
    assert "OmniAnomaly" in (data / "NOTICE").read_text()
