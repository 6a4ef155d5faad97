"""Daemons that are killed, that come back, that share a topic, and a broker that goes away: nothing may be lost."""

import os
import signal
import socket
import threading
from collections import Counter

import pytest
from brokers import Kafka
from site_under_test import Site

from streamgmm.demo.broker import Broker
from streamgmm.snapshots import SnapshotStore

pytestmark = pytest.mark.integration

PARTITIONS = 4
QUICK = {"session_timeout_ms": 6000, "heartbeat_interval_ms": 1000}
ALL = {"emit": "all"}


@pytest.fixture
def site(kafka, make_topic, tmp_path, group):
    with Site(kafka, tmp_path, (make_topic(PARTITIONS), make_topic()), group) as built:
        yield built


class Trickle:
    """Sends a hundred rows at a time from a thread of its own, until told to stop."""

    def __init__(self, site):
        self._site = site
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trickle")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(120)

    def _run(self):
        while not self._stop.wait(0.1):
            self._site.send_rows(100)


def assigned(daemon):
    return int(daemon.metrics().total("consumer_assigned_partitions"))


def rebalances(daemon):
    return daemon.metrics().by("consumer_rebalances_total", "event")


def each_row_came_out(site):
    """Check at least once, row by row, and return how many rows came more often."""
    came = Counter(site.output_ids())
    assert set(came) == set(site.sent)
    return sum(n - 1 for n in came.values())


def test_kill_9_loses_no_row_and_no_knowledge(site):
    daemon = site.daemon(sink=ALL, state={"interval": "1s"}, source={"client": QUICK}).start()
    daemon.until_ready()
    site.send_rows(1500)
    daemon.until(lambda: daemon.version() != "0.0", what="a model serves")
    with Trickle(site):
        for _ in range(2):
            seen = daemon.metrics().seen
            daemon.until(lambda before=seen: daemon.metrics().seen > before + 300, what="rows go by")
            daemon.kill()
            store = SnapshotStore(daemon.state)
            for name in store.names():
                store.verify(name)
            newest = store.newest().manifest["model_version"]
            daemon.start()
            daemon.until_ready()
            assert f"restored model {newest}" in daemon.log()
            daemon.until(lambda: daemon.metrics().total("rows_scored_total") > 0, what="rows are scored again")
    far = site.send_far()
    daemon.until(site.caught_up, what="everything is committed")
    metrics = daemon.metrics()
    assert metrics.total("rows_unscored_total") == 0
    assert metrics.total("records_not_learnt_total") == 0
    # Learnt once each: what came before the snapshot, what was replayed up to the commits, and what was new.
    assert daemon.status()["engine"]["rows_seen"] == len(site.sent)
    each_row_came_out(site)
    assert far[0] in site.output_ids()
    assert daemon.terminate() == 143


def test_two_members_share_a_topic_and_a_rebalance_loses_nothing(site):
    first = site.daemon(sink=ALL, source={"client": QUICK}).start()
    first.until_ready()
    first.until(lambda: assigned(first) == PARTITIONS, what="one member has every partition")
    with Trickle(site):
        second = site.daemon(sink=ALL, source={"client": QUICK}).start()
        second.until_ready()
        second.until(lambda: assigned(first) == assigned(second) == PARTITIONS // 2, what="two members share")
        second.until(lambda: second.metrics().seen > 200, what="the second member works")
        assert second.terminate() == 143
        first.until(lambda: assigned(first) == PARTITIONS, what="the first takes over again")
        second.start()
        second.until(lambda: assigned(second) == PARTITIONS // 2, what="the second is back")
        second.kill()
        first.until(lambda: assigned(first) == PARTITIONS, what="the first takes over from the dead")
    first.until(site.caught_up, what="everything is committed")
    events = rebalances(first)
    assert events["revoked"] >= 2
    assert events["assigned"] >= 3
    each_row_came_out(site)
    assert first.terminate() == 143


def test_a_static_member_that_comes_back_moves_no_partition(site):
    client = {"session_timeout_ms": 20_000, "heartbeat_interval_ms": 1000}
    one = site.daemon(sink=ALL, source={"group_instance_id": "one", "client": client}).start()
    two = site.daemon(sink=ALL, source={"group_instance_id": "two", "client": client}).start()
    one.until_ready()
    two.until(lambda: assigned(one) == assigned(two) == PARTITIONS // 2, what="two members share")
    before = rebalances(one)
    mine = {p["partition"] for p in two.status()["partitions"]}
    with Trickle(site):
        for end in (two.kill, two.terminate):
            two.until(lambda: two.metrics().seen > 100, what="rows go by")
            end()
            two.start()
            two.until(lambda: assigned(two) == PARTITIONS // 2, what="the member is back")
            assert {p["partition"] for p in two.status()["partitions"]} == mine
    two.until(site.caught_up, what="everything is committed")
    assert rebalances(one) == before
    each_row_came_out(site)
    for daemon in (one, two):
        assert daemon.terminate() == 143


def test_sigterm_in_full_flow_commits_what_it_wrote(site):
    daemon = site.daemon(sink=ALL).start()
    daemon.until_ready()
    with Trickle(site):
        daemon.until(lambda: daemon.metrics().seen > 1500, what="rows go by")
        assert daemon.terminate() == 143
    committed, _ = site.offsets()
    done = {f"{site.topic}/{p}/{offset}/0" for p, end in committed.items() for offset in range(end)}
    came = site.output_ids()
    assert set(came) == done
    assert len(came) == len(done)
    newest = SnapshotStore(daemon.state).newest()
    assert {partition: offset for _, partition, offset, *_ in newest.manifest["covered"]} == committed


def test_a_broker_that_goes_away_and_comes_back_costs_nothing(tmp_path, group):
    with Broker(default_partitions=PARTITIONS) as broker:
        kafka = Kafka("embedded", broker.bootstrap_servers)
        with Site(kafka, tmp_path, (f"{group}-in", f"{group}-out"), group) as site:
            site.send_rows(1200)
            daemon = site.daemon(sink=ALL, source={"client": QUICK}).start()
            daemon.until(lambda: daemon.version() != "0.0", what="a model serves")
            pid = daemon.pid
            for _ in range(2):
                site.send_rows(200)
                broker.stop()
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", broker.port), 5)
                broker.start()
                site.send_rows(100)
                daemon.until(site.caught_up, what="everything is committed")
            assert daemon.pid == pid
            assert daemon.running()
            each_row_came_out(site)
            assert daemon.terminate() == 143


@pytest.mark.parametrize("signals", [1, 2])
def test_sigterm_without_a_broker_ends_inside_the_budget(tmp_path, group, signals):
    # The second signal must end it long before a budget that the test itself could not wait for.
    budget = 6.0 if signals == 1 else 600.0
    with Broker() as broker, Site(Kafka("embedded", broker.bootstrap_servers), tmp_path, ("in", "out"), group) as site:
        site.send_rows(1200)
        daemon = site.daemon(sink=ALL, limits={"shutdown": budget}).start()
        daemon.until(lambda: daemon.version() != "0.0", what="a model serves")
        broker.stop()
        for _ in range(signals - 1):
            os.kill(daemon.pid, signal.SIGTERM)
            daemon.until(lambda: "stopping" in daemon.log(), what="it stops")
        assert daemon.terminate(100.0) == 143
        for name in SnapshotStore(daemon.state).names():
            SnapshotStore(daemon.state).verify(name)


def test_a_stop_that_a_sink_holds_up_is_still_a_stop_by_signal(tmp_path, group):
    with Broker() as inward, Broker() as outward:
        kafka = Kafka("embedded", inward.bootstrap_servers)
        with Site(kafka, tmp_path, ("in", "out"), group) as site:
            site.send_rows(1200)
            sink = ALL | {"bootstrap_servers": outward.bootstrap_servers}
            daemon = site.daemon(sink=sink, limits={"shutdown": 4.0}).start()
            daemon.until(lambda: daemon.version() != "0.0" and site.caught_up(), what="a model serves")
            outward.stop()
            site.send_rows(100)
            daemon.until(lambda: daemon.metrics().total("sink_errors_total"), what="the sink takes nothing")
            assert daemon.terminate() == 143
            assert "reads these records again" in daemon.log()
            assert "INFO streamgmm.app stopping" in daemon.log()
            committed, ends = site.offsets()
            assert sum(ends.values()) - sum(committed.values()) == 100
