"""Sections of the Kafka clients: security, and the options that are safe to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from streamgmm.config.section import Bytes, FilePath, Int, Rule, Secret, Section, Text

if TYPE_CHECKING:
    from collections.abc import Iterator


class Security(Section):
    """Encryption and authentication of the connection to the brokers."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Security protocol. The protocols with SSL in their name use TLS."""
    ca_file: FilePath | None = None
    """CA certificates (PEM) that verify the brokers. Default: those of the system."""
    cert_file: FilePath | None = None
    """Client certificate (PEM) for brokers that require one."""
    key_file: FilePath | None = None
    """Private key (PEM) of `cert_file`."""
    key_password: Secret | None = None
    """Password of `key_file`. A secret."""
    key_password_file: FilePath | None = None
    """File that contains `key_password`."""
    check_hostname: bool = True
    """Whether the broker's certificate must match the host name."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """SASL mechanism. Required with the SASL protocols."""
    username: Text | None = None
    """SASL user name."""
    password: Secret | None = None
    """SASL password. A secret: use `${VAR}` or `password_file` to keep it out of this file."""
    password_file: FilePath | None = None
    """File that contains `password`."""

    def rules(self) -> Iterator[Rule]:
        """Yield keys that exclude or require each other."""
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
    """Options of the Kafka consumer. The delivery guarantee fixes all others."""

    client_id: Text = "streamgmm"
    """Client id, which brokers use in logs and quotas."""
    session_timeout_ms: Int = Field(default=45_000, ge=1_000, le=1_800_000)
    """Time without a heartbeat after which the group revokes the partitions. Brokers refuse values below 6000."""
    heartbeat_interval_ms: Annotated[Int, Field(ge=100)] | None = None
    """Time between heartbeats, at most a third of `session_timeout_ms`. Default: the lesser of 3000 and that third."""
    max_poll_interval_ms: Int = Field(default=300_000, ge=1_000)
    """Longest time between two polls before the group revokes the partitions."""
    request_timeout_ms: Int = Field(default=30_000, ge=1_000)
    """Time limit for the answer to one request."""
    fetch_min_bytes: Bytes = Field(default=1, ge=1)
    """A broker answers a fetch when it has this many bytes, or after `fetch_max_wait_ms`."""
    fetch_max_wait_ms: Int = Field(default=500, ge=1)
    """Longest time that a broker waits for `fetch_min_bytes`."""
    fetch_max_bytes: Bytes = Field(default=50 * 2**20, ge=1024)
    """Most bytes in one fetch."""
    max_partition_fetch_bytes: Bytes = Field(default=4 * 2**20, ge=1024)
    """Most bytes of one partition in one fetch. With more than 16 partitions the daemon lowers it."""

    def rules(self) -> Iterator[Rule]:
        """Yield budgets that contradict each other."""
        if self.heartbeat_interval_ms is not None and self.heartbeat_interval_ms * 3 > self.session_timeout_ms:
            yield Rule(
                ("heartbeat_interval_ms",),
                f"heartbeat_interval_ms ({self.heartbeat_interval_ms}) is above a third of session_timeout_ms "
                f"({self.session_timeout_ms}): after one lost heartbeat the group would revoke the partitions",
            )
        if self.max_poll_interval_ms < self.session_timeout_ms:
            yield Rule(
                ("max_poll_interval_ms",),
                f"max_poll_interval_ms ({self.max_poll_interval_ms}) is below session_timeout_ms "
                f"({self.session_timeout_ms})",
            )


class ProducerClient(Section):
    """Options of the Kafka producer. `acks=all` and idempotence are always on."""

    client_id: Text = "streamgmm"
    """Client id, which brokers use in logs and quotas."""
    compression_type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    """Compression of record batches."""
    linger_ms: Int = Field(default=5, ge=0)
    """Time that a record waits for others in the same request."""
    batch_size: Bytes = Field(default=65_536, ge=0)
    """Most bytes in one record batch."""
    max_request_size: Bytes = Field(default=16 * 2**20, ge=1024)
    """Most bytes of one record, dead letters included. A record above this or above the topic's `max.message.bytes`
    is truncated."""
    request_timeout_ms: Int = Field(default=30_000, ge=1_000)
    """Time limit for the answer to one request."""
