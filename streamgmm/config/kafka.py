"""How to reach Kafka: brokers, security, and the client options that are safe to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from streamgmm.config.section import Bytes, FilePath, Int, Rule, Secret, Section, Text

if TYPE_CHECKING:
    from collections.abc import Iterator


class Security(Section):
    """How to prove who we are, and to whom."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Transport and authentication; TLS is any of the SSL ones."""
    ca_file: FilePath | None = None
    """Certificates (PEM) that sign the brokers'; the system's where absent."""
    cert_file: FilePath | None = None
    """Our own certificate (PEM), where brokers ask for one."""
    key_file: FilePath | None = None
    """The private key (PEM) of `cert_file`."""
    key_password: Secret | None = None
    """Password of `key_file`; a secret."""
    key_password_file: FilePath | None = None
    """A file that holds `key_password`."""
    check_hostname: bool = True
    """Whether the broker's certificate must name the host we connect to."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """SASL mechanism; required with the SASL protocols."""
    username: Text | None = None
    """SASL user."""
    password: Secret | None = None
    """SASL password; a secret. `${VAR}` or `password_file` keep it out of this file."""
    password_file: FilePath | None = None
    """A file that holds `password`."""

    def rules(self) -> Iterator[Rule]:
        """Yield what does not go together."""
        yield from self._secret_rules()
        yield from self._sasl_rules()
        yield from self._tls_rules()

    def _secret_rules(self) -> Iterator[Rule]:
        for key in ("password", "key_password"):
            if getattr(self, key) is not None and getattr(self, f"{key}_file") is not None:
                yield Rule((f"{key}_file",), f"{key} and {key}_file exclude each other; keep one")

    def _sasl_rules(self) -> Iterator[Rule]:
        if not self.protocol.startswith("SASL"):
            for key in ("mechanism", "username", "password", "password_file"):
                if getattr(self, key) is not None:
                    yield Rule((key,), f"{key} needs protocol SASL_SSL or SASL_PLAINTEXT, but it is {self.protocol}")
            return
        for key in ("mechanism", "username"):
            if getattr(self, key) is None:
                yield Rule((key,), f'the key "{key}" is required with protocol {self.protocol}')
        if self.password is None and self.password_file is None:
            yield Rule(("password",), f"protocol {self.protocol} needs a password or a password_file")

    def _tls_rules(self) -> Iterator[Rule]:
        if not self.protocol.endswith("SSL"):
            for key in ("ca_file", "cert_file", "key_file", "key_password", "key_password_file"):
                if getattr(self, key) is not None:
                    yield Rule((key,), f"{key} needs protocol SSL or SASL_SSL, but it is {self.protocol}")
            return
        if self.key_file is not None and self.cert_file is None:
            yield Rule(("key_file",), "key_file needs a cert_file")


class ConsumerClient(Section):
    """Options of the Kafka consumer; everything else is fixed by what delivery guarantees."""

    client_id: Text = "streamgmm"
    """How brokers name us in logs and quotas."""
    session_timeout_ms: Int = Field(default=45_000, ge=1_000, le=1_800_000)
    """How long the group waits for a heartbeat before it gives our partitions to others; brokers refuse under 6000."""
    heartbeat_interval_ms: Annotated[Int, Field(ge=100)] | None = None
    """Time between heartbeats, at most a third of the session; absent: 3000 or that third, whichever is less."""
    max_poll_interval_ms: Int = Field(default=300_000, ge=1_000)
    """Longest turn of the loop before the group gives our partitions to others."""
    request_timeout_ms: Int = Field(default=30_000, ge=1_000)
    """How long to wait for the answer to one request."""
    fetch_min_bytes: Bytes = Field(default=1, ge=1)
    """A broker waits until it has so much, or until `fetch_max_wait_ms` is over."""
    fetch_max_wait_ms: Int = Field(default=500, ge=1)
    """Longest wait of a broker for `fetch_min_bytes`."""
    fetch_max_bytes: Bytes = Field(default=50 * 2**20, ge=1024)
    """Most bytes of one fetch."""
    max_partition_fetch_bytes: Bytes = Field(default=4 * 2**20, ge=1024)
    """Most bytes of one partition in one fetch."""

    def rules(self) -> Iterator[Rule]:
        """Yield budgets that contradict each other."""
        if self.heartbeat_interval_ms is not None and self.heartbeat_interval_ms * 3 > self.session_timeout_ms:
            yield Rule(
                ("heartbeat_interval_ms",),
                f"heartbeat_interval_ms ({self.heartbeat_interval_ms}) is above a third of session_timeout_ms "
                f"({self.session_timeout_ms}): one lost heartbeat would cost the partitions",
            )
        if self.max_poll_interval_ms < self.session_timeout_ms:
            yield Rule(
                ("max_poll_interval_ms",),
                f"max_poll_interval_ms ({self.max_poll_interval_ms}) is below session_timeout_ms "
                f"({self.session_timeout_ms})",
            )


class ProducerClient(Section):
    """Options of the Kafka producer; acknowledgement by all replicas and idempotence are not negotiable."""

    client_id: Text = "streamgmm"
    """How brokers name us in logs and quotas."""
    compression_type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    """How record batches are compressed."""
    linger_ms: Int = Field(default=5, ge=0)
    """How long a record waits for others to share its request."""
    batch_size: Bytes = Field(default=65_536, ge=0)
    """Most bytes of one record batch."""
    max_request_size: Bytes = Field(default=16 * 2**20, ge=1024)
    """Most bytes of one record, dead letters included. A larger record is truncated; so is one above the topic's
    `max.message.bytes`."""
    request_timeout_ms: Int = Field(default=30_000, ge=1_000)
    """How long to wait for the answer to one request."""
