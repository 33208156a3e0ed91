"""What the credential tests share: a little HTTP server on loopback, and time that a test moves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import httpx

from extproc.credentials.refresh import Surroundings
from tests.kit import FakeClock


@dataclass(frozen=True)
class Asked:
    """A request as it came in. `headers` are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return {name: value for name, (value,) in parse_qs(self.body.decode()).items()}


@dataclass(frozen=True)
class Says:
    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)

    def raw(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} X", f"content-length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers] + [
            "connection: close",
            "",
            "",
        ]
        return "\r\n".join(lines).encode() + self.body


class Silence:
    """Takes the request, and says nothing until it is hung up on."""


class Endless:
    """A reply that never stops."""


Play = Says | bytes | Silence | Endless


@dataclass
class Endpoint:
    """Answers by `play`; bytes go out as they are, and then the connection is cut."""

    play: Callable[[Asked], Play]
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            asked = await _read(reader)
            self.asked.append(asked)
            self.arrived.set()
            match self.play(asked):
                case Says() as says:
                    writer.write(says.raw())
                case bytes() as raw:
                    writer.write(raw)
                case Silence():
                    await reader.read()
                case Endless():
                    writer.write(b"HTTP/1.1 200 X\r\n\r\n")
                    while not writer.is_closing():
                        writer.write(b"x" * 65_536)
                        await writer.drain()
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *rest = head.rstrip("\r\n").split("\r\n")
    method, target, _ = line.split(" ")
    headers = {n.lower(): v.strip() for n, _, v in (each.partition(":") for each in rest)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, body)


@contextlib.asynccontextmanager
async def endpoint(play: Callable[[Asked], Play] | Play) -> AsyncIterator[Endpoint]:
    place = Endpoint(play if callable(play) else lambda _: play)
    server = await asyncio.start_server(place.accept, "127.0.0.1", 0)
    place.port = server.sockets[0].getsockname()[1]
    try:
        yield place
    finally:
        server.close()
        await server.wait_closed()
        async with asyncio.timeout(5):
            await asyncio.gather(*place.serving)


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, timeout=5)


@dataclass
class Time:
    """A clock, and sleepers who wake only when it is moved past their time."""

    clock: FakeClock = field(default_factory=FakeClock)
    chance: float = 0.0
    sleepers: list[tuple[float, asyncio.Future[None]]] = field(default_factory=list)
    asleep: asyncio.Condition = field(default_factory=asyncio.Condition)

    def around(self) -> Surroundings:
        return Surroundings(self.clock, self.sleep, lambda: self.chance)

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.clock.now + seconds, woken))
        async with self.asleep:
            self.asleep.notify_all()
        await woken

    async def quiet(self) -> None:
        """Until somebody sleeps: the loop has done all it wanted to do by now."""
        async with asyncio.timeout(5), self.asleep:
            await self.asleep.wait_for(lambda: self.sleepers)

    async def advance(self, seconds: float) -> None:
        """Moves on from one waking to the next, as long as the time given."""
        end = self.clock.now + seconds
        while True:
            await self.quiet()
            first = min(at for at, _ in self.sleepers)
            if first > end:
                break
            self.clock.advance(max(0.0, first - self.clock.now))
            self._wake()
        self.clock.advance(end - self.clock.now)

    async def jump(self, *, unix: float = 0.0, monotonic: float = 0.0) -> None:
        """One clock alone leaps, as at a suspension or when somebody sets it; sleepers wake."""
        await self.quiet()
        self.clock.unix += unix
        self.clock.now += monotonic
        self._wake(all_of_them=True)

    def _wake(self, *, all_of_them: bool = False) -> None:
        due = [s for s in self.sleepers if all_of_them or s[0] <= self.clock.now]
        self.sleepers = [s for s in self.sleepers if s not in due]
        for _, woken in due:
            if not woken.done():
                woken.set_result(None)
