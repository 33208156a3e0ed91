"""What every process below the supervisor shares: its settings, its orders, its end.

Settings come through stdin, so that no secret is on a command line or on disk.
The first line is a `Hello`, every later line a `State`. The end of stdin means
that the supervisor is gone, and then this process is gone too, at once.
`ready` on stdout is the only thing ever written there.

A child's SIGTERM ends `Parent.messages()`; the child then finishes what runs
and returns. SIGINT is ignored: a terminal sends it to everybody, and the
supervisor decides who stops when.
"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import uvloop

from extproc.config.layout import Layout
from extproc.config.load import decode, encode
from extproc.config.schema import Settings
from extproc.supervisor.leash import die_with_parent

READY = b"ready\n"


class SystemClock:
    """Real time: the `Clock` of every process of ours."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What the whole gateway is doing: `workers` counts those that are ready."""

    draining: bool = False
    workers: int = 0


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The first line. `settings` is what `config.load.encode` made; paths are absolute."""

    parent: int
    settings: msgspec.Raw
    data: str
    run: str


def hello_line(settings: Settings, layout: Layout) -> bytes:
    """The first line for a child of this very process."""
    hello = Hello(
        parent=os.getpid(),
        settings=msgspec.Raw(encode(settings)),
        data=str(layout.data),
        run=str(layout.run),
    )
    return msgspec.json.encode(hello) + b"\n"


def state_line(state: State) -> bytes:
    return msgspec.json.encode(state) + b"\n"


class Parent:
    """The supervisor, seen from a child."""

    def __init__(self, settings: Settings, layout: Layout, orders: _Orders) -> None:
        self.settings = settings
        self.layout = layout
        self._orders = orders

    async def messages(self) -> AsyncIterator[State]:
        """What the supervisor says, until it asks this process to stop. For one reader."""
        while True:
            state = await self._orders.queue.get()
            if state is None:
                return
            yield state

    async def stopped(self) -> None:
        """Returns when this process was asked to stop. For a child that reads no messages."""
        await self._orders.stop.wait()

    def ready(self) -> None:
        """Tells the supervisor that this process can do its work."""
        os.write(sys.stdout.fileno(), READY)


class _Orders(asyncio.Protocol):
    """Splits stdin into lines. The end of it ends the process."""

    def __init__(self) -> None:
        self.hello: asyncio.Future[Hello] = asyncio.get_running_loop().create_future()
        self.queue: asyncio.Queue[State | None] = asyncio.Queue()
        self.stop = asyncio.Event()
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        for line in lines:
            if not self.hello.done():
                self.hello.set_result(msgspec.json.decode(line, type=Hello))
            else:
                self.queue.put_nowait(msgspec.json.decode(line, type=State))

    def eof_received(self) -> None:
        os._exit(1)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        os._exit(1)

    def ask_to_stop(self) -> None:
        self.stop.set()
        self.queue.put_nowait(None)


def run_child(main: Callable[[Parent], Awaitable[int]]) -> int:
    """Runs `main` with the settings of the supervisor that started this process.

    Returns what `main` returns, as this process's exit status; 2 when there is no supervisor.
    """
    mode = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        print("`sluice up` starts this; it is of no use alone.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(main))


async def _run(main: Callable[[Parent], Awaitable[int]]) -> int:
    loop = asyncio.get_running_loop()
    orders = _Orders()
    loop.add_signal_handler(signal.SIGTERM, orders.ask_to_stop)
    await loop.connect_read_pipe(lambda: orders, sys.stdin.buffer)
    hello = await orders.hello
    die_with_parent(hello.parent)
    parent = Parent(decode(hello.settings), Layout(Path(hello.data), Path(hello.run)), orders)
    return await main(parent)
