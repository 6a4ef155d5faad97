import asyncio
from types import SimpleNamespace

from streamgmm.bus.last_words import hear_out


def test_what_was_received_comes_before_the_end():
    ended = ConnectionError("socket disconnected")
    reads = [(b"why", ended), (b"", ended)]
    transport = SimpleNamespace(_sock_recv=lambda: reads.pop(0))

    async def build(host):
        assert host == "h"
        return transport

    net = SimpleNamespace(_manager=SimpleNamespace(_build_transport=build))
    hear_out(net)
    built = asyncio.run(net._manager._build_transport("h"))
    assert built._sock_recv() == (b"why", None)
    assert built._sock_recv() == (b"", ended)
