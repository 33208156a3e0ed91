"""The transport, spoken to by a stock grpc client: how streams end, above all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.protobuf.struct_pb2 import Struct

from extproc.flow.exchange import Machine
from extproc.flow.live import Live
from extproc.flow.record import Record
from extproc.model.call import Outcome
from extproc.telemetry.log import Log
from extproc.wire import processor
from extproc.wire.grpc_server import GrpcServer
from extproc.wire.pb import ext_proc_pb2 as pb
from extproc.wire.processor import Conversation, message_limit
from tests.kit import FakeClock, snapshot

BODY_LIMIT = 1 << 20
ASK = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"stream":true}'
PROCESS = f"/{processor.SERVICE}/{processor.METHOD}"
CHECK = f"/{processor.HEALTH_SERVICE}/{processor.HEALTH_METHOD}"


@dataclass
class Served:
    path: Path
    server: GrpcServer
    channel: grpc.aio.Channel
    records: list[Record] = field(default_factory=list[Record])

    def open(self) -> grpc.aio.StreamStreamCall[bytes, bytes]:
        metadata = (("x-sluice-call", "gw-1"), ("x-sluice-peer", "127.0.0.1"))
        return self.channel.stream_stream(PROCESS)(metadata=metadata)  # type: ignore[return-value]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    clock = FakeClock()
    machine = Machine(snapshot(), Live(1 << 30), clock, Log(2, "test", "error", "json", clock))
    records: list[Record] = []
    path = tmp_path / "w.sock"
    server = GrpcServer(
        path,
        message_limit(BODY_LIMIT),
        lambda call, peer: Conversation(machine, records.append, call, peer),
    )
    await server.start()
    async with grpc.aio.insecure_channel(
        f"unix:{path}", options=[("grpc.max_send_message_length", -1)]
    ) as channel:
        yield Served(path, server, channel, records)
    await server.stop(0)


def head(**headers: str) -> bytes:
    everything = {
        ":method": "POST",
        ":path": "/v1/chat/completions",
        ":authority": "localhost",
        **headers,
    }
    values = [pb.HeaderValue(key=k, raw_value=v.encode()) for k, v in everything.items()]
    message = pb.HttpHeaders(headers=pb.HeaderMap(headers=values))
    return pb.ProcessingRequest(request_headers=message).SerializeToString()


def reply_head() -> bytes:
    values = [
        pb.HeaderValue(key=":status", raw_value=b"200"),
        pb.HeaderValue(key="content-type", raw_value=b"text/event-stream"),
    ]
    request = pb.ProcessingRequest(
        response_headers=pb.HttpHeaders(headers=pb.HeaderMap(headers=values))
    )
    attributes = Struct()
    attributes.update({"response.code_details": "via_upstream"})
    request.attributes["envoy.filters.http.ext_proc"].CopyFrom(attributes)
    return request.SerializeToString()


def body(data: bytes, *, request: bool = False, end: bool = True) -> bytes:
    message = pb.HttpBody(body=data, end_of_stream=end)
    if request:
        return pb.ProcessingRequest(request_body=message).SerializeToString()
    return pb.ProcessingRequest(response_body=message).SerializeToString()


CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n'
)
DIALOGUE = [
    head(),
    body(ASK, request=True),
    reply_head(),
    body(CHUNK, end=False),
    body(b"data: [DONE]\n\n"),
]


async def play(
    call: grpc.aio.StreamStreamCall[bytes, bytes], messages: list[bytes]
) -> list[pb.ProcessingResponse]:
    answers: list[pb.ProcessingResponse] = []
    with contextlib.suppress(grpc.aio.AioRpcError):  # the stream has ended; its code is asked for
        for message in messages:
            await call.write(message)
            answer = await call.read()
            if not isinstance(answer, bytes):
                break
            answers.append(pb.ProcessingResponse.FromString(answer))
    return answers


async def test_whole_exchange_ends_ok_and_is_recorded_once(served: Served) -> None:
    call = served.open()
    answers = await play(call, DIALOGUE)
    assert [a.WhichOneof("response") for a in answers] == [
        "request_headers",
        "request_body",
        "response_headers",
        "response_body",
        "response_body",
    ]
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK
    assert [(r.call_id, r.outcome) for r in served.records] == [("gw-1", Outcome.OK)]


@pytest.mark.parametrize("said", range(len(DIALOGUE)))
async def test_a_stream_that_ends_early_never_ends_ok(served: Served, said: int) -> None:
    call = served.open()
    await play(call, DIALOGUE[:said])
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert [r.outcome is Outcome.ABORTED for r in served.records] == [True]


@pytest.mark.parametrize("said", range(len(DIALOGUE)))
@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xff\xff\xff",
        b"",
        pb.ProcessingRequest(request_trailers=pb.HttpTrailers()).SerializeToString(),
    ],
    ids=["garbage", "nothing", "trailers"],
)
async def test_nonsense_at_any_message_never_ends_ok(
    served: Served, said: int, nonsense: bytes
) -> None:
    call = served.open()
    await play(call, DIALOGUE[:said])
    assert await play(call, [nonsense]) == []
    assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def test_message_out_of_turn_never_ends_ok(served: Served) -> None:
    call = served.open()
    assert await play(call, [head(), head()]) != []
    assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def test_refusal_is_an_immediate_response_and_ends_ok(served: Served) -> None:
    call = served.open()
    answers = await play(call, [head(origin="https://evil.example")])
    assert answers[0].immediate_response.status.code == 403
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK


async def test_cancelled_stream_is_settled(served: Served) -> None:
    call = served.open()
    await play(call, DIALOGUE[:4])
    call.cancel()
    await served.server.stop(5)
    assert [r.outcome for r in served.records] != []


async def test_message_over_the_limit_is_refused(served: Served) -> None:
    call = served.open()
    await play(call, [head()])
    assert await play(call, [body(b"x" * (BODY_LIMIT + (2 << 20)), request=True)]) == []
    assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_body_at_the_limit_passes(served: Served) -> None:
    text = b"x" * (BODY_LIMIT - len(ASK))
    call = served.open()
    ask = ASK.replace(b"hi", text)
    answers = await play(call, [head(), body(ask, request=True)])
    assert answers[1].WhichOneof("response") == "request_body"
    call.cancel()


async def test_health(served: Served) -> None:
    check = served.channel.unary_unary(CHECK)
    assert await check(b"") == processor.SERVING


async def test_stop_lets_a_running_exchange_finish(served: Served) -> None:
    call = served.open()
    await play(call, DIALOGUE[:4])
    stopping = asyncio.create_task(served.server.stop(20))
    # What runs may still have attempts, also on new connections; new exchanges are sent away.
    own = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"unix:{served.path}", options=own) as another:
        for channel in (served.channel, another):
            assert await channel.unary_unary(CHECK)(b"") == processor.NOT_SERVING
            refused = replace(served, channel=channel).open()
            assert await refused.code() is grpc.StatusCode.UNAVAILABLE
    assert len(await play(call, DIALOGUE[4:])) == 1
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK
    await stopping
