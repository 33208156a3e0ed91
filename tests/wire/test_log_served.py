"""Envoy's log on both transports: its word ends the exchange that it is about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from extproc.flow.exchange import Machine
from extproc.flow.live import Live
from extproc.flow.record import Record
from extproc.model.call import Outcome
from extproc.telemetry.log import Log
from extproc.wire.cuts import MESSAGE, Cuts
from extproc.wire.grpc_server import GrpcServer
from extproc.wire.native_server import LOG, NativeServer
from extproc.wire.processor import Conversation, message_limit
from tests.kit import FakeClock, snapshot
from tests.wire.said import Waits
from tests.wire.test_cuts import entry
from tests.wire.test_grpc_server import BODY_LIMIT, DIALOGUE, PROCESS, play

Server = NativeServer | GrpcServer
NEVER = 1e6
LONGER_THAN_GRPC_NEEDS = 0.3
"""seconds: it hears its streams out for a while, by itself"""
TO_THE_REPLY = DIALOGUE[:3]


@dataclass
class Served:
    server: Server
    channel: grpc.aio.Channel
    cuts: Cuts
    machine: Machine
    records: list[Record] = field(default_factory=list[Record])

    async def cut(self, call: str = "gw-1") -> None:
        """An exchange whose stream ends after its reply's head."""
        metadata = (("x-sluice-call", call), ("x-sluice-peer", "127.0.0.1"))
        stream: Any = self.channel.stream_stream(PROCESS)(metadata=metadata)
        await play(stream, TO_THE_REPLY)
        stream.cancel()

    def log(self) -> Any:
        return self.channel.stream_unary(LOG)()

    async def until(self, done: Any) -> None:
        async with asyncio.timeout(10):
            while not done():
                await asyncio.sleep(0.002)


@pytest.fixture(params=[NativeServer, GrpcServer])
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    clock = FakeClock()
    log = Log(2, "test", "error", "json", clock)
    machine = Machine(snapshot(stages=(Waits,)), Live(1 << 30), clock, log)
    cuts, records = Cuts(NEVER), list[Record]()
    server = request.param(
        tmp_path / "w.sock",
        message_limit(BODY_LIMIT),
        lambda call, peer: Conversation(machine, records.append, call, peer, cuts),
        cuts=cuts,
    )
    await server.start()
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 'w.sock'}", options=options) as channel:
        yield Served(server, channel, cuts, machine, records)
        if machine.live.exchanges:
            await cuts.close()
    await server.stop(0)
    await cuts.close()


async def test_the_word_comes_after_the_end(served: Served) -> None:
    log = served.log()
    for call in ("gw-1", "gw-2"):
        await served.cut(call)
    await served.until(lambda: len(served.cuts) == 2)
    assert served.records == []
    for call in ("gw-2", "gw-1"):
        await log.write(entry(call))
    await served.until(lambda: len(served.records) == 2)
    found = [(one.call_id, one.outcome) for one in served.records]
    assert found == [("gw-2", Outcome.BROKEN), ("gw-1", Outcome.BROKEN)]
    log.cancel()


async def test_the_word_comes_first(served: Served) -> None:
    log = served.log()
    await log.write(entry("gw-1"))
    await log.write(entry("gw-other"))
    await log.done_writing()
    assert await log == b""
    await served.cut()
    await served.until(lambda: served.records)
    assert served.records[0].outcome is Outcome.BROKEN
    assert len(served.cuts) == 0


async def test_a_whole_exchange_waits_for_nothing(served: Served) -> None:
    metadata = (("x-sluice-call", "gw-1"), ("x-sluice-peer", "127.0.0.1"))
    stream: Any = served.channel.stream_stream(PROCESS)(metadata=metadata)
    await play(stream, DIALOGUE)
    await stream.done_writing()
    assert await stream.code() is grpc.StatusCode.OK
    assert [one.outcome for one in served.records] == [Outcome.OK]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\xff\xff\xff", grpc.StatusCode.UNAVAILABLE),
        (bytes(MESSAGE * 4), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
async def test_what_is_no_log(served: Served, message: bytes, code: grpc.StatusCode) -> None:
    """Its stream ends; the next one is heard."""
    bad = served.log()
    await bad.write(message)
    assert await bad.code() is code
    await served.cut()
    good = served.log()
    await good.write(entry("gw-1"))
    await served.until(lambda: served.records)
    good.cancel()


async def test_a_large_entry_is_heard(served: Served) -> None:
    """As many bytes as a client's path may have: in several frames, beyond the first window."""
    log = served.log()
    async with asyncio.timeout(10):
        for number in range(8):
            await log.write(entry("x", details="x" * (MESSAGE // 2)))
            await log.write(entry(f"gw-{number}"))
    await served.cut("gw-7")
    await served.until(lambda: served.records)
    log.cancel()


async def test_a_server_that_stops_hears_the_last_words(served: Served) -> None:
    log = served.log()
    await log.write(entry("gw-other"))
    await served.cut()
    await served.until(lambda: len(served.cuts) == 1)
    stopping = asyncio.create_task(served.server.stop(5.0))
    await asyncio.wait({stopping}, timeout=LONGER_THAN_GRPC_NEEDS)
    assert not stopping.done()
    await log.write(entry("gw-1"))
    began = time.monotonic()
    await stopping
    assert time.monotonic() - began < 0.9, "an open log holds up no end"
    assert [one.outcome for one in served.records] == [Outcome.BROKEN]
    assert await log.code() is not grpc.StatusCode.OK


async def test_without_envoy_it_stops_at_once(served: Served) -> None:
    await served.cut()
    await served.until(lambda: len(served.cuts) == 1)
    await served.server.stop(5.0)
    await served.cuts.close()
    assert [one.outcome for one in served.records] == [Outcome.ABORTED]
