"""Streams of the hop on both transports: what Envoy is told of an attempt, and how its stream ends."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.json_format import MessageToDict

from extproc.config.names import FLOWS
from extproc.config.schema import Settings, Window
from extproc.flow.exchange import Machine
from extproc.flow.live import Live
from extproc.flow.record import Record
from extproc.model.call import Failure
from extproc.telemetry.log import Log
from extproc.wire.grpc_server import GrpcServer
from extproc.wire.hop import Asking
from extproc.wire.native_server import PROCESS, NativeServer
from extproc.wire.pb import ext_proc_pb2 as pb
from extproc.wire.processor import Conversation, message_limit
from tests.flow.hops import BROKEN, PING, ROLE, WORD, ask, good, targets
from tests.kit import snapshot
from tests.wire.test_grpc_server import body, head

CALL = "gw-1"
LIMIT = 8 << 20
Stream = grpc.aio.StreamStreamCall[bytes, bytes]
WINDOW = Window(seconds=0.05, bytes=4096)


class RealClock:
    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)


@dataclass
class Served:
    machine: Machine
    server: NativeServer | GrpcServer
    channel: grpc.aio.Channel
    records: list[Record] = field(default_factory=list[Record])

    def exchange(self) -> Stream:
        metadata = (("x-sluice-call", CALL), ("x-sluice-peer", "127.0.0.1"))
        return self.channel.stream_stream(PROCESS)(metadata=metadata)  # type: ignore[return-value]

    def attempt(self, call: str = CALL) -> Stream:
        metadata = (("x-sluice-call", call), ("x-sluice-role", "attempt"), ("x-sluice-dest", "x"))
        return self.channel.stream_stream(PROCESS)(metadata=metadata)  # type: ignore[return-value]

    async def asked(self, *, stream: bool = False, text: bytes | None = None) -> Stream:
        """An exchange that waits for its reply."""
        call = self.exchange()
        await told(call, head())
        out = await told(call, body(text or ask(stream=stream), request=True))
        assert out.request_body.response.clear_route_cache
        return call

    async def recorded(self) -> Record:
        async with asyncio.timeout(10):
            while not self.records:
                await asyncio.sleep(0.002)
        return self.records[0]


@pytest.fixture(params=[NativeServer, GrpcServer])
async def kind(request: pytest.FixtureRequest) -> type[NativeServer | GrpcServer]:
    return request.param


async def serve(
    kind: type[NativeServer | GrpcServer], folder: Path, config: Settings
) -> AsyncIterator[Served]:
    clock = RealClock()
    log = Log(2, "test", "error", "json", clock)
    machine = Machine(snapshot(config), Live(1 << 30), clock, log, str(folder / "w.sock"))
    records: list[Record] = []
    server = kind(
        folder / "w.sock",
        message_limit(LIMIT),
        lambda call, peer: Conversation(machine, records.append, call, peer),
        ask=lambda call: Asking(machine.running, call),
    )
    await server.start()
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(f"unix:{folder / 'w.sock'}", options=options) as channel:
        yield Served(machine, server, channel, records)
    await server.stop(0)
    assert machine.running == {}


@pytest.fixture
async def served(kind: type[NativeServer | GrpcServer], tmp_path: Path) -> AsyncIterator[Served]:
    config = targets("a", "b", "c", window=WINDOW)
    async for one in serve(kind, tmp_path, config):
        yield one


@pytest.fixture
async def pausing(kind: type[NativeServer | GrpcServer], tmp_path: Path) -> AsyncIterator[Served]:
    async for one in serve(kind, tmp_path, targets("a", same=2, base=0.2)):
        yield one


async def told(call: Stream, message: bytes) -> pb.ProcessingResponse:
    await call.write(message)
    return await heard(call)


async def heard(call: Stream) -> pb.ProcessingResponse:
    async with asyncio.timeout(10):
        answer = await call.read()
    assert isinstance(answer, bytes), await call.details()
    return pb.ProcessingResponse.FromString(answer)


async def ends(call: Stream) -> grpc.StatusCode:
    async with asyncio.timeout(10):
        with contextlib.suppress(grpc.aio.AioRpcError):
            assert not isinstance(await call.read(), bytes), "no further answer"
        return await call.code()


AT_HOP = head(**{":path": "/", "x-sluice-call": CALL, "x-sluice-dest": "d", "content-length": "0"})


def reply(status: int = 200, kind: str = "application/json", **headers: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    everything = {":status": str(status), "content-type": kind, **named}
    values = [pb.HeaderValue(key=k, raw_value=v.encode()) for k, v in everything.items()]
    request = pb.ProcessingRequest(
        response_headers=pb.HttpHeaders(headers=pb.HeaderMap(headers=values))
    )
    fields = request.attributes["envoy.filters.http.ext_proc"]
    fields.update({"response.code_details": "via_upstream"})
    return request.SerializeToString()


STREAMS = reply(200, "text/event-stream")


def metadata(answer: pb.ProcessingResponse, namespace: str) -> Any:
    return MessageToDict(answer.dynamic_metadata).get(namespace)


def cluster_of(answer: pb.ProcessingResponse) -> str:
    return metadata(answer, "sluice.route")["priority_groups"][0]["clusters"][0]["cluster_name"]


def headers_of(answer: pb.ProcessingResponse) -> dict[str, str]:
    options = answer.immediate_response.headers.set_headers
    return {one.header.key: one.header.raw_value.decode() for one in options}


async def test_of_what_flows_the_hop_holds_little(served: Served) -> None:
    """Said beside the length: one of the two would take the other's place."""
    outside = await served.asked(stream=True)
    call = served.attempt()
    told_of = metadata(await told(call, AT_HOP), "sluice.plan")
    assert sorted(told_of) == [FLOWS, "length"]
    call.cancel()
    outside.cancel()


async def test_a_failover(served: Served) -> None:
    """A body in place of another has no length but the one told beside it."""
    outside = await served.asked()
    first = served.attempt()
    sent = await told(first, AT_HOP)
    common = sent.request_headers.response
    assert common.status == pb.CommonResponse.CONTINUE_AND_REPLACE
    assert common.clear_route_cache
    assert b'"m"' in common.body_mutation.body
    length = str(len(common.body_mutation.body))
    assert metadata(sent, "sluice.plan") == {"length": length, "whole": "1"}
    assert cluster_of(sent) == "provider-a"
    gone = await told(first, reply(529))
    assert gone.immediate_response.status.code == 503
    assert headers_of(gone) == {"x-sluice-again": "overloaded"}
    assert await ends(first) is grpc.StatusCode.OK
    second = served.attempt()
    sent = await told(second, AT_HOP)
    assert cluster_of(sent) == "provider-b"
    await second.write(reply())
    assert await ends(second) is grpc.StatusCode.OK
    answer = await told(outside, reply())
    assert metadata(answer, "sluice.plan")["provider"] == "b"
    assert metadata(answer, "sluice.route") is None
    assert not answer.response_headers.response.clear_route_cache
    last = await told(outside, body(good("b")))
    assert b"hello" in last.response_body.response.body_mutation.body
    await outside.done_writing()
    assert await ends(outside) is grpc.StatusCode.OK
    record = await served.recorded()
    assert [t.failure for t in record.tried] == [Failure.OVERLOADED, None]


@pytest.mark.parametrize("call", ["gw-other", "", CALL])
async def test_a_call_that_does_not_run_here(served: Served, call: str) -> None:
    attempt = served.attempt(call)
    answer = await told(attempt, AT_HOP)
    assert answer.immediate_response.status.code == 503
    assert headers_of(answer) == {"x-sluice-end": "unknown"}
    assert await ends(attempt) is grpc.StatusCode.OK


async def test_a_plain_exchange_has_no_attempts(
    kind: type[NativeServer | GrpcServer], tmp_path: Path
) -> None:
    async for served in serve(kind, tmp_path, targets("a")):
        await served.asked()
        attempt = served.attempt()
        answer = await told(attempt, AT_HOP)
        assert headers_of(answer) == {"x-sluice-end": "unknown"}


async def test_held_until_content(served: Served) -> None:
    outside = await served.asked(stream=True)
    attempt = served.attempt()
    await told(attempt, AT_HOP)
    for message in (STREAMS, body(PING, end=False), body(ROLE, end=False), body(WORD, end=False)):
        await attempt.write(message)
    assert await ends(attempt) is grpc.StatusCode.OK
    await told(outside, STREAMS)
    answer = await told(outside, body(ROLE + WORD, end=False))
    assert answer.HasField("response_body")
    outside.cancel()


async def test_an_error_in_the_window(served: Served) -> None:
    await served.asked(stream=True)
    attempt = served.attempt()
    await told(attempt, AT_HOP)
    await attempt.write(STREAMS)
    await attempt.write(body(ROLE, end=False))
    answer = await told(attempt, body(BROKEN, end=False))
    assert headers_of(answer) == {"x-sluice-again": "stream_error"}
    assert await ends(attempt) is grpc.StatusCode.OK


async def test_silence_in_the_window_needs_no_message(served: Served) -> None:
    await served.asked(stream=True)
    attempt = served.attempt()
    await told(attempt, AT_HOP)
    await attempt.write(STREAMS)
    assert headers_of(await heard(attempt)) == {"x-sluice-again": "first_event"}
    assert await ends(attempt) is grpc.StatusCode.OK


async def test_a_forged_header_is_taken_away(served: Served) -> None:
    await served.asked()
    attempt = served.attempt()
    await told(attempt, AT_HOP)
    answer = await told(attempt, reply(200, x_sluice_again="1"))
    mutation = answer.response_headers.response.header_mutation
    assert list(mutation.remove_headers) == ["x-sluice-again"]
    assert await ends(attempt) is grpc.StatusCode.OK


async def test_a_stream_that_is_reset_is_lost(served: Served) -> None:
    outside = await served.asked(stream=True)
    attempt = served.attempt()
    await told(attempt, AT_HOP)
    await attempt.write(STREAMS)
    attempt.cancel()
    second = served.attempt()
    sent = await told(second, AT_HOP)
    assert cluster_of(sent) == "provider-b"
    outside.cancel()
    record = await served.recorded()
    assert [t.failure for t in record.tried] == [Failure.RESET, Failure.LEFT]


@pytest.mark.parametrize(
    "odd",
    [
        [b"\xff\xff\xff"],
        [reply()],
        [body(b"x")],
        [AT_HOP, AT_HOP],
        [AT_HOP, pb.ProcessingRequest(request_trailers=pb.HttpTrailers()).SerializeToString()],
        [],
        [AT_HOP],
    ],
    ids=range(7),
)
async def test_without_a_verdict_it_never_ends_ok(served: Served, odd: list[bytes]) -> None:
    outside = await served.asked()
    attempt = served.attempt()
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for at, message in enumerate(odd):
            if at or message is not AT_HOP:
                await attempt.write(message)
            else:
                await told(attempt, message)
        await attempt.done_writing()
    assert await ends(attempt) is grpc.StatusCode.UNAVAILABLE
    outside.cancel()
    await served.recorded()


async def test_a_large_body(served: Served) -> None:
    text = ask(messages=[{"role": "user", "content": "x" * (3 << 20)}])
    outside = await served.asked(text=text)
    attempt = served.attempt()
    sent = await told(attempt, AT_HOP)
    sent_body = sent.request_headers.response.body_mutation.body
    assert sent_body.count(b"x") >= 3 << 20
    assert metadata(sent, "sluice.plan")["length"] == str(len(sent_body))
    outside.cancel()


async def test_a_pause_before_the_same_target(pausing: Served) -> None:
    await pausing.asked()
    attempt = pausing.attempt()
    await told(attempt, AT_HOP)
    await told(attempt, reply(503))
    second = pausing.attempt()
    begun = time.monotonic()
    await told(second, AT_HOP)
    assert time.monotonic() - begun >= 0.1


async def test_the_client_goes_in_a_pause(pausing: Served) -> None:
    outside = await pausing.asked()
    attempt = pausing.attempt()
    await told(attempt, AT_HOP)
    await told(attempt, reply(503))
    second = pausing.attempt()
    await second.write(AT_HOP)
    await asyncio.sleep(0)
    second.cancel()
    outside.cancel()
    record = await pausing.recorded()
    assert [t.failure for t in record.tried] == [Failure.OVERLOADED]
    async with asyncio.timeout(5):
        while pausing.machine.health.busy("a/m"):
            await asyncio.sleep(0.01)


async def test_the_server_stops_amid_attempts(served: Served) -> None:
    outside = await served.asked()
    attempt = served.attempt()
    await told(attempt, AT_HOP)
    await served.server.stop(0)
    assert await ends(attempt) is not grpc.StatusCode.OK
    assert await ends(outside) is not grpc.StatusCode.OK
    record = await served.recorded()
    assert [t.failure for t in record.tried] == [Failure.LEFT]
