"""What a connection to Kafka is, said once: options, security, clients, and what their errors ask for."""

from __future__ import annotations

import difflib
import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, errors
from kafka.net.compat import KafkaNetClient

from streamgmm.bus import internals
from streamgmm.bus.last_words import hear_out
from streamgmm.bus.refusals import network_messages, refusal
from streamgmm.bus.selector import QuickSelector
from streamgmm.errors import ConfigError, RetryableError, StopError, StreamgmmError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
CONNECT_SECONDS = 10.0

# What the daemon decides itself; a user's `client` section may not contradict it.
RESERVED = frozenset({
    "bootstrap_servers", "enable_auto_commit", "group_id", "group_instance_id", "auto_offset_reset", "isolation_level",
    "key_deserializer", "value_deserializer", "key_serializer", "value_serializer", "transactional_id", "acks",
    "enable_idempotence", "kafka_client", "selector", "max_poll_records", "default_offset_commit_callback", "retries",
    "security_protocol", "ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_check_hostname",
    "sasl_mechanism", "sasl_plain_username", "sasl_plain_password",
})  # fmt: skip

Client: TypeAlias = Any  # KafkaConsumer, KafkaProducer or KafkaAdminClient: kafka-python ships no types


@dataclass(frozen=True, slots=True)
class Security:
    """How to prove who we are, and how the broker does. Secrets are left out of its repr."""

    protocol: str = "PLAINTEXT"
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    key_password: str | None = field(default=None, repr=False)
    mechanism: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    check_hostname: bool = True


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the brokers are and how to speak to them; `client` holds further kafka-python options by their names."""

    bootstrap_servers: tuple[str, ...]
    security: Security | None = None
    client: Mapping[str, Any] = field(default_factory=dict)


def servers(value: str | Sequence[str]) -> tuple[str, ...]:
    """Split "host:port,host:port", or pass a list on."""
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(part.strip() for part in parts if part.strip())


def security_options(security: Security | None) -> dict[str, Any]:
    """Translate to kafka-python's keyword arguments.

    Raises
    ------
    ConfigError
        Unknown protocol or mechanism, or credentials that the protocol would silently ignore or miss.
    """
    if security is None:
        return {}
    if security.protocol not in PROTOCOLS:
        raise ConfigError(f"security.protocol: {security.protocol!r} is not one of {', '.join(PROTOCOLS)}")
    options: dict[str, Any] = {"security_protocol": security.protocol}
    if security.protocol.endswith("SSL"):
        options |= _tls_options(security)
    elif security.ca_file or security.cert_file:
        raise ConfigError(f"security: certificates have no effect with {security.protocol}", hint="use SSL or SASL_SSL")
    if security.protocol.startswith("SASL"):
        options |= _sasl_options(security)
    elif security.username or security.password or security.mechanism:
        raise ConfigError(
            f"security: credentials have no effect with {security.protocol}", hint="use SASL_SSL or SASL_PLAINTEXT"
        )
    return options


def _tls_options(security: Security) -> dict[str, Any]:
    return {
        "ssl_cafile": security.ca_file,
        "ssl_certfile": security.cert_file,
        "ssl_keyfile": security.key_file,
        "ssl_password": security.key_password,
        "ssl_check_hostname": security.check_hostname,
    }


def _sasl_options(security: Security) -> dict[str, Any]:
    if security.mechanism not in MECHANISMS:
        raise ConfigError(f"security.mechanism: {security.mechanism!r} is not one of {', '.join(MECHANISMS)}")
    if not security.username or security.password is None:
        raise ConfigError(f"security: {security.protocol} needs username and password")
    return {
        "sasl_mechanism": security.mechanism,
        "sasl_plain_username": security.username,
        "sasl_plain_password": security.password,
    }


def options(connection: Connection, kind: type[Client]) -> dict[str, Any]:
    """Return the keyword arguments of one kind of client; options that only other kinds know are left out.

    Raises
    ------
    ConfigError
        An option nobody knows, or one that is not the user's to set.
    """
    known = set().union(*(k.DEFAULT_CONFIG for k in (KafkaConsumer, KafkaProducer, KafkaAdminClient)))
    for name in connection.client:
        if name in RESERVED:
            raise ConfigError(f"client.{name} cannot be set here", hint="it has its own key, or its value is fixed")
        if name not in known:
            near = " or ".join(difflib.get_close_matches(name, known, 1))
            raise ConfigError(f"client.{name} is not an option of kafka-python", hint=near and f"did you mean {near}?")
    own = {name: value for name, value in connection.client.items() if name in kind.DEFAULT_CONFIG}
    defaults: dict[str, Any] = {"bootstrap_timeout_ms": int(CONNECT_SECONDS * 1000), "metrics_enabled": False}
    defaults["selector"] = QuickSelector
    return {
        **{name: value for name, value in defaults.items() if name in kind.DEFAULT_CONFIG},
        **own,
        "bootstrap_servers": list(connection.bootstrap_servers),
        **security_options(connection.security),
    }


def consumer(connection: Connection, **settings: Any) -> Client:  # noqa: ANN401 - kafka-python's own options
    """Start a KafkaConsumer; it creates no topic. Raises as `connected` does."""
    return connected(connection, KafkaConsumer, {"allow_auto_create_topics": False, **settings})


def producer(connection: Connection, **settings: Any) -> Client:  # noqa: ANN401 - kafka-python's own options
    """Start a KafkaProducer. Raises as `connected` does."""
    return connected(connection, KafkaProducer, settings)


def admin(connection: Connection, **settings: Any) -> Client:  # noqa: ANN401 - kafka-python's own options
    """Start a KafkaAdminClient. Raises as `connected` does."""
    return connected(connection, KafkaAdminClient, settings)


def connected(connection: Connection, kind: type[Client], settings: Mapping[str, Any]) -> Client:
    """Start a client of kafka-python; a refusal names its real cause.

    Raises
    ------
    RetryableError
        Nobody answers: no such host, nothing listens, no answer in time.
    ConfigError
        The broker answers, but never will in the way it is asked: credentials, certificates, protocol.
    """
    arguments = {**options(connection, kind), **settings}
    nets: list[Client] = []

    def net(**config: Any) -> Client:  # noqa: ANN401 - kafka-python's own options
        one = KafkaNetClient(**config)
        # kafka-python 3.0 takes the option and does not hand it on to what makes the requests.
        one.cluster.config["allow_auto_create_topics"] = arguments.get("allow_auto_create_topics", True)
        hear_out(one)
        nets.append(one)
        return one

    with network_messages() as messages:
        try:
            return kind(kafka_client=net, **arguments)
        except Exception as error:
            # A constructor that fails leaves its I/O thread behind, and nobody but us can reach it.
            for one in nets:
                one.close()
            where = ", ".join(connection.bootstrap_servers)
            raise refusal(where, messages, error) from error


CLOCK_HINT = (
    "a timestamp is too far from the brokers' time (the topic's message.timestamp.before.max.ms and after.max.ms): "
    "is this host's clock right? do records come with such an event time?"
)

# What trying again mends; a frame that is garbled closes its connection, and the next one may be whole.
PASSING = (errors.RetriableError, errors.KafkaProtocolError)

# kafka-python's error → ours and the remedy, while a client is running. First match wins.
RUNNING: tuple[tuple[type[Exception], type[StreamgmmError], str], ...] = (
    (errors.TopicAuthorizationFailedError, StopError, "grant the topic's READ, WRITE and DESCRIBE to this user"),
    (errors.GroupAuthorizationFailedError, StopError, "grant READ on the consumer group to this user"),
    (errors.ClusterAuthorizationFailedError, StopError,
     "grant WRITE on the topic to this user, or IDEMPOTENT_WRITE on the cluster"),
    (errors.SaslAuthenticationFailedError, StopError, "check security.username and security.password"),
    (errors.FencedInstanceIdError, StopError, "another process runs with the same group_instance_id"),
    (errors.InconsistentGroupProtocolError, StopError,
     "the group has members with another assignor: all must use cooperative-sticky"),
    (errors.InvalidSessionTimeoutError, StopError, "the broker's group.min/max.session.timeout.ms forbid it"),
    (errors.NoOffsetForPartitionError, StopError, "set source.auto_offset_reset to earliest or latest"),
    (errors.OffsetOutOfRangeError, StopError, "these records are gone; set source.auto_offset_reset: earliest"),
    (errors.LogTruncationError, StopError, "the broker lost records that were read; reset the group's offsets"),
    (errors.MessageSizeTooLargeError, StopError, "raise the topic's max.message.bytes and client.max_request_size"),
    (errors.RecordListTooLargeError, StopError, "raise the topic's max.message.bytes or lower client.batch_size"),
    (errors.InvalidTopicError, StopError, "topic names hold letters, digits, dot, dash and underscore"),
    (errors.InvalidTimestampError, StopError, CLOCK_HINT),
    (errors.UnsupportedCodecError, StopError, "install the codec: pip install 'kafka-python[lz4,snappy,zstd]'"),
    (errors.KafkaProtocolError, RetryableError, ""),
    (errors.RetriableError, RetryableError, ""),
)  # fmt: skip


def translate(error: Exception, doing: str) -> StreamgmmError:
    """Turn an error of a running client into ours: what the caller should do, and a remedy.

    kafka-python wraps some answers in a plain KafkaError, which names their kind in its text alone: that of a producer
    without the right to write anywhere is one.
    """
    if isinstance(error, StreamgmmError):
        return error
    text = f"{doing}: {type(error).__name__}: {error}"
    wrapped = type(error) is errors.KafkaError
    for kafkas, ours, hint in RUNNING:
        if isinstance(error, kafkas) or (wrapped and kafkas.__name__ in str(error)):
            return ours(text, hint=hint)
    return StopError(text)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Run kafka-python calls; what they raise comes out as our errors."""
    try:
        yield
    except errors.KafkaError as error:
        raise translate(error, doing) from error


def call_with_budget(close: Callable[..., None], **budget: float) -> None:
    """Close a client; its errors are logged, for there is nothing left to do about them."""
    try:
        close(**budget)
    except Exception:
        logging.getLogger(__name__).warning("closing a Kafka client failed", exc_info=True)


def close_producer(producer: Client, timeout: float) -> None:
    """Close a producer within the time; what it still holds then is dropped."""
    try:
        producer.close(timeout=timeout)
    except errors.KafkaError:
        # Its own close gives up at its flush, and there is no public way past that.
        internals.end_sender(producer)
