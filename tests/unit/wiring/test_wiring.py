import json

import pytest

from streamgmm import wiring
from streamgmm.config import parse
from streamgmm.config.kafka import ConsumerClient, ProducerClient
from streamgmm.delivery import Outlet
from streamgmm.errors import ConfigError
from streamgmm.paging import Feed, Paging
from streamgmm.sinks import file as file_sink
from streamgmm.sinks import kafka as kafka_sink

SECURITY = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "svc", "password": "hunter2", "ca_file": "ca.pem"}


def config(**more):
    return parse({
        "source": {"bootstrap_servers": "one:1,two:2", "topics": ["a", "b"], "security": SECURITY},
        "codec": {"fields": ["x", {"name": "y", "path": "deep.y", "type": "category"}]},
        "sinks": [{"topic": "anomalies"}],
        **more,
    })  # fmt: skip


def test_the_kafka_source_is_told_everything():
    source = {
        "bootstrap_servers": "one:1", "topic": "t", "group_id": "g", "group_instance_id": "g-0", "on_corrupt": "skip",
        "fetch": "records", "auto_offset_reset": "latest", "isolation_level": "read_uncommitted",
        "client": {"session_timeout_ms": 6000, "max_poll_interval_ms": 60000, "fetch_max_bytes": "1MiB"},
    }  # fmt: skip
    whole = config(source=source, limits={"batch_rows": 7, "batch_bytes": "8MiB"})
    settings = wiring.kafka_source_settings(whole, whole.source)
    assert settings.topics == ("t",)
    assert (settings.group_id, settings.group_instance_id, settings.on_corrupt) == ("g", "g-0", "skip")
    assert settings.fetch == "records"
    assert (settings.auto_offset_reset, settings.isolation_level) == ("latest", "read_uncommitted")
    assert (settings.batch_rows, settings.batch_bytes) == (7, 8 << 20)
    assert (settings.session_timeout_ms, settings.max_poll_interval_ms) == (6000, 60000)
    assert settings.connection.client["fetch_max_bytes"] == 1 << 20


@pytest.mark.parametrize(("section", "kind"), [(ConsumerClient, "KafkaConsumer"), (ProducerClient, "KafkaProducer")])
def test_every_client_option_reaches_the_client(section, kind):
    """kafka-python takes each option, or it has a place of its own in our settings; none is dropped."""
    import kafka

    from streamgmm.bus import client

    known = set(getattr(kafka, kind).DEFAULT_CONFIG)
    passed = set(section.model_fields) - set(wiring.OWN_SETTINGS)
    assert passed <= known
    assert not passed & client.RESERVED


def test_security_is_passed_on_and_kept_out_of_sight():
    connection = wiring.source_connection(config().source)
    security = connection.security
    assert (security.protocol, security.mechanism, security.username) == ("SASL_SSL", "PLAIN", "svc")
    assert (security.password, security.ca_file, security.check_hostname) == ("hunter2", "ca.pem", True)
    assert "hunter2" not in repr(connection)


def test_secrets_are_read_from_their_files(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("p@ss word\n")
    section = {**{key: value for key, value in SECURITY.items() if key != "password"}, "password_file": str(secret)}
    source = {"bootstrap_servers": "one:1", "topic": "t", "security": section}
    assert wiring.source_connection(config(source=source).source).security.password == "p@ss word"
    secret.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"^source\.security\.password_file: .*secret is not UTF-8"):
        wiring.source_connection(config(source=source).source)


def test_a_sink_has_the_source_s_security_only_on_the_source_s_brokers():
    sinks = [
        {"topic": "x"},
        {"topic": "y", "bootstrap_servers": ["two:2", "one:1"]},
        {"topic": "z", "bootstrap_servers": "other:1"},
        {"topic": "w", "security": {"protocol": "SSL"}},
    ]
    whole = config(sinks=sinks)
    protocols = [wiring.sink_connection(whole, sink, "sinks").security for sink in whole.sinks]
    assert [security and security.protocol for security in protocols] == ["SASL_SSL", "SASL_SSL", None, "SSL"]


def test_the_codec_is_told_everything():
    codec = {
        "fields": ["x", {"name": "y", "path": "deep.y", "type": "category"}],
        "timestamp": {"path": "ts", "unit": "iso"},
        "passthrough": ["host"],
        "max_missing": 0.25,
    }
    settings = wiring.codec_settings(config(codec=codec, limits={"record_bytes": 1000}))
    assert [tuple(field) for field in settings.fields] == [("x", "x", "number"), ("y", "deep.y", "category")]
    assert tuple(settings.timestamp) == ("ts", "iso")
    assert (settings.passthrough, settings.max_missing, settings.max_bytes) == (("host",), 0.25, 1000)


@pytest.mark.parametrize("kind", ["json", "float32", "float64"])
def test_every_codec_can_be_built(kind):
    built = wiring.codec(config(codec={"type": kind, "fields": ["x", "y"]}))
    assert [field.name for field in built.fields] == ["x", "y"]


class Connected:
    def __init__(self, settings):
        self.settings, self.name = settings, settings.name


@pytest.fixture
def built(monkeypatch):
    monkeypatch.setattr(kafka_sink, "build", Connected)
    monkeypatch.setattr(file_sink, "build", Connected)
    return lambda whole: [(o.sink.name, o.takes, o.sink.settings) for o in wiring.outlets(whole)]


def test_outlets_are_named_by_a_closed_set(built, tmp_path):
    sinks = [{"topic": "x"}, {"topic": "y", "emit": "all"}, {"type": "file", "path": str(tmp_path / "out")}]
    outlets = built(config(sinks=sinks))
    assert [(name, takes) for name, takes, _ in outlets] == [
        ("kafka", "anomalies"), ("kafka_2", "all"), ("file", "anomalies"), ("dead_letters", "dead_letters"),
    ]  # fmt: skip


def test_a_sink_that_is_paged_has_a_feed_of_its_own(built, tmp_path):
    sinks = [
        {"topic": "x"}, {"topic": "y", "emit": "incidents"},
        {"type": "file", "path": str(tmp_path / "out"), "min_interval": "15m"},
    ]  # fmt: skip
    whole = config(sinks=sinks)
    assert [takes for _, takes, _ in built(whole)] == ["anomalies", "kafka_2", "file", "dead_letters"]
    assert wiring.feeds(whole) == [Feed("kafka_2", "incidents"), Feed("file", "anomalies", 900.0)]


def test_a_kafka_sink_is_told_everything(built):
    client = {"compression_type": "zstd", "linger_ms": 50, "max_request_size": "2MiB"}
    (_, _, settings), _ = built(config(sinks=[{"topic": "x", "client": client}]))
    assert (settings.topic, settings.compression, settings.linger_ms) == ("x", "zstd", 50)
    assert settings.connection.client["max_request_size"] == 2 << 20
    (_, _, plain), _ = built(config())
    assert (plain.compression, plain.transcode) == ("lz4", False)
    (_, _, none), _ = built(config(sinks=[{"topic": "x", "client": {"compression_type": "none"}, "format": "msgpack"}]))
    assert (none.compression, none.transcode) == (None, True)


@pytest.mark.parametrize(
    ("letters", "topic", "beside"),
    [({}, "a-dead-letters", "b-dead-letters"), ({"topic": "one"}, "one", None)],
)
def test_dead_letters_go_beside_their_topic_unless_told(built, letters, topic, beside):
    whole = config(dead_letters=letters)
    assert built(whole)[-1][2].topic == topic
    outlets = [Outlet(None, "anomalies"), Outlet(None, "dead_letters")]
    rendering = wiring.rendering(whole, None, ("x",), outlets, Paging())
    assert rendering.takes == {"anomalies", "dead_letters"}
    assert rendering.dead_letter_topic("b") == beside


def test_a_file_source_is_all_files(built, tmp_path):
    rows = tmp_path / "rows.csv"
    source = {"type": "file", "path": str(rows), "offsets_path": str(tmp_path / "o"), "format": "csv"}
    whole = config(source=source, sinks=[{"type": "file", "path": str(tmp_path / "out")}])
    settings = wiring.file_source_settings(whole, whole.source)
    assert (settings.path, settings.format, settings.offsets_path) == (rows, "csv", tmp_path / "o")
    assert settings.max_rows == whole.limits.batch_rows
    assert built(whole)[-1][2].path == tmp_path / "rows.csv.dead-letters.jsonl"
    assert wiring.rendering(whole, None, ("x",), [], Paging()).dead_letter_topic("rows.csv") is None
    assert wiring.topics(whole) == ("rows.csv",)


def test_what_is_missing_is_a_sentence():
    empty = parse({}, require=())
    for build in (wiring.source, wiring.codec):
        with pytest.raises(ConfigError, match="add the section"):
            build(empty)


def test_the_snapshots_stand_where_they_were_told(tmp_path):
    store = wiring.snapshot_store(config(state={"dir": str(tmp_path / "s"), "keep": 2}))
    assert store.directory == tmp_path / "s"


def test_what_status_shows_holds_no_secret():
    assert "hunter2" not in json.dumps(config().redacted())
