"""A kafka-python that has renamed one of its private names: slower at most, and nothing is lost."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from brokers import send_all

from streamgmm.bus.client import Connection, servers

pytestmark = pytest.mark.integration

NAMES = (
    "_join_task", "fetch_committed_offsets", "_build_transport", "_sock_recv", "_coordinator", "_subscription",
    "_fetcher", "_manager", "_net", "_client", "_buffer", "_sender", "_metadata", "_last_successful_refresh_ms",
    "_parse_fetched_data", "_consume_aborted_transactions_up_to", "_sock",
)  # fmt: skip
WORKER = """
import sys, time, warnings
warnings.simplefilter("ignore")
import kafka
assert kafka.__file__.startswith(sys.argv[1]), kafka.__file__
from streamgmm.bus.client import Connection
from streamgmm.records import OutputRecord, TopicPartition
from streamgmm.sinks.kafka import KafkaSinkSettings, build as sink_of
from streamgmm.sources import Resume
from streamgmm.sources.kafka import KafkaSourceSettings, build
connection = Connection((sys.argv[2],), client={"heartbeat_interval_ms": 300})
for fetch in ("blocks", "records"):
    source = build(KafkaSourceSettings(connection, ("t",), fetch, fetch=fetch), now=time.monotonic)
    source.start(Resume({}, 0))
    values, offsets = [], {}
    while len(values) < 20:
        batch = source.poll(0.1)
        values += [bytes(batch.value[i]) for i in range(len(batch))]
        offsets |= batch.next_offsets
    while not source.commit(offsets):
        source.poll(0.1)
    source.close(5.0)
    print(fetch, values == [b"%d" % i for i in range(20)], offsets == {TopicPartition("t", 0): 20})
sink = sink_of(KafkaSinkSettings(connection, "out", "kafka"))
sink.write([OutputRecord(b"k", b"v")])
while not sink.flush(1.0):
    pass
sink.close(5.0)
print("sent")
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_private_name_that_changes_costs_speed_at_most(name, broker, tmp_path):
    package = Path(importlib.util.find_spec("kafka").origin).parent
    copy = tmp_path / "kafka"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    changed = 0
    for file in copy.rglob("*.py"):
        text, n = re.subn(rf"\b{name}\b", f"{name}_renamed", file.read_text())
        changed += n
        if n:
            file.write_text(text)
    assert changed, "kafka-python has no such name any more"
    send_all(Connection(servers(broker.bootstrap_servers)), "t", [b"%d" % i for i in range(20)])
    arguments = [str(tmp_path), broker.bootstrap_servers]
    path = f"import sys; sys.path.insert(0, {arguments[0]!r}); sys.argv[1:] = {arguments!r}\n"
    ran = subprocess.run(
        [sys.executable, "-c", path + WORKER], capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["blocks True True", "records True True", "sent"], ran.stderr
