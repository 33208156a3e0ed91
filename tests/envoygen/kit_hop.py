"""What stands around Envoy in the tests of the hop: a worker that follows a script, and providers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
import h2.config
import h2.connection
import h2.events

from extproc.config.names import (
    AGAIN_HEADER,
    ATTEMPT_CLUSTER,
    ATTEMPT_ROLE,
    CALL_METADATA,
    CALL_PADDING,
    CLUSTER,
    DEST_HEADER,
    FLOWS,
    HOLD_HEADER,
    LENGTH,
    ROLE_METADATA,
)
from extproc.flow.messages import Continue, Route
from extproc.wire import processor
from extproc.wire.pb import ext_proc_pb2 as pb
from extproc.wire.translate import Phase, outgoing
from tests.envoygen.cases import CERTS

BODY = b'{"for": "the provider"}'
_REPLACED = pb.ProcessingResponse(
    request_headers=pb.HeadersResponse(
        response=pb.CommonResponse(status=pb.CommonResponse.CONTINUE_AND_REPLACE)
    )
).SerializeToString()


@dataclass
class Stream:
    """What one gRPC stream said: its metadata, and the names of its messages in order."""

    role: str
    call: str
    dest: str
    said: list[str] = field(default_factory=list[str])
    headers: dict[str, str] = field(default_factory=dict[str, str])
    """of the request"""
    details: str = ""
    """`response.code_details`, where a reply came"""


class ScriptedWorker:
    """Sends exchanges to the provider; those with the header `x-hop` by way of the hop, where it
    does what the script says, a word an attempt.

    `again`: the reply is no good. `pass`: it is. `hold`: it is once it is whole. With `held`
    replies are expected to flow, and Envoy is told to hold so many bytes of them.
    """

    def __init__(
        self, socket: Path, provider: str, script: Sequence[str] = (), held: int | None = None
    ) -> None:
        self.socket, self.streams = socket, list[Stream]()
        self.gate = asyncio.Event()
        """no reply is judged before it is set"""
        self.gate.set()
        self._provider, self._script = provider, list(script)
        self._flows = () if held is None else ((FLOWS, str(held)),)
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    processor.SERVICE,
                    {processor.METHOD: grpc.stream_stream_rpc_method_handler(self._process)},
                ),
                grpc.method_handlers_generic_handler(
                    processor.HEALTH_SERVICE,
                    {processor.HEALTH_METHOD: grpc.unary_unary_rpc_method_handler(_healthy)},
                ),
            )
        )
        self._server.add_insecure_port(f"unix:{socket}")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        await self._server.start()
        try:
            yield
        finally:
            await self._server.stop(0)

    @property
    def attempts(self) -> list[Stream]:
        return [stream for stream in self.streams if stream.role == ATTEMPT_ROLE]

    async def _process(
        self,
        requests: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext[bytes, bytes],
    ) -> AsyncIterator[bytes]:
        told = {name: str(value) for name, value in context.invocation_metadata() or ()}
        stream = Stream(
            told.get(ROLE_METADATA, ""),
            told[CALL_METADATA].rstrip(CALL_PADDING),
            told.get(DEST_HEADER, ""),
        )
        self.streams.append(stream)
        word = self._script.pop(0) if stream.role else ""
        async for message in requests:
            request = pb.ProcessingRequest.FromString(message)
            _note(stream, request)
            if stream.role:
                answer = await self._attempt(request, word)
            else:
                answer = self._exchange(request, stream)
            if answer is None:
                return
            if answer:
                yield answer

    def _exchange(self, request: pb.ProcessingRequest, stream: Stream) -> bytes | None:
        if request.HasField("request_headers"):
            return outgoing(Continue(), Phase.REQUEST_HEADERS)
        if "x-hop" not in stream.headers:
            route = Route((self._provider,), ())
            rendered = ((":path", "/plain"), ("content-length", str(len(BODY))))
            return outgoing(Continue(set=rendered, body=BODY, route=route), Phase.REQUEST_BODY)
        hop = (
            (":path", "/"),
            ("content-length", "0"),
            (CALL_METADATA, stream.call),
            (DEST_HEADER, str(self.socket)),
            *(((HOLD_HEADER, "1"),) if "hold" in self._script else ()),
        )
        theirs = tuple(name for name in stream.headers if name[0] != ":" and name not in _KEPT)
        route = Route((ATTEMPT_CLUSTER,), ((CLUSTER, self._provider), *self._flows))
        return outgoing(Continue(set=hop, remove=theirs, body=b"", route=route), Phase.REQUEST_BODY)

    async def _attempt(self, request: pb.ProcessingRequest, word: str) -> bytes | None:
        """Empty: nothing is to be said. None: the stream is to end, which lets the reply pass."""
        if request.HasField("request_headers"):
            route = Route((self._provider,), ((LENGTH, str(len(BODY))), *self._flows))
            rendered = Continue(
                set=((":path", "/attempt"), ("authorization", "Bearer key")),
                remove=(CALL_METADATA, DEST_HEADER, HOLD_HEADER),
                body=BODY,
                route=route,
            )
            return outgoing(rendered, Phase.REQUEST_HEADERS) + _REPLACED
        await self.gate.wait()
        if word == "hold":
            return None if request.response_body.end_of_stream else b""
        return None if word == "pass" else _again()


_KEPT = ("content-length", "x-forwarded-proto")


async def _healthy(_: bytes, __: object) -> bytes:
    return processor.SERVING


def _note(stream: Stream, request: pb.ProcessingRequest) -> None:
    said = request.WhichOneof("request")
    assert said is not None
    stream.said.append(said)
    if said == "request_headers":
        listed = request.request_headers.headers.headers
        stream.headers = {one.key: one.raw_value.decode() for one in listed}
    for attributes in request.attributes.values():
        if "response.code_details" in attributes.fields:
            stream.details = attributes.fields["response.code_details"].string_value


def _again() -> bytes:
    response = pb.ProcessingResponse()
    response.immediate_response.status.code = 503
    header = pb.HeaderValue(key=AGAIN_HEADER, raw_value=b"script")
    response.immediate_response.headers.set_headers.add(header=header)
    return response.SerializeToString()


@dataclass
class Plain:
    """A provider over HTTP/1.1. `replies` are sent as they are, one an attempt, then it hangs up,
    as soon as `leaves` is set. What no hop was asked about gets `plain`."""

    replies: list[bytes]
    heads: list[str] = field(default_factory=list[str])
    bodies: list[bytes] = field(default_factory=list[bytes])
    plain: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nplain"
    leaves: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        body = await reader.readexactly(len(BODY))
        self.heads.append(head)
        self.bodies.append(body)
        writer.write(self.plain if "/plain" in head else self.replies.pop(0))
        await writer.drain()
        await self.leaves.wait()
        writer.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with await asyncio.start_server(self._answer, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield


class _Http2(asyncio.Protocol):
    def __init__(self, seen: Callable[[dict[str, str]], None]) -> None:
        self._seen = seen
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self._http2 = h2.connection.H2Connection(config)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._http2.initiate_connection()
        self._transport.write(self._http2.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self._http2.receive_data(data):
            match event:
                case h2.events.RequestReceived(headers=headers):
                    self._seen({str(name): str(value) for name, value in headers or ()})
                case h2.events.StreamEnded(stream_id=int() as stream):
                    self._http2.send_headers(stream, [(":status", "200")], end_stream=True)
                case _:
                    pass
        self._transport.write(self._http2.data_to_send())


@asynccontextmanager
async def over_http2(seen: Callable[[dict[str, str]], None]) -> AsyncIterator[int]:
    """A provider over TLS and HTTP/2, that answers 200. `seen` gets each request's headers."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTS / "server.crt", CERTS / "server.key")
    context.set_alpn_protocols(["h2"])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Http2(seen), "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
