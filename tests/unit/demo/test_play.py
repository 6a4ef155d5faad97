import io
import itertools
import json

import pytest

from streamgmm.demo import play
from streamgmm.demo.names import Names
from streamgmm.demo.replay import Replay
from streamgmm.demo.scrape import Metrics
from streamgmm.demo.show import Progress
from streamgmm.errors import StopError


def record(row, incident):
    return {
        "offset": row,
        "timestamp": "2026-03-04T05:06:07.000Z",
        "score": 30.0,
        "severity": "warning",
        "incident": incident,
        "contributions": [{"feature": "a", "observed": 1.0, "expected": 0.0, "stddev": 0.1}],
    }


class FakeTopics:
    """Holds what was sent; everything sent is scored and committed at once."""

    def __init__(self):
        self.names = Names.make()
        self.sent = []
        self.anomalies = []
        self.unread = []
        self.commits = True

    def send(self, value, timestamp_ms):
        self.sent.append((value, timestamp_ms))

    def flush(self):
        pass

    def new_anomalies(self):
        found, self.unread = self.unread, []
        return found

    def rows(self, topic):
        return len(self.sent) if topic == self.names.input else 0

    def committed(self):
        return len(self.sent) if self.commits else 0

    def read_back(self, topic):
        found = self.anomalies if topic == self.names.anomalies else []
        return (json.dumps(r).encode() for r in found)


class FakeDaemon:
    def __init__(self, topics):
        self.topics = topics
        self.lag = 0
        self.dead = False

    def check(self):
        if self.dead:
            raise StopError("dead")

    def tail(self):
        return "the last words"

    def log_bytes(self):
        return 0

    def metrics(self):
        return Metrics(f"streamgmm_rows_scored_total {len(self.topics.sent) - self.lag}")

    def version(self):
        return "1.0"


@pytest.fixture
def topics():
    return FakeTopics()


@pytest.fixture
def daemon(topics):
    return FakeDaemon(topics)


@pytest.fixture
def out():
    return io.StringIO()


@pytest.fixture
def watch(small, topics, daemon, out):
    ticks = itertools.count(0.0, 0.6)
    replay = Replay(small, topics.send, end=1_700_000_000.0, rate=5.0)
    replay.warm_up()
    return play.Watch(topics, daemon, replay, Progress(out, io.StringIO(), len(small)), lambda: next(ticks))


def test_every_row_is_sent_and_waited_for(watch, topics, small):
    assert play._perform(watch, small) > 0
    assert len(topics.sent) == len(small)
    assert watch.metrics.seen == len(small)


def test_an_incident_is_announced_once(watch, topics, out):
    topics.unread = [record(5, "x"), record(6, "x"), record(9, "y")]
    watch.look()
    topics.unread = [record(10, "y")]
    watch.look()
    assert [line.split()[3] for line in out.getvalue().splitlines()] == ["5", "9"]


def test_a_daemon_that_stands_still_is_an_error_with_its_log(watch, daemon, small):
    daemon.lag = 3
    with pytest.raises(StopError, match=r"stopped at row 1 .*\nthe last words"):
        play._perform(watch, small)


def test_offsets_that_are_never_committed_are_an_error(watch, topics, small):
    topics.commits = False
    with pytest.raises(StopError, match="stopped at row 20"):
        play._perform(watch, small)


def test_a_dead_daemon_ends_the_demo(watch, daemon, small):
    daemon.dead = True
    with pytest.raises(StopError, match="dead"):
        play._perform(watch, small)


def test_the_closing_reads_the_topics(watch, topics, small, out):
    play._perform(watch, small)
    topics.anomalies = [record(7, "x"), record(18, "y")]
    play._closing(small, topics, watch.metrics, watch.progress, 1.0)
    assert "found        1 of 2 events" in out.getvalue()
    assert "20 = 20 scored + 0 unscored + 0 rejected; lost 0; committed 20" in out.getvalue()


def test_a_lost_row_is_an_error(watch, topics, small):
    play._perform(watch, small)
    with pytest.raises(StopError, match="1 rows have no result"):
        play._closing(small, topics, Metrics("streamgmm_rows_scored_total 19"), watch.progress, 1.0)


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "state").mkdir()
    with pytest.raises(StopError, match="is not empty"):
        play._empty(tmp_path)
