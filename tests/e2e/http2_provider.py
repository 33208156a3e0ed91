"""The mock behind TLS and HTTP/2, with the faults that only HTTP/2 has.

A path that begins with `/h2/KIND` meets one: `rst` or `goaway` in place of a reply, `rst@N`
after N pieces of it. All else is asked of the mock, and goes back piece by piece.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h2.config
import h2.connection
import h2.errors
import h2.events
import httpx

CERTS = Path(__file__).parents[1] / "envoygen" / "certs"
CA = CERTS / "ca.crt"
_OWN = ("host", "content-length", "transfer-encoding", "connection")


@dataclass
class Http2Provider:
    """`heads` are those of all requests that came, in order."""

    mock: str
    heads: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    port: int = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


@dataclass
class _Asked:
    head: dict[str, str]
    body: bytearray = field(default_factory=bytearray)


class _Connection(asyncio.Protocol):
    def __init__(self, provider: Http2Provider, client: httpx.AsyncClient) -> None:
        self._provider = provider
        self._client = client
        self._streams: dict[int, _Asked] = {}
        self._answers: set[asyncio.Task[None]] = set()
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self._http2 = h2.connection.H2Connection(config)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._http2.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        for task in self._answers:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        for event in self._http2.receive_data(data):
            match event:
                case h2.events.RequestReceived(stream_id=int() as stream, headers=headers):
                    head = {str(name): str(value) for name, value in headers or ()}
                    self._provider.heads.append(head)
                    self._streams[stream] = _Asked(head)
                case h2.events.DataReceived(stream_id=int() as stream, data=piece):
                    self._streams[stream].body += piece or b""
                    self._http2.acknowledge_received_data(event.flow_controlled_length or 0, stream)
                case h2.events.StreamEnded(stream_id=int() as stream):
                    task = asyncio.create_task(self._answer(stream, self._streams[stream]))
                    self._answers.add(task)
                    task.add_done_callback(self._answers.discard)
                case _:
                    pass
        self._flush()

    async def _answer(self, stream: int, asked: _Asked) -> None:
        path, kind, pieces = asked.head[":path"], "", 0
        if path.startswith("/h2/"):
            word, _, path = path[len("/h2/") :].partition("/")
            kind, _, count = word.partition("@")
            path, pieces = "/" + path, int(count or "0")
        if kind == "goaway":
            self._http2.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
            self._flush()
            self._transport.close()
        elif kind and not pieces:
            self._reset(stream)
        else:
            await self._ask(stream, asked, path, pieces if kind else -1)

    async def _ask(self, stream: int, asked: _Asked, path: str, pieces: int) -> None:
        headers = {n: v for n, v in asked.head.items() if n[0] != ":" and n not in _OWN}
        url, body = self._provider.mock + path, bytes(asked.body)
        async with self._client.stream("POST", url, headers=headers, content=body) as reply:
            own = [(n.lower(), v) for n, v in reply.headers.items() if n.lower() not in _OWN]
            self._http2.send_headers(stream, [(":status", str(reply.status_code)), *own])
            async for piece in reply.aiter_raw():
                self._http2.send_data(stream, piece)
                self._flush()
                pieces -= 1
                if pieces == 0:
                    self._reset(stream)
                    return
        self._http2.end_stream(stream)
        self._flush()

    def _reset(self, stream: int) -> None:
        self._http2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        self._flush()

    def _flush(self) -> None:
        self._transport.write(self._http2.data_to_send())


@asynccontextmanager
async def over_http2(mock: str) -> AsyncIterator[Http2Provider]:
    """`mock` is its URL."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTS / "server.crt", CERTS / "server.key")
    context.set_alpn_protocols(["h2"])
    provider = Http2Provider(mock)
    loop = asyncio.get_running_loop()
    async with httpx.AsyncClient(trust_env=False, timeout=30.0) as client:
        server = await loop.create_server(
            lambda: _Connection(provider, client), "127.0.0.1", 0, ssl=context
        )
        async with server:
            provider.port = server.sockets[0].getsockname()[1]
            yield provider
