"""What breaks around a server: its peer in the middle of a frame, its socket's file, the clock."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
import pytest

import extproc.wire
from extproc.flow.exchange import Machine
from extproc.flow.record import Record
from extproc.model.call import Outcome
from extproc.wire import processor
from extproc.wire.grpc_server import GrpcServer
from extproc.wire.native_server import CHECK, PROCESS, NativeServer
from extproc.wire.processor import Conversation, message_limit
from tests.kit import FakeClock
from tests.wire.h2peer import Peer, data, first, headers, request
from tests.wire.h2peer import grpc as message
from tests.wire.said import BODY_LIMIT, MESSAGES, USUAL, machine

YEARS = 10 * 365 * 86_400.0


@dataclass
class Served:
    path: Path
    server: NativeServer | GrpcServer
    machine: Machine
    records: list[Record] = field(default_factory=list[Record])

    @property
    def clock(self) -> FakeClock:
        assert isinstance(self.machine.clock, FakeClock)
        return self.machine.clock

    async def eventually(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not true():
                await asyncio.sleep(0.002)


@pytest.fixture(params=[NativeServer, GrpcServer])
async def served(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    around = machine()
    records: list[Record] = []
    path = tmp_path / "w.sock"
    server = request.param(
        path,
        message_limit(BODY_LIMIT),
        lambda call, peer: Conversation(around, records.append, call, peer),
    )
    await server.start()
    yield Served(path, server, around, records)
    await server.stop(0)
    assert around.live.exchanges == 0
    assert around.live.held == 0


WHO = (("x-sluice-call", "gw-2"), ("x-sluice-peer", "127.0.0.1"))


def channel(served: Served) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"unix:{served.path}")


async def say(call: grpc.aio.StreamStreamCall[bytes, bytes], *names: str) -> None:
    for name in names:
        await call.write(MESSAGES[name])
        assert isinstance(await call.read(), bytes)


# --- Envoy is killed in the middle of a frame

ASK = message(MESSAGES["ask"])
CUT: dict[str, bytes] = {
    "in the head of a frame": data(1, ASK)[:5],
    "in a message's length": data(1, ASK[:3])[:-1],
    "in a message": data(1, ASK)[:-20],
    "in a message of two frames": data(1, ASK[:30]) + data(1, ASK[30:])[:-5],
    "in a header block": request(3)[:-10],
    "between the parts of a block": headers(3, b"\x82", flags=0),
    "after a message, before its answer": data(1, ASK),
}


@pytest.mark.parametrize("where", CUT)
async def test_a_peer_that_is_killed(served: Served, where: str) -> None:
    peer = await Peer.connect(served.path)
    peer.send(first(1), data(1, message(MESSAGES["head"])))
    await served.eventually(lambda: served.machine.live.exchanges == 1)
    peer.send(CUT[where])
    await peer.writer.drain()
    peer.writer.transport.abort()
    # grpc's core begins a stream with half of its headers.
    await served.eventually(lambda: bool(served.records) and not served.machine.live.exchanges)
    assert {record.outcome for record in served.records} == {Outcome.ABORTED}
    async with channel(served) as other:
        call = other.stream_stream(PROCESS)(metadata=WHO)
        await say(call, *USUAL)
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK


# --- the socket's file


async def test_its_file_is_removed_while_it_runs(served: Served) -> None:
    """Who is connected stays, nobody else can come, and it stops as ever."""
    async with channel(served) as before:
        call = before.stream_stream(PROCESS)(metadata=WHO)
        await say(call, *USUAL[:2])
        served.path.unlink()
        await say(call, *USUAL[2:])
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
        assert await before.unary_unary(CHECK)(b"") == processor.SERVING
        with pytest.raises(OSError):
            await asyncio.open_unix_connection(str(served.path))
    await served.server.stop(0)
    assert not served.path.exists()


# --- clocks


async def test_the_wall_clock_jumps(served: Served) -> None:
    """Nothing is measured with it: neither how long an exchange took, nor when one ends."""
    async with channel(served) as line:
        call = line.stream_stream(PROCESS)(metadata=WHO, timeout=20)
        for name, jump in zip(USUAL, (YEARS, -2 * YEARS, YEARS, -YEARS, 1.0), strict=True):
            await say(call, name)
            served.clock.now += 0.25
            served.clock.unix += jump
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
    (record,) = served.records
    assert record.outcome is Outcome.OK
    assert record.duration == pytest.approx(1.25)
    assert 0 <= record.own_seconds < 1


def test_no_transport_asks_for_the_time_of_day() -> None:
    """It gets its time from the loop, which is monotonic, or from a clock that is passed in."""
    for path in Path(extproc.wire.__file__ or "").parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=names):
                    assert not {"time", "datetime"} & {name.name for name in names}, path
                case ast.ImportFrom(module=module):
                    assert module not in ("time", "datetime"), path
                case ast.Attribute(attr="time", value=value):
                    assert ast.unparse(value) == "self._loop", path
                case _:
                    pass
