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
from pathlib import Path

import pytest

from extproc.wire import frames
from extproc.wire.frames import PADDED, Code, Kind, frame
from extproc.wire.hpack import encode
from tests.wire.h2peer import (
    HELLO,
    NO_TABLE,
    REQUEST,
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


Octets = Iterator[bytes]


def again(octets: bytes) -> Octets:
    return itertools.repeat(octets)


def each(make: Callable[[int], bytes]) -> Octets:
    return (make(stream) for stream in itertools.count(3, 2))


OPEN = HELLO + NO_TABLE + first(1)
BOMB = b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4000
"""an entry for the table that nobody has given up yet; then each octet of a block is all of it"""
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
    "header bombs": (
        HELLO + headers(1, encode(REQUEST) + BOMB),
        lambda: each(lambda s: headers(s, b"\xbe" * 16_000)),
    ),
    "long header lists": (
        OPEN,
        lambda: each(lambda s: headers(s, encode([(f"a{i}", "") for i in range(1900)])[:16_000])),
    ),
}


async def play(server: Process, before: bytes, octets: Octets) -> Frame:
    """Goes on until the server ends the connection. Gives its last word."""
    loop = asyncio.get_running_loop()
    line = socket.socket(socket.AF_UNIX)
    line.setblocking(False)
    last: list[Frame] = []
    rest = b""

    async def say() -> None:
        with contextlib.suppress(ConnectionError):
            await loop.sock_sendall(line, before)
            while True:
                await loop.sock_sendall(line, b"".join(itertools.islice(octets, 200)))
                await asyncio.sleep(0)

    with line:
        await loop.sock_connect(line, str(server.socket))
        saying = asyncio.create_task(say())
        async with asyncio.timeout(12):
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
    playing = asyncio.create_task(play(server, before, flood()))
    while not playing.done():
        await honest(server)
    last = await playing
    assert (last.kind, last.code) == (Kind.GOAWAY, Code.ENHANCE_YOUR_CALM)
    assert server.peak() - memory < MOST_GROWTH
    await honest(server)


BROKEN: dict[str, tuple[bytes, Code]] = {
    "a window that overflows": (OPEN + window(0, 2**31 - 1), Code.FLOW_CONTROL_ERROR),
    "windows that overflow all streams": (
        OPEN + window(1, 2**31 - 65_536) + settings(s4=2**31 - 1),
        Code.FLOW_CONTROL_ERROR,
    ),
    "more data than a window": (
        OPEN + b"".join([data(1, message(bytes(15 * MB)[:16_000]) * 1)] * 70),
        Code.FLOW_CONTROL_ERROR,
    ),
    "padding that is longer than its frame": (
        OPEN + data(1, b"\xff" + bytes(10), flags=PADDED),
        Code.PROTOCOL_ERROR,
    ),
    "padding without a length": (OPEN + data(1, b"", flags=PADDED), Code.FRAME_SIZE_ERROR),
    "a frame of sixteen megabytes": (
        OPEN + frames.HEAD.pack(0xFFFF, 0xFF, 0, 0, 1),
        Code.FRAME_SIZE_ERROR,
    ),
    "a block that cannot be read": (OPEN + headers(3, b"\x80"), Code.COMPRESSION_ERROR),
    "HTTP/1.1": (b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", Code.PROTOCOL_ERROR),
}


@pytest.mark.parametrize("attack", BROKEN)
async def test_broken_protocols(server: Process, attack: str) -> None:
    octets, code = BROKEN[attack]
    last = await play(server, octets, iter(()))
    assert (last.kind, last.code) == (Kind.GOAWAY, code)
    await honest(server)


# --- what may go on for ever, within bounds


@contextlib.contextmanager
def small(folder: Path, **limits: int) -> Iterator[Process]:
    """A server of the test's own."""
    process = Process.start(folder / "w.sock", **limits)
    try:
        yield process
        said = process.stop()
        assert said["began"] == said["settled"]
        assert said["problems"] == []
    finally:
        process.kill()


async def connected(server: Process, *octets: bytes) -> Peer:
    peer = await Peer.connect(server.socket, b"")
    peer.send(*octets)
    await peer.writer.drain()
    return peer


HALVES: dict[str, bytes] = {
    "nothing": b"",
    "a preface": HELLO[:10],
    "a head": OPEN + b"\0\0",
    "a frame": OPEN + data(1, bytes(16_000))[:-1],
    "a header block": OPEN + headers(3, bytes(10), flags=0),
    "a message": OPEN + data(1, message(bytes(1000))[:-1]),
}


@pytest.mark.parametrize("half", HALVES)
async def test_half_of_something_for_ever(server: Process, half: str) -> None:
    """Slow loris: three hundred connections wait, a hundredth of a megabyte each."""
    await honest(server)
    memory = server.forget_peak()
    peers = [await connected(server, HALVES[half]) for _ in range(300)]
    for _ in range(3):
        await honest(server)
    used = server.seconds()
    await honest(server)
    assert server.seconds() - used < 0.2, "it works while nothing comes"
    assert server.peak() - memory < 300 * 64 * 1024
    for peer in peers:
        peer.close()
    await honest(server)


async def test_a_reader_that_never_reads(server: Process) -> None:
    """It has given all the window there is, asks for more and more, and reads nothing.

    What one read brings is answered, and no more is read.
    """
    await honest(server)
    memory = server.forget_peak()
    windows = settings(s4=2**31 - 1) + window(0, 2**31 - 1 - 65_535)
    peer = await connected(server, OPEN, windows)
    peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
    ask = data(1, message(b"big 1000")) * 500
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            while True:
                peer.send(ask)
                await peer.writer.drain()
    await honest(server)
    assert server.peak() - memory < MOST_GROWTH
    peer.writer.transport.abort()


async def test_no_window_for_any_answer(tmp_path: Path) -> None:
    """Answers that wait for their peer's window count as held, like messages that wait for theirs."""
    with small(tmp_path, held=8 * MB, message=MB) as server:
        await honest(server)
        memory = server.forget_peak()
        peer = await connected(server, OPEN, settings(s4=0))
        for stream in itertools.islice(itertools.count(3, 2), 200):
            peer.send(request(stream), data(stream, message(b"big 1000000")))
            await peer.writer.drain()
        await honest(server)
        assert server.peak() - memory < MOST_GROWTH
        peer.close()


SIZES = range(1, 500)
STEPS: dict[str, bytes] = {
    "in one frame": frame(
        Kind.SETTINGS, 0, 0, b"".join(b"\0\x04" + size.to_bytes(4, "big") for size in SIZES)
    ),
    "in many frames": b"".join(settings(s4=size) for size in SIZES),
}


@pytest.mark.parametrize("steps", STEPS)
async def test_windows_that_grow_by_a_byte(tmp_path: Path, steps: str) -> None:
    """A few bytes move the windows of all streams: what is sent is in proportion to what came."""
    with small(tmp_path) as server:
        await honest(server)
        peer = await connected(server, OPEN, settings(s4=0), window(0, 2**31 - 1 - 65_535))
        for stream in itertools.islice(itertools.count(3, 2), 1000):
            peer.send(request(stream), data(stream, message(b"big 20000")))
            await peer.writer.drain()
        await honest(server)
        memory = server.forget_peak()
        used = server.seconds()
        peer.send(STEPS[steps])
        await honest(server)
        assert server.peak() - memory < MOST_GROWTH
        assert server.seconds() - used < 0.5
        peer.close()


async def test_all_the_streams_there_are(server: Process) -> None:
    """Those beyond the limit are refused, those within it are served."""
    await honest(server)
    memory = server.forget_peak()
    peer = await connected(server, OPEN)
    limit = frames.Limits().streams
    for stream in itertools.islice(itertools.count(3, 2), limit + 200):
        peer.send(request(stream))
        await peer.writer.drain()
    over = 2 * limit + 1
    assert (await peer.until(Kind.RST_STREAM, over)).code == Code.REFUSED_STREAM
    peer.send(data(3, message(b"over"), end=True))
    assert (await peer.trailers(3))["grpc-status"] == "0"
    assert server.peak() - memory < 3 * MOST_GROWTH
    peer.close()
    await honest(server)


async def test_it_stops_whatever_its_peers_do(tmp_path: Path) -> None:
    """One never hears of the end, one has no window, one does not read, one is half a frame."""
    server = Process.start(tmp_path / "w.sock")
    peers: list[Peer] = []
    try:
        wide = settings(s4=2**31 - 1) + window(0, 2**31 - 1 - 65_535)
        said = (
            OPEN + data(1, message(b"wait")),
            OPEN + settings(s4=0) + data(1, message(b"big 1000")),
            OPEN + wide + data(1, message(b"big 30000000")),
            OPEN + data(1, bytes(100))[:-1],
            b"PRI",
        )
        peers += [await connected(server, octets) for octets in said]
        peers[2].reader._transport.pause_reading()  # type: ignore[attr-defined]
        await honest(server)
        stopped = asyncio.create_task(asyncio.to_thread(server.stop))
        for stream in itertools.count(3, 2):
            peers[0].send(request(stream))
            await asyncio.sleep(0.001)
            if stopped.done():
                break
        end = await stopped
        assert end["began"] == end["settled"]
        assert end["problems"] == []
    finally:
        server.kill()
        for peer in peers:
            peer.writer.transport.abort()
