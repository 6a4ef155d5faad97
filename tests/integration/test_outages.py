"""Brokers that hang, and disks that are full: told while it lasts, told when it is over, and nothing is lost."""

import os
import signal
import subprocess
import sys

import pytest
from brokers import ROOT, Kafka, read_all
from site_under_test import Site

from streamgmm.bus.client import Connection, servers
from streamgmm.demo.broker import Broker
from streamgmm.records import OutputRecord
from streamgmm.sinks.kafka import KafkaSinkSettings, build

pytestmark = pytest.mark.integration

ALL = {"emit": "all"}


def test_a_broker_that_hangs_is_told_at_either_end_and_nothing_is_lost(tmp_path, group):
    """A stopped process takes connections and bytes: only answers tell it from a quiet topic."""
    command = [sys.executable, "-m", "streamgmm.demo.broker"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as broker:
        try:
            kafka = Kafka("embedded", broker.stdout.readline().strip())
            with Site(kafka, tmp_path, ("in", "out"), group) as site:
                site.send_rows(1200)
                daemon = site.daemon(sink=ALL).start()
                daemon.until(lambda: daemon.version() != "0.0" and site.caught_up(), what="a model serves")
                os.kill(broker.pid, signal.SIGSTOP)
                daemon.until(lambda: b"Kafka has not answered since" in daemon.get("/readyz")[1], what="it is told")
                assert daemon.get("/readyz")[0] == 503
                assert daemon.get("/livez")[0] == 200
                os.kill(broker.pid, signal.SIGCONT)
                daemon.until(lambda: daemon.get("/readyz")[0] == 200, what="the broker answers again")
                site.send_rows(100)
                daemon.until(site.caught_up, what="everything is committed")
                assert [line.count("Kafka ") for line in daemon.log().splitlines() if "Kafka " in line] == [1, 1]
                assert "kafka." not in daemon.log(), "kafka-python's own loggers"
                assert daemon.terminate() == 143
                assert daemon.log().splitlines()[-1].endswith("streamgmm.startup stopped")
                assert len(site.output_ids()) == 1300
        finally:
            broker.kill()


def test_a_sink_goes_on_after_its_brokers_hung_for_longer_than_a_batch_may_wait():
    """kafka-python gives up the producer's identity then, and never gets another one."""
    command = [sys.executable, "-m", "streamgmm.demo.broker"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as broker:
        try:
            at = servers(broker.stdout.readline().strip())
            connection = Connection(at, client={"request_timeout_ms": 500, "delivery_timeout_ms": 2000})
            sink = build(KafkaSinkSettings(connection, "late"))
            sink.write([OutputRecord(b"before", None, ())])
            assert sink.flush(60.0)
            os.kill(broker.pid, signal.SIGSTOP)
            sink.write([OutputRecord(b"during", None, ())])
            while "no broker answers" not in sink.problem:
                assert not sink.flush(0.1)
            os.kill(broker.pid, signal.SIGCONT)
            while not sink.flush(1.0):
                pass
            sink.close(10.0)
            # What hung may have been taken all the same: at least once.
            assert {r.value for r in read_all(Connection(at), "late")} == {b"before", b"during"}
        finally:
            broker.kill()


def test_a_daemon_whose_state_cannot_be_saved_scores_from_the_start(tmp_path, group):
    """A folder in the place of the file that names the newest snapshot: the disk refuses, also to root."""
    with Broker() as broker:
        kafka = Kafka("embedded", broker.bootstrap_servers)
        with Site(kafka, tmp_path, ("in", "out"), group) as site:
            site.send_rows(1500)
            daemon = site.daemon(sink=ALL, state={"interval": 1})
            (daemon.state / "CURRENT.json").mkdir(parents=True)
            daemon.state.chmod(0o700)
            daemon.start()
            daemon.until(site.caught_up, what="everything is committed")
            metrics = daemon.metrics()
            assert metrics.total("rows_scored_total") > 0
            daemon.until(lambda: daemon.metrics().total("snapshot_saves_total") > 2, what="it is tried again")
            assert daemon.log().count("cannot write a snapshot") == 1, "told once"
            (daemon.state / "CURRENT.json").rmdir()
            site.send_rows(100)
            daemon.until(lambda: "snapshots are written again" in daemon.log(), what="it is saved")
            assert daemon.terminate() == 143
