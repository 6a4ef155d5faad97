import logging

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, errors

from streamgmm.bus.client import (
    Connection,
    Security,
    connected,
    options,
    security_options,
    servers,
    translate,
    translated,
)
from streamgmm.bus.refusals import network_messages, refusal
from streamgmm.errors import ConfigError, RetryableError, StopError

SASL = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "svc", "password": "hunter2"}


@pytest.mark.parametrize(
    ("given", "split"),
    [("a:1", ("a:1",)), (" a:1, b:2 ,", ("a:1", "b:2")), (["a:1", " b:2"], ("a:1", "b:2")), ("", ())],
)
def test_servers_come_as_text_or_as_a_list(given, split):
    assert servers(given) == split


def test_security_becomes_kafka_pythons_names():
    security = Security(**SASL, ca_file="ca.pem", cert_file="c.pem", key_file="k.pem", key_password="pw")
    assert security_options(security) == {
        "security_protocol": "SASL_SSL",
        "ssl_cafile": "ca.pem",
        "ssl_certfile": "c.pem",
        "ssl_keyfile": "k.pem",
        "ssl_password": "pw",
        "ssl_check_hostname": True,
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "svc",
        "sasl_plain_password": "hunter2",
    }
    assert security_options(None) == {}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"protocol": "TLS"}, "'TLS' is not one of PLAINTEXT"),
        ({**SASL, "mechanism": "GSSAPI"}, "'GSSAPI' is not one of PLAIN"),
        ({**SASL, "password": None}, "needs username and password"),
        ({"protocol": "SSL", "username": "svc"}, "credentials have no effect with SSL"),
        ({"protocol": "PLAINTEXT", "ca_file": "ca.pem"}, "certificates have no effect with PLAINTEXT"),
    ],
)
def test_security_that_would_be_ignored_is_refused(wrong, named):
    with pytest.raises(ConfigError, match=named):
        security_options(Security(**wrong))


def test_secrets_stay_out_of_the_repr():
    assert "hunter2" not in repr(Connection(("a:1",), Security(**SASL, key_password="hunter2")))


def test_every_kind_of_client_gets_the_options_it_knows():
    connection = Connection(("a:1",), client={"session_timeout_ms": 7000, "linger_ms": 3, "request_timeout_ms": 9000})
    by_kind = {kind: options(connection, kind) for kind in (KafkaConsumer, KafkaProducer, KafkaAdminClient)}
    assert by_kind[KafkaConsumer]["session_timeout_ms"] == 7000
    assert by_kind[KafkaProducer]["linger_ms"] == 3
    assert "linger_ms" not in by_kind[KafkaConsumer]
    assert "session_timeout_ms" not in by_kind[KafkaAdminClient]
    for kind, known in by_kind.items():
        assert known["request_timeout_ms"] == 9000
        assert known["bootstrap_servers"] == ["a:1"]
        assert set(known) <= set(kind.DEFAULT_CONFIG)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sesion_timeout_ms", "did you mean session_timeout_ms"),
        ("zzz", "client.zzz is not an option"),
        ("enable_auto_commit", "cannot be set here"),
        ("sasl_plain_password", "cannot be set here"),
    ],
)
def test_options_that_nobody_knows_or_may_set_are_refused(name, said):
    with pytest.raises(ConfigError, match=said):
        options(Connection(("a:1",), client={name: 1}), KafkaConsumer)


# As kafka-python 3.0.12 logged them, connecting to Apache Kafka 4.1.
LOGGED = {
    "Abort ([Error 58] SaslAuthenticationFailedError: Authentication failed during authentication due to invalid "
    "credentials": (ConfigError, "refused the credentials"),
    "Handshake failed: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate in "
    "certificate chain (_ssl.c:1006)": (ConfigError, "certificate is not trusted"),
    "Handshake failed: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: IP address mismatch, certificate "
    "is not valid for '127.0.0.1'.": (ConfigError, "for another host name"),
    "Abort (KafkaConnectionError: [SSL: SSLV3_ALERT_BAD_CERTIFICATE] sslv3 alert bad certificate": (
        ConfigError,
        "wants a client certificate",
    ),
    "Abort (InvalidReceiveError: Invalid frame length: 352518912)": (ConfigError, "plaintext was sent to a TLS port"),
    "Handshake failed: [SSL: WRONG_VERSION_NUMBER] wrong version number": (ConfigError, "TLS was spoken to a port"),
    "SaslHandshake failed: IllegalSaslStateError": (ConfigError, "wants no SASL"),
    "Connection failed: [Errno 2] No such file or directory": (ConfigError, "file cannot be used"),
    "Connection failed: KafkaConnectionError: 111 ECONNREFUSED": (RetryableError, "nothing listens there"),
    "DNS lookup failed for no.such.host:9092, gaierror(-2, 'Name or service not known')": (
        RetryableError,
        "cannot be resolved",
    ),
    "<KafkaSSLTransport [127.0.0.1:29093<-46282]>: socket disconnected": (RetryableError, "may want TLS or SASL"),
}


@pytest.mark.parametrize(("logged", "meant"), LOGGED.items())
def test_a_refusal_names_and_quotes_the_cause(logged, meant):
    kind, meaning = meant
    bootstrap = errors.KafkaTimeoutError("Unable to bootstrap from ['b:1']")
    error = refusal("b:1", ["Bootstrap b not ready", logged, "Bootstrap failed: Unable to bootstrap"], bootstrap)
    assert type(error) is kind
    assert meaning in str(error)
    assert logged[:100] in str(error) or kind is RetryableError
    assert error.hint


def test_silence_is_worth_another_try():
    error = refusal("b:1", [], errors.KafkaTimeoutError("Unable to bootstrap"))
    assert type(error) is RetryableError
    assert "b:1: no broker answers" in str(error)


def test_a_wrong_value_is_a_matter_of_the_configuration():
    with pytest.raises(ConfigError, match="request_timeout_ms"):
        connected(Connection(("127.0.0.1:1",), client={"request_timeout_ms": 1}), KafkaConsumer, {})


def test_messages_are_heard_even_where_logging_is_quiet():
    logger = logging.getLogger("kafka.net")
    logger.setLevel(logging.CRITICAL)
    try:
        with network_messages() as messages:
            logging.getLogger("kafka.net.manager").error("Connection %s", "failed")
        assert messages == ["Connection failed"]
        assert logger.level == logging.CRITICAL
        assert logger.handlers == []
    finally:
        logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    ("error", "kind", "hint"),
    [
        (errors.TopicAuthorizationFailedError({"t"}), StopError, "grant"),
        (errors.FencedInstanceIdError(), StopError, "group_instance_id"),
        (errors.InconsistentGroupProtocolError(), StopError, "cooperative-sticky"),
        (errors.UnsupportedCodecError("zstd"), StopError, "pip install"),
        (errors.NotLeaderForPartitionError(), RetryableError, ""),
        (errors.KafkaTimeoutError(), RetryableError, ""),
        (errors.PolicyViolationError(), StopError, ""),
    ],
)
def test_errors_are_sorted_by_what_to_do(error, kind, hint):
    ours = translate(error, "poll")
    assert type(ours) is kind
    assert hint in ours.hint
    assert type(error).__name__ in str(ours)


def test_an_answer_that_kafka_python_wraps_is_known_by_its_name():
    wrapped = errors.KafkaError(
        "KafkaError: Unexpected error in InitProducerIdResponse: [Error 31] ClusterAuthorizationFailedError"
    )
    ours = translate(wrapped, "sink alerts")
    assert isinstance(ours, StopError)
    assert "grant WRITE" in ours.hint


def test_translated_leaves_other_errors_alone():
    with pytest.raises(StopError, match="reading: PolicyViolation"), translated("reading"):
        raise errors.PolicyViolationError
    with pytest.raises(KeyError), translated("reading"):
        raise KeyError("x")


@pytest.mark.parametrize(
    ("logged", "kind"),
    [
        ("Invalid frame length: 352518912", ConfigError),  # a TLS alert
        ("Invalid frame length: 1213486160", RetryableError),  # HTTP
        ("Invalid frame length: -1", RetryableError),
        ("Unable to decode response", RetryableError),
    ],
)
def test_only_a_tls_alert_says_that_the_configuration_is_wrong(logged, kind):
    assert type(refusal("b:1", [logged], errors.KafkaTimeoutError("Unable to bootstrap"))) is kind


def test_what_no_broker_has_said_is_not_called_a_broker_that_is_away():
    with pytest.raises(AttributeError, match="_renamed"):
        refusal("b:1", [], AttributeError("_renamed"))
