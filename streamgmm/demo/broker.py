"""An embedded single-node broker that speaks Kafka's protocol, for the demo, quick tests and fault injection.

It listens on loopback only and is no server to rely on: no replication, no transactions, no TLS, no SASL, no
compaction, no retention but DeleteRecords. Everything lives in memory, and in a directory as well if one is given.

    python -m streamgmm.demo.broker --port 9092 --dir data
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import logging
import struct
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from streamgmm.demo import broker_topics
from streamgmm.demo.broker_data import Data
from streamgmm.demo.broker_faults import Faults
from streamgmm.demo.broker_groups import Groups
from streamgmm.demo.broker_offsets import Offsets
from streamgmm.demo.broker_protocol import Body, Code, Reply, Request, api_versions, decode, encode, unsupported
from streamgmm.demo.broker_topics import Topics
from streamgmm.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
NODE = 1
CLUSTER = "streamgmm-embedded"
GARBAGE = b"\xff" * 64
START_SECONDS = 10.0
MAX_REQUEST = 100 << 20


class Broker:
    """The broker, with its own thread and event loop.

    Parameters
    ----------
    directory
        Where to keep topics, records and offsets; None forgets them with the object.
    port
        0 takes a free one. A stopped broker starts again on the port it had.
    default_partitions
        What a topic gets that comes into being by its first use.
    auto_create
        Whether topics come into being by their first use.
    max_message_bytes
        Largest record batch taken.
    """

    def __init__(
        self,
        directory: Path | None = None,
        port: int = 0,
        *,
        default_partitions: int = 1,
        auto_create: bool = True,
        max_message_bytes: int = 8 << 20,
    ) -> None:
        self.port = port
        self.faults = Faults()
        self._directory = directory
        self._default_partitions = default_partitions
        self._auto_create = auto_create
        self._max_message_bytes = max_message_bytes
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: OSError | None = None
        self._kept: tuple[Topics, Offsets] | None = None
        self._handlers: dict[str, Callable[..., Any]] = {}

    @property
    def bootstrap_servers(self) -> str:
        """The address, once started."""
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        """Listen. Raises RetryableError when the port is taken."""
        if self._thread is not None:
            return
        self._ready.clear()
        self._failure = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="broker", daemon=True)
        self._thread.start()
        if not self._ready.wait(START_SECONDS) or self._failure is not None:
            self._thread.join(START_SECONDS)
            self._thread = None
            raise RetryableError(f"the embedded broker cannot listen on port {self.port}: {self._failure}")

    def stop(self) -> None:
        """Hang up on everybody and free the port; safe to call twice."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._on_loop(lambda: self._stopping.set() if self._stopping is not None else None)
        thread.join(START_SECONDS)
        self._loop = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def damage(self, topic: str, partition: int, offset: int) -> None:
        """Damage the stored batch that holds an offset: its checksum no longer holds."""
        done = threading.Event()

        def flip() -> None:
            log = self._kept[0].log(topic, partition) if self._kept is not None else None
            if log is not None:
                log.damage(offset)
            done.set()

        self._on_loop(flip)
        done.wait(START_SECONDS)

    def _on_loop(self, action: Callable[[], None]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(action)

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        connections: set[asyncio.Task[None]] = set()
        try:
            server = await asyncio.start_server(partial(self._connection, connections), HOST, self.port, limit=1 << 20)
        except OSError as error:
            self._failure = error
            self._ready.set()
            return
        self.port = server.sockets[0].getsockname()[1]
        topics, offsets, groups = self._open()
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for connection in list(connections):
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        groups.close()
        offsets.close()
        topics.close()

    def _open(self) -> tuple[Topics, Offsets, Groups]:
        if self._directory is not None:
            self._directory.mkdir(parents=True, exist_ok=True)
        if self._directory is not None or self._kept is None:
            self._kept = Topics(self._directory, self._default_partitions), Offsets(self._directory)
        # Without a directory a stopped broker that starts again still knows what it knew.
        topics, offsets = self._kept
        groups = Groups(offsets, self.faults)
        self._handlers = {
            **handlers(topics, groups, Data(topics, self.faults, self._max_message_bytes)),
            "Metadata": partial(self._metadata, topics),
            "FindCoordinator": self._coordinator,
            "DescribeCluster": self._cluster,
        }
        return topics, offsets, groups

    async def _connection(
        self,
        connections: set[asyncio.Task[None]],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        task = asyncio.current_task()
        if task is not None:
            connections.add(task)
            task.add_done_callback(connections.discard)
        try:
            await self._answer_all(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client went away, or the broker does
        except Exception:
            logger.exception("connection closed over a request that could not be served")
        finally:
            writer.close()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve requests in order, as Kafka does: a long poll holds up what comes behind it on its connection."""
        while True:
            size = struct.unpack(">i", await reader.readexactly(4))[0]
            if not 0 < size <= MAX_REQUEST:
                return
            request = decode(await reader.readexactly(size))
            answer = unsupported(request) if request.body is None else await self._answer(request)
            if request.body is None and answer is None:
                return
            if answer is not None:
                writer.write(answer)
                await writer.drain()

    async def _answer(self, request: Request) -> bytes | None:
        delay = self.faults.delay(request.name)
        if delay:
            await asyncio.sleep(delay)
        handler = self._handlers[request.name]
        extra = (request.client_id,) if request.name == "JoinGroup" else ()
        reply = handler(request.body, request.version, *extra)
        if inspect.isawaitable(reply):
            reply = await reply
        if self.faults.is_garbled(request.name):
            return GARBAGE
        return None if reply is None else encode(request.name, request.version, request.correlation_id, reply)

    def _node(self) -> Reply:
        return {"node_id": NODE, "host": HOST, "port": self.port}

    def _metadata(self, topics: Topics, body: Body, version: int) -> Reply:
        names = None if body.topics is None else [topic.name for topic in body.topics]
        create = self._auto_create and (version < 4 or body.allow_auto_topic_creation)
        return {
            "brokers": [self._node() | {"rack": None}],
            "cluster_id": CLUSTER,
            "controller_id": NODE,
            "topics": broker_topics.metadata(topics, names, create=create),
        }

    def _coordinator(self, _body: Body, _version: int) -> Reply:
        return {"error_code": Code.NONE, "error_message": None} | self._node()

    def _cluster(self, _body: Body, _version: int) -> Reply:
        broker = {"broker_id": NODE, "host": HOST, "port": self.port, "rack": None}
        return {
            "error_code": Code.NONE,
            "error_message": None,
            "cluster_id": CLUSTER,
            "controller_id": NODE,
            "brokers": [broker],
        }


def handlers(topics: Topics, groups: Groups, data: Data) -> dict[str, Callable[..., Any]]:
    """Say who answers what."""
    return {
        "ApiVersions": lambda _body, _version: api_versions(),
        "CreateTopics": partial(broker_topics.create_topics, topics),
        "DeleteTopics": partial(broker_topics.delete_topics, topics),
        "CreatePartitions": partial(broker_topics.create_partitions, topics),
        "DeleteRecords": partial(broker_topics.delete_records, topics),
        "DescribeConfigs": partial(broker_topics.describe_configs, topics),
        "InitProducerId": data.init_producer_id,
        "Produce": data.produce,
        "Fetch": data.fetch,
        "ListOffsets": data.list_offsets,
        "OffsetForLeaderEpoch": data.end_of_epoch,
        "JoinGroup": groups.join,
        "SyncGroup": groups.sync,
        "Heartbeat": groups.heartbeat,
        "LeaveGroup": groups.leave,
        "OffsetCommit": groups.commit,
        "OffsetFetch": groups.fetch_offsets,
        "ListGroups": groups.list_groups,
        "DescribeGroups": groups.describe_groups,
        "DeleteGroups": groups.delete_groups,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run a broker as a process of its own; prints its address once it listens."""
    parser = argparse.ArgumentParser(prog="python -m streamgmm.demo.broker", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--dir", type=Path, help="where to keep topics, records and offsets (default: nowhere)")
    parser.add_argument("--partitions", type=int, default=1, help="of a topic that comes into being by its first use")
    parser.add_argument("--no-auto-create", action="store_true", help="refuse topics that were not created")
    args = parser.parse_args(argv)
    broker = Broker(args.dir, args.port, default_partitions=args.partitions, auto_create=not args.no_auto_create)
    with broker:
        print(broker.bootstrap_servers, flush=True)  # noqa: T201 - this is what the process is asked for
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
