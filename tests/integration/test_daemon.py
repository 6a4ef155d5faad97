"""The real daemon, as a process, on a real topic: what it makes of a stream, what it says of itself, how it ends."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from brokers import free_ports
from daemon_process import ROOT
from site_under_test import Site
from streams import malformed_float32, malformed_json

from streamgmm.snapshots import SnapshotStore

pytestmark = pytest.mark.integration

RECORD_BYTES = 1024
WARM_UP = 1000


@pytest.fixture
def site(kafka, make_topic, tmp_path, group):
    with Site(kafka, tmp_path, (make_topic(2), make_topic()), group) as built:
        yield built


@pytest.fixture(params=["json", "float32"])
def either_codec(kafka, make_topic, tmp_path, group, request):
    with Site(kafka, tmp_path, (make_topic(2), make_topic()), group, request.param) as built:
        yield built


def malformed(site):
    if site.codec == "json":
        return malformed_json(site.mixture.names, RECORD_BYTES)
    d = len(site.mixture.names)
    return [malformed_float32(i, d, site.rng, RECORD_BYTES) for i in range(10)]


def serving(daemon):
    daemon.until(lambda: daemon.version() != "0.0", what="a model serves")


def in_order(daemon):
    """Whether a daemon has nothing to complain about."""
    return not [line for line in daemon.log().splitlines() if "Traceback" in line or " ERROR streamgmm" in line]


def test_a_stream_becomes_anomalies_and_dead_letters(either_codec):
    site = either_codec
    daemon = site.daemon(limits={"record_bytes": RECORD_BYTES}).start()
    daemon.until_ready()
    site.send_rows(1500)
    serving(daemon)

    far_keys = [b"pump 7", b"\xff\xfe", None]
    far = dict(zip(site.send_far(3, far_keys), far_keys, strict=True))
    bad = malformed(site)
    bad_keys = [None if i == 0 else b"bad %d" % i for i in range(len(bad))]
    bad_headers = [[("trace", b"%d" % i), ("streamgmm-reason", b"an older one")] for i in range(len(bad))]
    bad_ids = site.send_values([b.value for b in bad], bad_keys, bad_headers)
    with_gap = site.mixture.rows(1, site.rng)
    with_gap[0, 1] = np.nan
    site.send(with_gap)
    site.send_values([None], [b"a tombstone"])
    site.send_rows(300)
    daemon.until(site.caught_up, what="everything is committed")

    check_anomalies(site, far)
    check_dead_letters(site, bad, bad_keys, bad_ids)
    check_http(site, daemon, bad)
    assert daemon.terminate() == 143
    assert site.caught_up()
    assert in_order(daemon), daemon.tail()


def check_anomalies(site, far):
    schema = json.loads((ROOT / "docs" / "anomaly.schema.json").read_text())
    records = {}
    for record in site.records():
        value = json.loads(record.value)
        jsonschema.validate(value, schema)
        records[value["id"]] = (record, value)
    assert len(records) < 0.05 * len(site.sent)
    for row, key in far.items():
        record, value = records[row]
        assert record.key == key
        assert dict(record.headers)["streamgmm-model-version"].decode() == value["model_version"] != "0.0"
        assert dict(record.headers)["streamgmm-source"].decode() == row.removesuffix("/0")
        assert set(value["features"]) == set(site.mixture.names)
        assert value["score"] > 50
        assert value["severity"] == "critical"
        assert value["contributions"][0]["surprise"] >= value["contributions"][-1]["surprise"]


def check_dead_letters(site, bad, keys, ids):
    letters = {dict(r.headers)["streamgmm-source"].decode(): r for r in site.records(site.dead_letters)}
    assert set(letters) == {i.removesuffix("/0") for i in ids}
    for i, (payload, key, row) in enumerate(zip(bad, keys, ids, strict=True)):
        letter = letters[row.removesuffix("/0")]
        headers = dict(letter.headers)
        assert letter.value == payload.value[:RECORD_BYTES]
        cut = len(payload.value) > RECORD_BYTES
        said = f"value={len(payload.value)} key={len(key or b'')}".encode() if cut else None
        assert headers.get("streamgmm-truncated") == said
        assert letter.key == key
        assert headers["streamgmm-reason"].decode() == payload.reason
        assert headers["streamgmm-detail"]
        assert headers["trace"] == b"%d" % i
        assert [name for name, _ in letter.headers].count("streamgmm-reason") == 1


def check_http(site, daemon, bad):
    assert daemon.get("/livez")[0] == 200
    assert daemon.get("/readyz")[0] == 200
    assert daemon.get("/nowhere")[0] == 404
    metrics, status = daemon.metrics(), daemon.status()
    assert metrics.seen == len(site.sent) == int(metrics.total("records_consumed_total"))
    reasons = [b.reason for b in bad]
    assert metrics.by("rows_rejected_total", "reason") == {r: reasons.count(r) for r in reasons}
    unscored = metrics.by("rows_unscored_total", "reason")
    assert unscored == {"warming_up": WARM_UP, "tombstone": 1}
    assert metrics.total("anomalies_total", severity="critical") >= 3
    assert metrics.total("model_version") == int(status["engine"]["version"].split(".")[0]) >= 1
    assert metrics.total("sink_records_total", sink="dead_letters") == len(bad)
    assert metrics.total("consumer_lag_records") == 0
    assert metrics.total("block_hook_active") == 1
    assert status["rows"]["scored"] == metrics.total("rows_scored_total")
    assert status["engine"]["state"] == "serving"
    ends = {p["partition"]: p["next_offset"] for p in status["partitions"]}
    assert ends == site.offsets()[1]


def test_until_end_stops_there_with_everything_saved(site):
    daemon = site.daemon()
    site.send_rows(1500)
    assert daemon.start("--until-end").wait(60) == 0, daemon.tail()
    assert site.caught_up()
    # Only now: partitions have no common order, and before the warm-up ends a row passes without a score.
    far = site.send_far()
    assert daemon.start("--until-end").wait(60) == 0, daemon.tail()
    assert site.caught_up()
    assert far[0] in site.output_ids()
    newest = SnapshotStore(daemon.state).newest()
    covered = {partition: offset for _, partition, offset, *_ in newest.manifest["covered"]}
    assert covered == site.offsets()[1]
    assert newest.manifest["model_version"].startswith("1.")
    assert in_order(daemon), daemon.tail()


def test_until_end_on_an_empty_topic_ends_as_well(site):
    daemon = site.daemon().start("--until-end")
    assert daemon.wait(60) == 0, daemon.tail()


def test_a_dry_run_scores_and_leaves_no_trace(site):
    site.send_rows(1200)
    daemon = site.daemon().start("--dry-run")
    serving(daemon)
    site.send_far()
    site.send_values([b"no floats"])
    daemon.until(lambda: daemon.metrics().seen == len(site.sent), what="all rows are scored")
    assert daemon.metrics().total("anomalies_total") >= 1
    assert daemon.terminate() == 143
    assert site.records() == []
    assert set(site.offsets()[0].values()) == {0}
    assert not daemon.state.exists()
    again = site.daemon().start("--dry-run", "--until-end")
    assert again.wait(60) == 0, again.tail()
    assert set(site.offsets()[0].values()) == {0}


def test_a_second_start_goes_on_where_the_first_stopped(site):
    daemon = site.daemon().start()
    daemon.until_ready()
    site.send_rows(1500)
    serving(daemon)
    site.send_rows(333)
    daemon.until(site.caught_up, what="everything is committed")
    version, seen = daemon.version(), daemon.status()["engine"]["rows_seen"]
    assert daemon.terminate() == 143
    newest = SnapshotStore(daemon.state).newest()
    assert newest.manifest["model_version"] == version

    daemon.start()
    daemon.until_ready()
    daemon.until(lambda: daemon.version() == version, what="the saved model serves")
    assert f"restored model {version}" in daemon.log()
    assert daemon.status()["engine"]["rows_seen"] == seen == len(site.sent)
    site.send_rows(200)
    far = site.send_far()
    daemon.until(site.caught_up, what="everything is committed")
    metrics = daemon.metrics()
    assert metrics.total("rows_scored_total") == metrics.seen == 201
    assert metrics.total("rows_replayed_total") == 0
    assert far[0] in site.output_ids()
    assert daemon.terminate() == 143


def test_other_fields_do_not_start_on_an_old_snapshot(site):
    site.send_rows(1200)
    daemon = site.daemon().start("--until-end")
    assert daemon.wait(60) == 0, daemon.tail()
    daemon.config["codec"]["fields"] = ["d", "e"]
    assert daemon.start().wait(30) == 78
    assert "none is configured" in daemon.log()
    assert "on_mismatch" in daemon.log()
    daemon.config["state"]["on_mismatch"] = "cold_start"
    site.send_rows(10)
    assert daemon.start("--until-end").wait(30) == 0, daemon.tail()
    assert "starting cold" in daemon.log()
    assert site.caught_up()


def test_a_field_more_and_another_committee_go_on_with_what_was_learnt(site):
    site.send_rows(1200)
    daemon = site.daemon(model={"committee": ["slow", "fast"]}).start("--until-end")
    assert daemon.wait(60) == 0, daemon.tail()
    daemon.config["codec"]["fields"] = [*daemon.config["codec"]["fields"], "d"]
    daemon.config["model"] = {"committee": ["slow", "marginals"]}
    site.send_rows(10)
    assert daemon.start("--until-end").wait(60) == 0, daemon.tail()
    assert "does not know: d" in daemon.log()
    assert "marginals is new" in daemon.log()
    snapshot = SnapshotStore(daemon.state).newest()
    assert str(snapshot.arrays["engine.detector.member1.name"]) == "marginals"
    assert site.caught_up()


def test_two_daemons_do_not_share_a_state_folder(site):
    first = site.daemon().start()
    first.until_ready()
    second = site.daemon(state={"dir": str(first.state)}).start()
    assert second.wait(30) == 1
    assert f"in use by process {first.pid}" in second.log()
    assert first.terminate() == 143


def test_a_broker_that_is_away_means_try_later(tmp_path, group):
    port = free_ports()
    nobody = type("Nobody", (), {"bootstrap_servers": f"127.0.0.1:{port}"})()
    with Site(nobody, Path(tmp_path), ("in", "out"), group) as site:
        daemon = site.daemon().start()
        assert daemon.wait(60) == 75
        assert "nothing listens there" in daemon.log()
        assert str(port) in daemon.log()
        assert "Traceback" not in daemon.log()


def test_a_topic_that_is_not_there_means_try_later(site, group):
    daemon = site.daemon(source={"topic": group}).start()
    assert daemon.wait(60) == 75
    assert "does not exist" in daemon.log()
