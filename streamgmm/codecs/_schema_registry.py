"""A client of a schema registry: schemas by their id, remembered for good.

A registry that is away is asked again for a while, and then the daemon tries again later: a record whose schema nobody
could say just now is no bad record. An id that the registry does not know is one.
"""

from __future__ import annotations

import http.client
import ssl
import time
from base64 import b64encode
from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import msgspec

from streamgmm.codecs._payload import RefusalError
from streamgmm.errors import ConfigError, RetryableError, StopError

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamgmm.codecs import SchemaRegistry

# One request; `SchemaRegistry.patience` bounds all the tries for one schema.
REQUEST_SECONDS = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
MAX_BYTES = 4 * 2**20
# Ids that were not known are not asked for again so soon, or a flood of bad records would be one of requests.
FORGET_SECONDS = 60.0
MAX_SCHEMAS = 1000
MAX_REFERENCES = 100
_AGAIN = (408, 429, 500, 502, 503, 504)


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

    def schema(self, schema_id: int) -> Any:  # noqa: ANN401 - whatever `make` returns
        """Return the schema of an id.

        Raises
        ------
        RefusalError
            `decode`: the registry does not know the id, or what it knows is of no use.
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
        try:
            answer = self._answer(f"/schemas/ids/{schema_id}", f"schema id {schema_id}")
            made = self._make(answer.schema, self._referred(answer))
        except RefusalError as refusal:
            _remember(self._refused, schema_id, (self._now() + FORGET_SECONDS, refusal.detail))
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
        deadline, pause = self._now() + self._registry.patience, FIRST_PAUSE
        while True:
            try:
                status, body = _get(self._registry, path)
                why = f"it answers {status}"
                if status not in _AGAIN:
                    return _judged(status, body, what)
            except ssl.SSLCertVerificationError as error:
                raise ConfigError(
                    f"the schema registry's certificate is not trusted: {error.verify_message}",
                    hint="name its CA in codec.schema_registry.ca_file",
                ) from None
            except (OSError, http.client.HTTPException) as error:
                why = f"{type(error).__name__}: {error}"
            left = deadline - self._now()
            if left <= 0:
                raise RetryableError(f"the schema registry at {_host(self._registry)} is away: {why}")
            self._sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)


def _get(registry: SchemaRegistry, path: str) -> tuple[int, bytes]:
    """Ask once. Redirections are not followed: they would take the password elsewhere."""
    url = urlsplit(registry.url)
    headers = {"Accept": "application/vnd.schemaregistry.v1+json"}
    if registry.username is not None:
        proof = b64encode(f"{registry.username}:{registry.password or ''}".encode()).decode()
        headers["Authorization"] = f"Basic {proof}"
    connection = _connection(registry, url.scheme, url.netloc)
    try:
        connection.request("GET", url.path.rstrip("/") + path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(MAX_BYTES)
    finally:
        connection.close()


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
            f"the schema registry refuses us ({status})", hint="look at codec.schema_registry.username and password"
        )
    if status != http.HTTPStatus.OK:
        raise StopError(f"the schema registry answers {status} when asked for {what}", hint="look at its url and log")
    try:
        answer = msgspec.json.decode(body, type=Answer)
    except msgspec.MsgspecError:
        raise StopError(
            "what answers at codec.schema_registry.url is no schema registry", hint="look at the url"
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
