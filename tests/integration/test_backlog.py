"""What a topic holds already: `fit --from-topic`, and the table of `check --online`."""

import json

import numpy as np
import pytest

from streamgmm import backlog, cli
from streamgmm.bus import backlog as bus_backlog
from streamgmm.config import parse
from streamgmm.errors import ConfigError, RetryableError, StopError
from streamgmm.offline.model import open_model
from streamgmm.probe import findings
from streamgmm.records import TopicPartition

pytestmark = pytest.mark.integration

START = 1_700_000_000_000


@pytest.fixture
def rows():
    return np.random.default_rng(3).normal(size=(3000, 2)) + np.where(np.arange(3000)[:, None] % 3, 0.0, 4.0)


def payloads(X):
    return [json.dumps({"a": a, "b": b}).encode() for a, b in X.tolist()]


def raw_config(kafka, topic, state, **more):
    return {
        "source": {"bootstrap_servers": kafka.connection.bootstrap_servers, "topics": [topic], "group_id": topic},
        "codec": {"fields": ["a", "b"]},
        "sinks": [{"topic": f"{topic}-anomalies"}],
        "state": {"dir": str(state)},
        **more,
    }


def fitted(argv):
    assert cli.main(["fit", *argv]) == 0


def test_the_numbers_are_those_of_the_same_rows_in_a_file(
    kafka, make_topic, produce, committed, rows, tmp_path, capsys
):
    topic = make_topic(1)
    stamps = [START + 10 * i for i in range(len(rows))]
    values = payloads(rows)
    produce(topic, [b"{", *values], timestamps=[START, *stamps], compression_type="lz4")
    config = raw_config(kafka, topic, tmp_path / "topic", features=[{"type": "difference", "fields": ["a"]}])
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    np.savez(tmp_path / "rows.npz", X=rows, fields=np.array(["a", "b"]), t=np.array(stamps) / 1000)
    options = ["-c", str(tmp_path / "config.yaml")]
    fitted(["--from-topic", *options])
    said = capsys.readouterr()
    assert "of 3000 rows" in said.out
    assert said.err == "1 of 3001 records left out: decode\n"
    fitted(["--input", str(tmp_path / "rows.npz"), *options, "--output", str(tmp_path / "file")])
    ours, theirs = open_model(tmp_path / "topic"), open_model(tmp_path / "file")
    for one, other in zip(ours.detector.members, theirs.detector.members, strict=True):
        assert one.mixture.means.tobytes() == other.mixture.means.tobytes() if hasattr(one.mixture, "means") else True
    score = ours.detector.log_density, theirs.detector.log_density
    columns = np.column_stack([rows[:50], np.diff(rows[:51, 0])])
    assert score[0](columns).tobytes() == score[1](columns).tobytes()
    assert ours.calibration.recent.tobytes() == theirs.calibration.recent.tobytes()
    assert committed(topic, topic) == {}


def test_partitions_are_merged_by_time_and_the_newest_rows_are_taken(kafka, make_topic, produce, rows):
    topic = make_topic(3)
    n = 900
    parts = [i % 3 for i in range(n)]
    stamps = [START + 7 * i for i in range(n)]
    produce(topic, payloads(rows[:n]), timestamps=stamps, partitions=parts, keys=[b"k%d" % i for i in range(n)])
    config = parse(raw_config(kafka, topic, "unused"))
    shares = []
    past = backlog.read(config, 10_000, lambda share, count: shares.append((share, count)))
    np.testing.assert_array_equal(past.X, rows[:n])
    assert past.t.tolist() == [s / 1000 for s in stamps]
    assert past.keys == tuple(b"k%d" % i for i in range(n))
    assert shares[-1] == (1.0, n)
    newest = backlog.read(config, 100)
    np.testing.assert_array_equal(newest.X, rows[n - 100 : n])
    assert newest.records == 300


def test_what_arrives_while_it_reads_is_left_out(kafka, make_topic, produce, rows):
    topic = make_topic(1)
    produce(topic, payloads(rows[:500]))
    reading = bus_backlog.batches(kafka.connection, [topic], 10_000)
    first, _ = next(reading)
    produce(topic, payloads(rows[500:900]))
    offsets = [*first.offset, *(offset for batch, _ in reading for offset in batch.offset)]
    assert offsets == list(range(500))


def test_nothing_there(kafka, make_topic, group, tmp_path):
    empty = backlog.read(parse(raw_config(kafka, make_topic(2), "unused")), 100)
    assert (empty.X.shape, empty.records) == ((0, 2), 0)
    with pytest.raises(StopError, match=f"there is no topic {group}"):
        backlog.read(parse(raw_config(kafka, group, "unused")), 100)
    with pytest.raises(ConfigError, match="no topic to read"):
        backlog.read(parse({"codec": {"fields": ["a"]}}, require=()), 100)
    assert list(tmp_path.iterdir()) == []


def test_silent_brokers_are_away():
    class Silent:
        def beginning_offsets(self, partitions):
            return dict.fromkeys(partitions, 0)

        def end_offsets(self, partitions):
            return dict.fromkeys(partitions, 9)

        def position(self, _):
            return 0

        def poll(self, timeout_ms):
            clock[0] += timeout_ms / 1000
            return {}

        def assign(self, _):
            pass

        pause = seek = lambda *_: None

    clock = [0.0]
    with pytest.raises(RetryableError, match="nothing for 30 s"):
        list(bus_backlog._read(Silent(), [TopicPartition("t", 0)], 5, lambda: clock[0]))


def test_check_shows_the_newest_vectors_and_why_others_would_be_rejected(kafka, make_topic, produce, tmp_path):
    topic = make_topic(1)
    produce(topic, [b'{"a": 1, "b": null}', b'{"a": "x", "b": 2}', b"\x82\xa1a\x01\xa1b\x02"])
    found = {finding.what: finding for finding in findings(parse(raw_config(kafka, topic, tmp_path)))}
    assert found["vectors"].detail == "the first 1\n        a  1\n        b  missing"
    rejects = [f.detail for f in findings(parse(raw_config(kafka, topic, tmp_path))) if f.what == "record"]
    assert (
        rejects[0]
        == "would be rejected (schema): field 'a' is a string ('x'), expected a number; declare it with type: category"
    )
    assert rejects[1].startswith("would be rejected (decode): not UTF-8 at byte 0; starts with byte 82: is this Mess")
