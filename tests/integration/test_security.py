"""Real Apache Kafka with SASL, TLS and ACLs: every way in, and the real cause of every refusal."""

import time
from contextlib import suppress
from dataclasses import replace

import pytest
from brokers import apache, send_all, wait_until
from kafka.admin import ACL, ACLOperation, ACLPermissionType, NewTopic, ResourcePattern, ResourceType

from streamgmm.bus import check, client
from streamgmm.bus.client import Connection, Security, servers
from streamgmm.errors import ConfigError, RetryableError, StopError
from streamgmm.records import OutputRecord
from streamgmm.sinks.kafka import KafkaSinkSettings, build
from streamgmm.sources import Resume
from streamgmm.sources.kafka import KafkaSourceSettings
from streamgmm.sources.kafka import build as build_source

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

QUICK = {"bootstrap_timeout_ms": 2500}


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    with apache("secure", tmp_path_factory.mktemp("secured")) as printed:
        yield printed


@pytest.fixture(scope="module")
def superuser(secured):
    admin = client.admin(Connection(servers(secured["BOOTSTRAP"])))
    yield admin
    admin.close()


@pytest.fixture
def sasl(secured):
    return Security("SASL_SSL", secured["CA"], mechanism="SCRAM-SHA-512", username="svc", password="svc-secret")


def connect(address, security):
    connection = Connection(servers(address), security, QUICK)
    client.consumer(connection).close(autocommit=False)


@pytest.mark.parametrize("mechanism", client.MECHANISMS)
def test_every_mechanism_gets_in(mechanism, secured, sasl):
    connect(secured["SASL_SSL"], replace(sasl, mechanism=mechanism))


def test_a_client_certificate_gets_in(secured):
    connect(secured["SSL"], Security("SSL", secured["CA"], secured["CERT"], secured["KEY"]))


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        ({"password": "wrong"}, "refused the credentials"),
        ({"password": "wrong", "mechanism": "PLAIN"}, "refused the credentials"),
        ({"username": "nobody"}, "refused the credentials"),
        ({"ca_file": "STRANGER"}, "certificate is not trusted"),
        ({"ca_file": "/nowhere/ca.pem"}, "file cannot be used"),
    ],
    ids=["password", "plain password", "user", "authority", "no file"],
)
def test_a_refusal_says_why(wrong, cause, secured, sasl):
    wrong = {name: secured.get(value, value) for name, value in wrong.items()}
    with pytest.raises(ConfigError, match=cause) as refused:
        connect(secured["SASL_SSL"], replace(sasl, **wrong))
    assert refused.value.hint
    assert "svc-secret" not in str(refused.value)


def test_another_host_name(secured, sasl):
    address = secured["SASL_SSL"].replace("localhost", "127.0.0.1")
    with pytest.raises(ConfigError, match="for another host name"):
        connect(address, sasl)
    connect(address, replace(sasl, check_hostname=False))


def test_no_client_certificate(secured):
    with pytest.raises(ConfigError, match="wants a client certificate"):
        connect(secured["SSL"], Security("SSL", secured["CA"]))


def test_plaintext_to_a_tls_port(secured):
    with pytest.raises(ConfigError, match="plaintext was sent to a TLS port"):
        connect(secured["SASL_SSL"], None)


def test_tls_to_a_plaintext_port(secured, sasl):
    with pytest.raises((ConfigError, RetryableError), match="TLS"):
        connect(secured["BOOTSTRAP"], sasl)


def test_sasl_where_there_is_none(secured, sasl):
    with pytest.raises(ConfigError, match="wants no SASL"):
        connect(secured["BOOTSTRAP"], replace(sasl, protocol="SASL_PLAINTEXT", ca_file=None))


def test_no_credentials(secured):
    with pytest.raises(RetryableError, match="may want TLS or SASL"):
        connect(secured["SASL_SSL"], Security("SSL", secured["CA"]))


def allow(admin, kind, name, *operations):
    admin.create_acls(
        [
            ACL("User:svc", "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, name))
            for operation in operations
        ]
    )


def test_rights_are_looked_at_before_they_are_needed(secured, superuser, sasl):
    superuser.create_topics([NewTopic(name, 2, 1) for name in ("mine", "readable", "hidden")])
    allow(superuser, ResourceType.TOPIC, "mine", ACLOperation.READ, ACLOperation.WRITE, ACLOperation.DESCRIBE)
    allow(superuser, ResourceType.TOPIC, "readable", ACLOperation.READ, ACLOperation.DESCRIBE)
    connection = Connection(servers(secured["SASL_SSL"]), sasl, QUICK)

    def diagnosed():
        """Return the findings once the brokers have taken in topics and rights, which they do in their own time."""
        findings = check.diagnose(connection, ["mine", "hidden"], ["mine", "readable"], group_id="forbidden")
        return findings if [f.ok for f in findings] == [True, True, False, True, False, False] else None

    findings = wait_until(diagnosed)
    by_what = {(finding.what, finding.ok): finding.detail for finding in findings}
    assert by_what["topic mine", True].startswith("2 partition(s)")
    assert "grant" in by_what["topic hidden", False]
    assert "grant WRITE on topic readable" in by_what["topic readable", False]
    assert "grant READ on the consumer group" in by_what["group forbidden", False]
    allow(superuser, ResourceType.GROUP, "allowed", ACLOperation.READ)
    wait_until(lambda: all(f.ok for f in check.diagnose(connection, ["mine"], ["mine"], group_id="allowed")))


@pytest.mark.parametrize("way", ["blocks", "records"])
def test_megabytes_come_over_tls(way, secured, superuser, sasl):
    topic = f"large-{way}"
    superuser.create_topics([NewTopic(topic, 1, 1)])
    superuser.wait_for_topics([topic])
    allow(superuser, ResourceType.TOPIC, topic, ACLOperation.READ, ACLOperation.DESCRIBE)
    allow(superuser, ResourceType.GROUP, topic, ACLOperation.READ)
    sent = [bytes([i]) * 300_000 for i in range(40)]
    send_all(Connection(servers(secured["BOOTSTRAP"])), topic, sent, batch_size=900_000, max_request_size=2_000_000)
    connection = Connection(servers(secured["SASL_SSL"]), sasl, {"heartbeat_interval_ms": 300})
    settings = KafkaSourceSettings(connection, (topic,), topic, fetch=way, session_timeout_ms=6000)
    source = build_source(settings, now=time.monotonic)

    def started():
        """Start once the brokers have taken in topics and rights, which they do in their own time."""
        with suppress(RetryableError, StopError):
            source.start(Resume({}, 0))
            return True
        return False

    received = []

    def turn():
        batch = source.poll(0.2)
        received.extend(batch.value[i] for i in range(len(batch)))

    wait_until(started)
    try:
        wait_until(lambda: len(received) >= len(sent), meanwhile=turn)
    finally:
        source.close(2.0)
    assert received == sent


def test_a_sink_without_the_right_stops(secured, superuser, sasl):
    superuser.create_topics([NewTopic("unwritable", 1, 1)])
    allow(superuser, ResourceType.TOPIC, "unwritable", ACLOperation.DESCRIBE)
    sink = build(KafkaSinkSettings(Connection(servers(secured["SASL_SSL"]), sasl, QUICK), "unwritable"))
    sink.write([OutputRecord(b"x")])
    with pytest.raises(StopError, match=r"unwritable.*grant"):
        sink.flush(10.0)
    sink.close(1.0)


def test_a_refused_connection_is_one_finding(secured, sasl):
    findings = check.diagnose(Connection(servers(secured["SASL_SSL"]), replace(sasl, password="no"), QUICK), ["t"], [])
    assert [(finding.ok, finding.what) for finding in findings] == [(False, "brokers")]
    assert "refused the credentials" in findings[0].detail
