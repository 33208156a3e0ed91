"""Sends copies of requests through the gateway again, over the unix socket that Envoy keeps for us.

`Copies` is the port of that name: for each provider so many wait and so many are under way, and no
more. What is above the bounds, or waited too long, is dropped and counted. HTTP/1.1, one connection
a copy, which Envoy closes behind its reply: where the reply ends is all that is looked at, so
nothing of it is parsed or kept. The copy's own exchange says what was in it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from extproc.model.ports import Clock, Copy, Fate
from extproc.model.value import value

_SHARE = 16


@value
class Room:
    """For the copies of one provider, but for `bytes`, those of all bodies that wait or are under
    way: one provider's may take half of them. Times in seconds. `reply` is in bytes: what is longer
    is left."""

    waiting: int = 128
    under_way: int = 64
    bytes: int = 16 << 20
    patience: float = 10.0
    longest: float = 300.0
    reply: int = 64 << 20


def room(in_flight_bytes: int) -> Room:
    """The usual one, or less where a worker may hold little: what it sends is held by another as
    well, and what clients' requests may take has to stay theirs."""
    most = Room()
    return replace(most, bytes=min(most.bytes, in_flight_bytes // _SHARE))


@dataclass(slots=True, eq=False)
class _Lane:
    """The copies of one provider: one that hangs holds up nobody else's."""

    waiting: deque[tuple[float, Copy]] = field(default_factory=deque[tuple[float, Copy]])
    carriers: int = 0
    held: int = 0


class Copies:
    """See `model.ports.Copies`. One for each worker; `close` it in the end.

    `socket` need not be there yet. `told` hears once of each copy what became of it.
    """

    def __init__(
        self, socket: Path, clock: Clock, told: Callable[[Fate], None], room: Room | None = None
    ) -> None:
        self._socket = str(socket)
        self._clock = clock
        self._told = told
        self._room = room or Room()
        self._lanes: dict[str, _Lane] = {}
        self._carriers: set[asyncio.Task[None]] = set()
        self._closed = False

    def post(self, copy: Copy) -> None:
        lane = self._lanes.setdefault(copy.provider, _Lane())
        if self._closed or not self._fits(lane, len(copy.body)):
            self._told(Fate.DROPPED)
            return
        lane.held += len(copy.body)
        lane.waiting.append((self._clock.monotonic(), copy))
        if lane.carriers < self._room.under_way:
            lane.carriers += 1
            carrier = asyncio.create_task(self._carry(lane))
            self._carriers.add(carrier)
            carrier.add_done_callback(self._carriers.discard)

    def _fits(self, lane: _Lane, size: int) -> bool:
        room, all_held = self._room, sum(one.held for one in self._lanes.values())
        return (
            len(lane.waiting) < room.waiting
            and lane.held + size <= room.bytes // 2
            and all_held + size <= room.bytes
        )

    async def close(self, patience: float = 0.0) -> None:
        """Takes no more, and gives those that it has so many seconds to come to an end."""
        self._closed = True
        if self._carriers and patience > 0:
            await asyncio.wait(self._carriers, timeout=patience)
        for carrier in self._carriers:
            carrier.cancel()
        await asyncio.gather(*self._carriers, return_exceptions=True)
        for lane in self._lanes.values():
            for _ in lane.waiting:
                self._told(Fate.DROPPED)
        self._lanes.clear()

    async def _carry(self, lane: _Lane) -> None:
        """Sends one copy after another, until none waits."""
        try:
            while lane.waiting:
                since, copy = lane.waiting.popleft()
                fate = Fate.FAILED
                try:
                    if self._clock.monotonic() - since > self._room.patience:
                        fate = Fate.DROPPED
                    elif await self._sent(copy):
                        fate = Fate.SENT
                finally:
                    lane.held -= len(copy.body)
                    self._told(fate)
        finally:
            lane.carriers -= 1

    async def _sent(self, copy: Copy) -> bool:
        """Whether a reply came, and came to its end."""
        loop = asyncio.get_running_loop()
        reply = _Reply(self._room.reply)
        try:
            async with asyncio.timeout(self._room.longest):
                line, _ = await loop.create_unix_connection(lambda: reply, self._socket)
                try:
                    line.write(_head(copy))
                    line.write(copy.body)
                    return await reply.over
                finally:
                    line.abort()
        except (OSError, TimeoutError):
            return False


def _head(copy: Copy) -> bytes:
    lines = [
        f"{copy.method} {copy.target} HTTP/1.1",
        *(f"{name}: {said}" for name, said in copy.headers),
        "host: localhost",
        f"content-length: {len(copy.body)}",
        "connection: close",
        "\r\n",
    ]
    return "\r\n".join(lines).encode("latin-1", "replace")


class _Reply(asyncio.Protocol):
    """Counts what comes. `over` is whether the other side ended it, with something said."""

    def __init__(self, most: int) -> None:
        self.over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._most = most
        self._line: asyncio.Transport | None = None
        self._come = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._line = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._come += len(data)
        if self._come > self._most and self._line is not None:
            self._end(False)
            self._line.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc is None and self._come > 0)

    def _end(self, well: bool) -> None:
        if not self.over.done():
            self.over.set_result(well)
