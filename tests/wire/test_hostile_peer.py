"""Attacks, each played to a server in a process of its own, with the limits that we ship.

While an attack runs an honest client is served, memory stays where it was, and at
the end every exchange has settled. What each frame means is in `test_http2.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Callable, Iterator

import pytest

from extproc.wire import frames
from extproc.wire.frames import PADDED, Code, Kind, frame
from extproc.wire.hpack import encode
from tests.wire.h2peer import (
    HELLO,
    NO_TABLE,
    Frame,
    Peer,
    data,
    first,
    headers,
    ping,
    read,
    request,
    reset,
    settings,
    window,
)
from tests.wire.h2peer import grpc as message
from tests.wire.serve import Process

MB = 1 << 20
MOST_GROWTH = 48 * MB
ODD = itertools.count(3, 2)
"""streams, after the first one"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process.start(tmp_path_factory.mktemp("hostile") / "w.sock")
    try:
        yield process
        said = process.stop()
        assert said["began"] == said["settled"]
        assert said["problems"] == []
    finally:
        process.kill()


async def honest(server: Process) -> None:
    """An exchange like any other, on a connection of its own."""
    peer = await Peer.connect(server.socket)
    peer.send(first(1), data(1, message(b"hello")))
    assert (await peer.until(Kind.DATA, 1)).payload == message(b"echo:hello")
    peer.send(data(1, message(b"over"), end=True))
    assert (await peer.trailers(1))["grpc-status"] == "0"
    peer.close()


def streams() -> Iterator[int]:
    return itertools.count(3, 2)


Octets = Iterator[bytes]


def again(octets: bytes) -> Octets:
    return itertools.repeat(octets)


def each(make: Callable[[int], bytes]) -> Octets:
    return (make(stream) for stream in itertools.count(3, 2))


OPEN = first(1)
FLOODS: dict[str, tuple[bytes, Callable[[], Octets]]] = {
    "rapid reset": (OPEN, lambda: each(lambda s: request(s) + reset(s))),
    "made you reset": (OPEN, lambda: each(lambda s: request(s) + window(s, 0))),
    "streams that are malformed": (OPEN, lambda: each(lambda s: request(s, ("te", "x")))),
    "continuations": (
        OPEN + headers(3, b"", flags=0),
        lambda: again(frame(Kind.CONTINUATION, 0, 3)),
    ),
    "long continuations": (
        OPEN + headers(3, b"", flags=0),
        lambda: again(frame(Kind.CONTINUATION, 0, 3, bytes(16_000))),
    ),
    "pings": (OPEN, lambda: again(ping())),
    "settings": (OPEN, lambda: again(settings())),
    "settings that move windows": (
        OPEN,
        lambda: itertools.cycle([settings(s4=0), settings(s4=2**31 - 1)]),
    ),
    "settings acknowledged": (OPEN, lambda: again(NO_TABLE)),
    "empty data": (OPEN, lambda: again(data(1, b""))),
    "padding and nothing else": (OPEN, lambda: again(data(1, b"\0", flags=PADDED))),
    "tiny windows": (OPEN, lambda: again(window(0, 1))),
    "priority": (OPEN, lambda: again(frame(Kind.PRIORITY, 0, 1, bytes(5)))),
    "unknown frames": (OPEN, lambda: again(frames.HEAD.pack(0, 0, 0x55, 0, 0))),
    "late data": (OPEN + reset(1), lambda: again(data(1, b"x"))),
    "header lists over the limit": (
        OPEN,
        lambda: each(lambda s: headers(s, b"\x08" * 9 + encode([("a", "b" * 8000)] * 2)[:16_000])),
    ),
}


async def play(server: Process, octets: Octets, *before: bytes) -> Frame:
    """Goes on until the server ends the connection. Gives its last word."""
    loop = asyncio.get_running_loop()
    line = socket.socket(socket.AF_UNIX)
    line.setblocking(False)
    last: list[Frame] = []
    rest = b""

    async def say() -> None:
        with contextlib.suppress(ConnectionError):
            await loop.sock_sendall(line, HELLO + NO_TABLE + b"".join(before))
            while True:
                await loop.sock_sendall(line, b"".join(itertools.islice(octets, 200)))
                await asyncio.sleep(0)

    with line:
        await loop.sock_connect(line, str(server.socket))
        saying = asyncio.create_task(say())
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):
                while piece := await loop.sock_recv(line, 1 << 16):
                    found, rest = read(rest + piece)
                    last = found[-1:] or last
        saying.cancel()
        await asyncio.wait([saying])
    return last[0]


@pytest.mark.parametrize("attack", FLOODS)
async def test_floods(server: Process, attack: str) -> None:
    before, flood = FLOODS[attack]
    await honest(server)
    memory = server.forget_peak()
    playing = asyncio.create_task(play(server, flood(), before))
    while not playing.done():
        await honest(server)
    last = await playing
    assert (last.kind, last.code) == (Kind.GOAWAY, Code.ENHANCE_YOUR_CALM)
    assert server.peak() - memory < MOST_GROWTH
    await honest(server)
