"""Both transports, asked the same by the same client, say the same: replies, code and details."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc
import grpc.aio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extproc.flow.exchange import Machine
from extproc.flow.live import Live
from extproc.flow.record import Record
from extproc.telemetry.log import Log
from extproc.wire.grpc_server import GrpcServer
from extproc.wire.native_server import CHECK, PROCESS, NativeServer
from extproc.wire.pb import ext_proc_pb2 as pb
from extproc.wire.processor import Conversation, message_limit
from tests.kit import FakeClock, snapshot
from tests.wire.test_grpc_server import ASK, CHUNK, DIALOGUE, body, head, reply_head

BODY_LIMIT = 1 << 20
TOO_LARGE = body(b"x" * (BODY_LIMIT + (2 << 20)), request=True)
MESSAGES: dict[str, bytes] = {
    "head": head(),
    "refused": head(origin="https://evil.example"),
    "models": head(**{":path": "/v1/models", ":method": "GET"}),
    "ask": body(ASK, request=True),
    "bad ask": body(b'{"model":', request=True),
    "reply": reply_head(),
    "chunk": body(CHUNK, end=False),
    "done": body(b"data: [DONE]\n\n"),
    "garbage": b"\xff\xff\xff",
    "nothing": b"",
    "trailers": pb.ProcessingRequest(request_trailers=pb.HttpTrailers()).SerializeToString(),
    "too large": TOO_LARGE,
}
USUAL = ("head", "ask", "reply", "chunk", "done")
Server: TypeAlias = GrpcServer | NativeServer


@dataclass(frozen=True)
class Script:
    """What one client says, and what it does then."""

    messages: tuple[str, ...]
    end: str = "done writing"
    at_once: bool = False
    """all messages before the first answer is read"""


@dataclass(frozen=True)
class Outcome:
    replies: tuple[bytes, ...]
    code: grpc.StatusCode | None
    """None: the client lost a race between a write and the stream's end, and made up a code"""
    details: str
    recorded: str


def scripts() -> st.SearchStrategy[Script]:
    """Mostly the usual way, cut anywhere, with something odd in it sometimes."""
    odd = st.lists(st.sampled_from(sorted(MESSAGES)), max_size=5).map(tuple)
    usual = st.integers(0, len(USUAL)).map(lambda n: USUAL[:n])
    mixed = st.tuples(usual, st.sampled_from(sorted(MESSAGES))).map(lambda t: (*t[0], t[1]))
    return st.builds(
        Script,
        st.one_of(usual, mixed, odd, st.just(USUAL)),
        st.sampled_from(["done writing", "done writing", "cancel"]),
        st.booleans(),
    )


async def follow(channel: grpc.aio.Channel, number: int, script: Script) -> Outcome:
    """Plays a script. Each message waits for the answer to the one before, unless `at_once`."""
    call = channel.stream_stream(PROCESS)(
        metadata=(("x-sluice-call", f"gw-{number}"), ("x-sluice-peer", "127.0.0.1")),
        timeout=0.5 if script.end == "deadline" else 20,
    )
    replies: list[bytes] = []
    asked = [MESSAGES[name] for name in script.messages]

    async def listen() -> bool:
        answer = await call.read()
        if isinstance(answer, bytes):
            replies.append(answer)
        return isinstance(answer, bytes)

    try:
        if script.at_once:
            for one in asked:
                await call.write(one)
            if script.end == "done writing":
                await call.done_writing()
            for _ in asked:
                if not await listen():
                    break
        else:
            for one in asked:
                await call.write(one)
                if not await listen():
                    break
        if script.end == "cancel":
            call.cancel()
        elif script.end == "done writing":
            await call.done_writing()
        while await listen():
            pass
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError):
        pass  # the stream has ended: its code is asked for
    code, said = await call.code(), await call.details() or ""
    if code is grpc.StatusCode.INTERNAL and "Internal error from Core" in said:
        return Outcome(tuple(replies), None, "", "")
    # The words for these two are grpc's own: they come from its client, or from its core.
    theirs = code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED)
    return Outcome(tuple(replies), code, "" if theirs else said, "")


async def outcomes(kind: type[Server], folder: Path, scripts: Sequence[Script]) -> list[Outcome]:
    """All scripts at the same time, on one connection to a fresh server."""
    clock = FakeClock()
    machine = Machine(snapshot(), Live(1 << 30), clock, Log(2, "test", "error", "json", clock))
    records: list[Record] = []
    path = folder / f"{kind.__name__}.sock"
    server = kind(
        path,
        message_limit(BODY_LIMIT),
        lambda call, peer: Conversation(machine, records.append, call, peer),
    )
    await server.start()
    async with grpc.aio.insecure_channel(
        f"unix:{path}", options=[("grpc.max_send_message_length", -1)]
    ) as channel:
        await channel.unary_unary(CHECK)(b"")
        got = await asyncio.gather(*(follow(channel, i, s) for i, s in enumerate(scripts)))
        async with asyncio.timeout(10):
            while len(records) < len(scripts) and machine.live.exchanges:
                await asyncio.sleep(0.002)
    await server.stop(0)
    by_call: dict[str, list[str]] = {}
    for record in records:
        by_call.setdefault(record.call_id, []).append(record.outcome.value)
    return [
        Outcome(o.replies, o.code, o.details, ",".join(by_call.get(f"gw-{i}", ())))
        for i, o in enumerate(got)
    ]


def compare(played: Sequence[Script]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        theirs = asyncio.run(outcomes(GrpcServer, folder, played))
        ours = asyncio.run(outcomes(NativeServer, folder, played))
    for script, mine, other in zip(played, ours, theirs, strict=True):
        if mine.code is not None and other.code is not None:
            assert mine == other, script


@pytest.mark.parametrize("said", range(len(DIALOGUE) + 1))
@pytest.mark.parametrize("at_once", [False, True])
def test_the_end_of_a_stream_after_each_message(said: int, at_once: bool) -> None:
    compare([Script(USUAL[:said], "done writing", at_once)])


@settings(max_examples=60)
@example([Script(USUAL), Script(("refused",)), Script(("models",)), Script(("head", "head"))])
@example([Script(("head", "too large")), Script(("garbage",)), Script(USUAL, "cancel")])
@example([Script(("head", "ask"), "deadline")])
@given(st.lists(scripts(), min_size=1, max_size=6))
def test_any_scripts_at_the_same_time(played: list[Script]) -> None:
    compare(played)
