"""What every process below the supervisor shares: its settings, its orders, its end.

Settings come through stdin, so that no secret is on a command line or on disk.
The first line is a `Hello`, every later line a `Message`. The end of stdin means
that the supervisor is gone, and then this process is gone too, at once. On stdout
goes `ready`, and after it one `Said` a line.

A configuration is changed in two steps: `Prepare`, which may be refused, and `Use`.
Each has a serial number, counted by the supervisor; its version may come again.

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
from typing import Literal, TypeAlias

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


class State(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What the whole gateway is doing: `workers` counts those that are ready."""

    draining: bool = False
    workers: int = 0


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """Settings on their way to a child. `encoded` is what `config.load.encode` made of them;
    `about` is a JSON object of what people may know of them."""

    serial: int
    version: str
    encoded: msgspec.Raw
    about: msgspec.Raw = msgspec.Raw(b"{}")

    def settings(self) -> Settings:
        return decode(self.encoded)


class Prepare(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Make this ready to be used, and say `prepared` or `refused`. It takes the place of one that
    was prepared and never used."""

    configuration: Configuration


class Use(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Use what was prepared, from now on, and say `using`; `released` when nothing runs any more
    by the one before."""

    serial: int


class Reloaded(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """For the admin process: how a reload ended. `ask` is the number of the `Said` that asked."""

    result: str
    report: msgspec.Raw
    ask: int = 0


Message: TypeAlias = State | Prepare | Use | Reloaded


What: TypeAlias = Literal["prepared", "refused", "using", "released", "leaving", "reload"]


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a child says. `serial` is the configuration's, or of `reload` the asker's own number."""

    what: What
    serial: int = 0
    reason: str = ""


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The first line. Paths are absolute. `secret` is known to all children of one gateway, and to
    nobody else: what one of them signs with it, another can trust."""

    parent: int
    configuration: Configuration
    data: str
    run: str
    secret: bytes


def hello_line(configuration: Configuration, layout: Layout, secret: bytes) -> bytes:
    """The first line for a child of this very process."""
    hello = Hello(
        parent=os.getpid(),
        configuration=configuration,
        data=str(layout.data),
        run=str(layout.run),
        secret=secret,
    )
    return msgspec.json.encode(hello) + b"\n"


def message_line(message: Message) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def configured(
    serial: int, version: str, settings: Settings, about: bytes = b"{}"
) -> Configuration:
    encoded = msgspec.Raw(encode(settings))
    return Configuration(serial=serial, version=version, encoded=encoded, about=msgspec.Raw(about))


class Parent:
    """The supervisor, seen from a child."""

    def __init__(self, hello: Hello, orders: _Orders) -> None:
        self.configuration = configuration = hello.configuration
        """the one to begin with"""
        self.settings = configuration.settings()
        self.layout = Layout(Path(hello.data), Path(hello.run))
        self.secret = hello.secret
        self._orders = orders

    async def messages(self) -> AsyncIterator[Message]:
        """What the supervisor says, until it asks this process to stop. For one reader."""
        while True:
            message = await self._orders.queue.get()
            if message is None:
                return
            yield message

    def ready(self) -> None:
        """Tells the supervisor that this process can do its work, by the first configuration."""
        using = Said(what="using", serial=self.configuration.serial)
        os.write(sys.stdout.fileno(), READY + _line(using))

    def say(self, said: Said) -> None:
        """Only once `ready`."""
        os.write(sys.stdout.fileno(), _line(said))


def _line(said: Said) -> bytes:
    return msgspec.json.encode(said) + b"\n"


class _Orders(asyncio.Protocol):
    """Splits stdin into lines. The end of it ends the process."""

    def __init__(self) -> None:
        self.hello: asyncio.Future[Hello] = asyncio.get_running_loop().create_future()
        self.queue: asyncio.Queue[Message | None] = asyncio.Queue()
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        for line in lines:
            if not self.hello.done():
                self.hello.set_result(msgspec.json.decode(line, type=Hello))
            else:
                self.queue.put_nowait(msgspec.json.decode(line, type=Message))

    def eof_received(self) -> None:
        os._exit(1)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        os._exit(1)

    def ask_to_stop(self) -> None:
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
    return await main(Parent(hello, orders))
