"""Copies on their way: whole, bounded, counted once each, and nobody waits for them."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from extproc.model.ports import Copy, Fate
from extproc.stores.copies import Copies, Room, room
from tests.kit import FakeClock

REPLY = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nyes"
DEADLINE = 5.0


@dataclass
class Door:
    """What listens in Envoy's place: takes whole requests, answers when `open`, and closes."""

    path: Path
    clock: FakeClock = field(default_factory=FakeClock)
    came: list[bytes] = field(default_factory=list[bytes])
    fates: Counter[Fate] = field(default_factory=Counter[Fate])
    open: asyncio.Event = field(default_factory=asyncio.Event)
    reply: bytes = REPLY
    now: int = 0
    most: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            self.came.append(head + await reader.readexactly(size))
            await self.open.wait()
            writer.write(self.reply)
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.now -= 1
            writer.close()

    def told(self, fate: Fate) -> None:
        self.fates[fate] += 1

    def copies(self, size: Room | None = None) -> Copies:
        return Copies(self.path, self.clock, self.told, size)

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not done():
                await asyncio.sleep(0.005)

    async def fated(self, **wanted: int) -> None:
        expected = {Fate(name): count for name, count in wanted.items()}
        await self.until(lambda: self.fates.total() >= sum(wanted.values()))
        assert self.fates == expected


@asynccontextmanager
async def door(*, opened: bool = True, listens: bool = True) -> AsyncIterator[Door]:
    with tempfile.TemporaryDirectory(prefix="sl-") as folder:
        made = Door(Path(folder) / "copies.sock")
        if opened:
            made.open.set()
        if not listens:
            yield made
            return
        server = await asyncio.start_unix_server(made.serve, made.path)
        try:
            yield made
        finally:
            made.open.set()
            await made.until(lambda: not made.now)
            server.close()


def copy(body: bytes = b"{}", provider: str = "acme") -> Copy:
    return Copy(provider, "POST", "/v1/chat?a=1", (("x-a", "b"), ("x-e", "é")), body)


async def test_a_copy_arrives_whole() -> None:
    async with door() as there:
        copies = there.copies()
        body = bytes(range(256)) * 10_000
        copies.post(copy(body))
        await there.fated(sent=1)
        head, _, sent = there.came[0].partition(b"\r\n\r\n")
        assert sent == body
        assert head.split(b"\r\n") == [
            b"POST /v1/chat?a=1 HTTP/1.1",
            b"x-a: b",
            b"x-e: \xe9",
            b"host: localhost",
            b"content-length: 2560000",
            b"connection: close",
        ]
        await copies.close()


async def test_so_many_at_once_so_many_wait_and_the_rest_is_dropped() -> None:
    async with door(opened=False) as there:
        copies = there.copies(Room(waiting=5, under_way=3))
        for _ in range(20):
            copies.post(copy())
            # each that can be under way is, before the next one comes
            await asyncio.sleep(0)
        await there.until(lambda: len(there.came) == 3)
        assert there.fates == {Fate.DROPPED: 12}
        there.open.set()
        await there.fated(dropped=12, sent=8)
        assert there.most == 3
        copies.post(copy())
        await there.fated(dropped=12, sent=9)
        await copies.close()


async def test_bodies_are_bounded_for_one_provider_and_for_all() -> None:
    async with door(opened=False) as there:
        copies = there.copies(Room(bytes=1000))
        copies.post(copy(501 * b"x"))
        assert there.fates == {Fate.DROPPED: 1}
        for provider in ("a", "b", "c"):
            copies.post(copy(500 * b"x", provider))
        assert there.fates == {Fate.DROPPED: 2}
        there.open.set()
        await there.fated(dropped=2, sent=2)
        copies.post(copy(500 * b"x"))
        await there.fated(dropped=2, sent=3)
        await copies.close()


async def test_who_hangs_holds_up_nobody_else() -> None:
    async with door(opened=False) as there:
        copies = there.copies(Room(waiting=1, under_way=1))
        for _ in range(3):
            copies.post(copy(provider="hangs"))
            await asyncio.sleep(0)
        assert there.fates == {Fate.DROPPED: 1}
        copies.post(copy(provider="other"))
        await there.until(lambda: len(there.came) == 2)
        await copies.close()
        assert there.fates == {Fate.DROPPED: 2, Fate.FAILED: 2}


async def test_what_waited_too_long_is_dropped() -> None:
    async with door(opened=False) as there:
        copies = there.copies(Room(under_way=1, patience=10.0))
        for _ in range(3):
            copies.post(copy())
        await there.until(lambda: len(there.came) == 1)
        there.clock.advance(11.0)
        there.open.set()
        await there.fated(sent=1, dropped=2)
        await copies.close()


@pytest.mark.parametrize(
    ("reply", "fate"),
    [
        (REPLY + 1000 * b"x", Fate.SENT),
        (REPLY + 100_000 * b"x", Fate.FAILED),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", Fate.SENT),
        (b"", Fate.FAILED),
    ],
)
async def test_a_reply_is_read_to_its_end_but_no_further(reply: bytes, fate: Fate) -> None:
    async with door() as there:
        there.reply = reply
        copies = there.copies(Room(reply=50_000))
        copies.post(copy())
        await there.fated(**{fate.value: 1})
        await copies.close()


async def test_a_reply_that_does_not_end_is_left() -> None:
    async with door(opened=False) as there:
        copies = there.copies(Room(longest=0.05))
        copies.post(copy())
        await there.fated(failed=1)
        await copies.close()


async def test_nobody_listens() -> None:
    async with door(listens=False) as there:
        copies = there.copies()
        copies.post(copy())
        await there.fated(failed=1)
        await copies.close()


async def test_who_listens_goes_and_comes_back() -> None:
    async with door(listens=False) as there:
        copies = there.copies()
        copies.post(copy())
        await there.fated(failed=1)
        async with await asyncio.start_unix_server(there.serve, there.path):
            copies.post(copy())
            await there.fated(failed=1, sent=1)
        await copies.close()


async def test_in_the_end_what_runs_has_its_time() -> None:
    async with door(opened=False) as there:
        copies = there.copies(Room(under_way=1))
        copies.post(copy())
        copies.post(copy())
        await there.until(lambda: len(there.came) == 1)
        closing = asyncio.create_task(copies.close(DEADLINE))
        await asyncio.sleep(0)
        copies.post(copy())
        assert there.fates == {Fate.DROPPED: 1}
        there.open.set()
        await closing
        assert there.fates == {Fate.DROPPED: 1, Fate.SENT: 2}


async def test_in_the_end_nothing_is_left_and_all_are_counted() -> None:
    async with door(opened=False) as there:
        copies = there.copies(Room(under_way=2))
        for _ in range(5):
            copies.post(copy())
        await there.until(lambda: len(there.came) == 2)
        await copies.close(0.01)
        assert there.fates == {Fate.FAILED: 2, Fate.DROPPED: 3}


def test_room_is_a_small_part_of_what_a_worker_holds() -> None:
    assert room(16 << 20).bytes == 1 << 20
    assert room(1 << 40).bytes == Room().bytes
