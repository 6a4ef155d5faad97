"""Hear a broker out before noticing that it hung up.

kafka-python 3.0 reads a socket until it would block; when the end of the connection comes with the last bytes, it drops
them. A broker that refuses credentials answers why and closes at once, so that on a busy machine the reason is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamgmm.bus.client import Client


def hear_out(net: Client) -> None:
    """Make one network client hand on what it received before it reports the end of a connection.

    A kafka-python that builds its connections in another way is left as it is: the reason of a refusal may be lost.
    """
    manager = getattr(net, "_manager", None)  # transports are made nowhere else
    build = getattr(manager, "_build_transport", None)
    if manager is None or build is None:
        return

    async def build_patient(*args: Any, **how: Any) -> Any:  # noqa: ANN401 - kafka-python ships no types
        transport = await build(*args, **how)
        receive = getattr(transport, "_sock_recv", None)
        if receive is None:
            return transport

        def last_words_first() -> tuple[bytes, Exception | None]:
            data, error = receive()
            # The end is still there at the next read.
            return data, (None if data else error)

        transport._sock_recv = last_words_first  # noqa: SLF001
        return transport

    manager._build_transport = build_patient  # noqa: SLF001
