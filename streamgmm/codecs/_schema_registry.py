"""A client of a schema registry: schemas by their id, remembered for good.

A registry that is away is asked again for a while, and then the daemon tries again later: a record whose schema nobody
could say just now is no bad record. An id that the registry does not know is one.
"""

from __future__ import annotations

import http.client
import logging
import ssl
import time
from base64 import b64encode
from collections import OrderedDict
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import msgspec

from streamgmm.codecs._payload import RefusalError
from streamgmm.errors import ConfigError, RetryableError, StopError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamgmm.codecs import SchemaRegistry

# One request; `SchemaRegistry.patience` bounds the waiting in one block of records.
REQUEST_SECONDS = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
MAX_BYTES = 4 * 2**20
# Ids that were not known are not asked for again so soon, or a flood of bad records would be one of requests.
FORGET_SECONDS = 60.0
# So many ids of one block may turn out to be unknown, and asking for them may take so long. Without a bound a block of
# random ids would hold up the daemon for longer than `limits.loop_deadline`.
MOST_UNKNOWN, MOST_UNKNOWN_SECONDS = 100, 5.0
MAX_SCHEMAS = 1000
MAX_REFERENCES = 100
logger = logging.getLogger(__name__)
_AGAIN = (408, 429, 500, 502, 503, 504)


_TOO_MANY = "schema ids of this block are not in the schema registry, or of no use"


class Reference(msgspec.Struct):
    """A schema that another one names."""

    name: str
    subject: str
    version: int


class Answer(msgspec.Struct):
    """What a registry says of a schema."""

    schema: str
    schemaType: str = "AVRO"  # noqa: N815 - the registry's name for it
    references: list[Reference] = []  # msgspec copies it for every one


class RegistryClient:
    """Asks a registry; keeps what it was told.

    Parameters
    ----------
    make
        Registered text and the texts that it refers to, in the order in which they are needed → a schema ready to read
        with. Raises RefusalError for what cannot be used.
    now, sleep
        Monotonic seconds, and how to wait.
    """

    def __init__(
        self,
        registry: SchemaRegistry,
        make: Callable[[str, list[str]], Any],
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._registry = registry
        self._make = make
        self._now = now
        self._sleep = sleep
        self._schemas: OrderedDict[int, Any] = OrderedDict()
        self._refused: OrderedDict[int, tuple[float, str]] = OrderedDict()
        self._line = _Line(registry)
        self._unknown, self._unknown_seconds, self._waited = 0, 0.0, 0.0

    @contextmanager
    def block(self) -> Iterator[None]:
        """Bound what one block of records may cost; its requests share a connection, which is closed at its end."""
        self._unknown, self._unknown_seconds, self._waited = 0, 0.0, 0.0
        try:
            yield
        finally:
            self._line.close()

    def schema(self, schema_id: int) -> Any:  # noqa: ANN401 - whatever `make` returns
        """Return the schema of an id.

        Raises
        ------
        RefusalError
            `decode`: the registry does not know the id, what it knows is of no use, or the block held too many such ids
            already.
        RetryableError
            The registry is away.
        ConfigError
            It refuses us.
        """
        known = self._schemas.get(schema_id)
        if known is not None:
            return known
        until, why = self._refused.get(schema_id, (0.0, ""))
        if why and self._now() < until:
            raise RefusalError("decode", why)
        if self._unknown >= MOST_UNKNOWN or self._unknown_seconds >= MOST_UNKNOWN_SECONDS:
            raise RefusalError("decode", f"schema id {schema_id} was not asked for: {self._unknown} {_TOO_MANY}")
        began = self._now()
        try:
            answer = self._answer(f"/schemas/ids/{schema_id}", f"schema id {schema_id}")
            made = self._make(answer.schema, self._referred(answer))
        except RefusalError as refusal:
            _remember(self._refused, schema_id, (self._now() + FORGET_SECONDS, refusal.detail))
            self._unknown += 1
            self._unknown_seconds += self._now() - began
            if self._unknown == MOST_UNKNOWN or self._unknown_seconds >= MOST_UNKNOWN_SECONDS:
                logger.warning("%d %s: no other new id of the block is asked for", self._unknown, _TOO_MANY)
            raise
        _remember(self._schemas, schema_id, made)
        return made

    def _referred(self, answer: Answer) -> list[str]:
        """Return the texts of everything a schema refers to, what others need first."""
        texts: dict[str, str] = {}
        under_way: set[str] = set()

        def add(references: list[Reference]) -> None:
            for reference in references:
                if reference.name in texts or reference.name in under_way:
                    continue
                under_way.add(reference.name)
                if len(under_way) > MAX_REFERENCES:
                    raise RefusalError("decode", f"the schema refers to more than {MAX_REFERENCES} others")
                path = f"/subjects/{quote(reference.subject, safe='')}/versions/{reference.version}"
                found = self._answer(path, f"the schema {reference.subject!r}, version {reference.version},")
                add(found.references)
                texts[reference.name] = found.schema

        add(answer.references)
        return list(texts.values())

    def _answer(self, path: str, what: str) -> Answer:
        """Ask until there is an answer or patience is over."""
        pause = FIRST_PAUSE
        while True:
            began = self._now()
            try:
                status, body = self._line.get(path)
                why = f"it answers {status}"
                if status not in _AGAIN:
                    return _judged(status, body, what)
            except ssl.SSLCertVerificationError as error:
                raise ConfigError(
                    f"the schema registry's certificate is not trusted: {error.verify_message}",
                    hint="set codec.schema_registry.ca_file to its CA",
                ) from None
            except (OSError, http.client.HTTPException) as error:
                why = f"{type(error).__name__}: {error}"
            self._waited += self._now() - began
            left = self._registry.patience - self._waited
            if left <= 0:
                raise RetryableError(f"the schema registry at {_host(self._registry)} is unreachable: {why}")
            self._sleep(min(pause, left))
            self._waited += min(pause, left)
            pause = min(2 * pause, LONGEST_PAUSE)


class _Line:
    """A connection to a registry that is kept open between requests."""

    def __init__(self, registry: SchemaRegistry) -> None:
        url = urlsplit(registry.url)
        self._path = url.path.rstrip("/")
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json"}
        if registry.username is not None:
            proof = b64encode(f"{registry.username}:{registry.password or ''}".encode()).decode()
            self._headers["Authorization"] = f"Basic {proof}"
        self._open = partial(_connection, registry, url.scheme, url.netloc)
        self._connection: http.client.HTTPConnection | None = None

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask once. Redirections are not followed: they would take the password elsewhere."""
        if self._connection is None:
            self._connection = self._open()
        try:
            self._connection.request("GET", self._path + path, headers=self._headers)
            response = self._connection.getresponse()
            body = response.read(MAX_BYTES)
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        if not response.isclosed():
            self.close()  # what is left of the answer would be taken for the next one
        return response.status, body

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _connection(registry: SchemaRegistry, scheme: str, host: str) -> http.client.HTTPConnection:
    if scheme != "https":
        return http.client.HTTPConnection(host, timeout=REQUEST_SECONDS)
    try:
        context = ssl.create_default_context(cafile=registry.ca_file)
        if registry.cert_file is not None:
            context.load_cert_chain(registry.cert_file, registry.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"codec.schema_registry: a certificate or key cannot be read: {error}") from None
    return http.client.HTTPSConnection(host, timeout=REQUEST_SECONDS, context=context)


def _judged(status: int, body: bytes, what: str) -> Answer:
    if status == http.HTTPStatus.NOT_FOUND:
        raise RefusalError("decode", f"{what} is not in the schema registry")
    if status in {http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN}:
        raise ConfigError(
            f"the schema registry denies access ({status})", hint="check codec.schema_registry.username and password"
        )
    if status != http.HTTPStatus.OK:
        raise StopError(f"the schema registry answers {status} to a request for {what}", hint="check its url and log")
    try:
        answer = msgspec.json.decode(body, type=Answer)
    except msgspec.MsgspecError:
        raise StopError(
            "codec.schema_registry.url is not the address of a schema registry", hint="check the url"
        ) from None
    if answer.schemaType != "AVRO":
        raise RefusalError("decode", f"{what} is of type {answer.schemaType:.20}, not Avro")
    return answer


def _host(registry: SchemaRegistry) -> str:
    return urlsplit(registry.url).netloc.rpartition("@")[2]


def _remember(cache: OrderedDict[int, Any], key: int, value: object) -> None:
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > MAX_SCHEMAS:
        cache.popitem(last=False)
