"""Why a connection was refused.

kafka-python answers every refused connection with the same "Unable to bootstrap"; the cause stands only in its log. So
the log is listened to while a client starts, and quoted.
"""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kafka import errors

from streamgmm.errors import ConfigError, RetryableError, StreamgmmError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextmanager
def network_messages() -> Iterator[list[str]]:
    """Collect what kafka-python logs about its connections."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, collector = logging.getLogger("kafka.net"), Collector(logging.WARNING)
    level = logger.level
    logger.addHandler(collector)
    if not logger.isEnabledFor(logging.WARNING):
        logger.setLevel(logging.WARNING)
    try:
        yield messages
    finally:
        logger.removeHandler(collector)
        logger.setLevel(level)


# What stands in the log → what it means, the remedy, and whether waiting can help. First match wins.
CAUSES: tuple[tuple[str, str, str, bool], ...] = (
    (r"[Hh]ostname mismatch|IP address mismatch|doesn't match", "the certificate is for another host name",
     "connect by the name in the certificate, or set security.check_hostname: false", False),
    (r"CERTIFICATE_VERIFY_FAILED", "the broker's certificate is not trusted",
     "security.ca_file must hold the authority that signed it", False),
    (r"CERTIFICATE_REQUIRED|certificate required|BAD_CERTIFICATE|bad certificate",
     "the broker wants a client certificate", "set security.cert_file and security.key_file", False),
    (r"SaslAuthenticationFailed|[Aa]uthentication failed", "the broker refused the credentials",
     "check security.username, security.password and security.mechanism", False),
    (r"UnsupportedSaslMechanism", "the broker does not speak this SASL mechanism", "check security.mechanism", False),
    (r"IllegalSaslState", "the broker wants no SASL, or another kind", "check security.protocol", False),
    # These four lengths are the beginning of a TLS alert (15 03 0x 00); any other is garbage, which may pass.
    (r"Invalid frame length: 35251(8400|8656|8912|9168)\b", "plaintext was sent to a TLS port",
     "set security.protocol to SSL or SASL_SSL, or use the plaintext port", False),
    (r"Invalid frame length|InvalidReceive|Unable to decode response|CorrelationId", "the answer is not one of Kafka's",
     "is it a broker's port? does something between garble it?", True),
    (r"WRONG_VERSION_NUMBER|wrong version number|record layer failure", "TLS was spoken to a port without it",
     "set security.protocol to PLAINTEXT or SASL_PLAINTEXT, or use the TLS port", False),
    (r"UNEXPECTED_EOF", "the other side hung up on TLS",
     "is it a TLS port? set security.protocol to PLAINTEXT or SASL_PLAINTEXT otherwise", True),
    (r"No such file or directory|PEM lib|NO_START_LINE|KEY_VALUES_MISMATCH", "a certificate or key file cannot be used",
     "check the files named under security", False),
    (r"ECONNREFUSED|[Cc]onnection refused|Errno 111", "nothing listens there", "is the broker running?", True),
    (r"[Nn]ame or service not known|resolve|getaddrinfo|DNS|Name has no usable address|nodename",
     "the host name cannot be resolved", "check bootstrap_servers", True),
)  # fmt: skip


def refusal(where: str, messages: Sequence[str], error: Exception) -> StreamgmmError:
    """Say why a connection was refused, quoting kafka-python's log.

    What neither Kafka, the operating system nor TLS has said is a fault of the program, and raised as it is.
    """
    if isinstance(error, StreamgmmError):
        return error
    if isinstance(error, (ValueError, TypeError, AssertionError, errors.KafkaConfigurationError)):
        return ConfigError(f"Kafka client for {where}: {error}")
    if not isinstance(error, (errors.KafkaError, OSError)):
        raise error
    said = [*messages, str(error)]
    for pattern, meaning, remedy, may_pass in CAUSES:
        quote = next((text for text in said if re.search(pattern, text)), None)
        if quote is not None:
            kind = RetryableError if may_pass else ConfigError
            return kind(f"{where}: {meaning} [{_shortened(quote)}]", hint=remedy)
    quote = next((text for text in messages if "Bootstrap failed" not in text), str(error))
    silent = "the listener may want TLS or SASL" if _dropped(messages) else "is the broker running?"
    return RetryableError(f"{where}: no broker answers [{_shortened(quote)}]", hint=silent)


def _dropped(messages: Sequence[str]) -> bool:
    """Tell whether the broker hung up, which usually means another protocol on that port."""
    return any("disconnect" in text.lower() or "closed" in text.lower() for text in messages)


def _shortened(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= 200 else one_line[:197] + "..."
