"""One client's connection: HTTP/1.1 requests in, replies out, one at a time.

Takes bytes, finds requests (a body by length or chunked, `Expect:
100-continue`), hands each to the provider and plays the reply. Parses no more
than it needs; what a strict server would refuse may pass here. No TLS, no
HTTP/2; a request sent before the reply to the last one waits.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from functools import partial
from typing import TYPE_CHECKING, cast

from extproc.mock.answer import IDENT, Answer, ident
from extproc.mock.play import head, play
from extproc.mock.record import CLIENT_GONE, WHOLE, Recorded

if TYPE_CHECKING:
    from extproc.mock.server import MockProvider

_HEAD_LIMIT = 256 << 10
_BODY_LIMIT = 256 << 20
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LINGER_OFF = struct.pack("ii", 1, 0)


class BadRequest(Exception):
    """Bytes that are no HTTP/1.1 request."""


class Connection(asyncio.Protocol):
    """Protocol of one connection; also the `Line` that a player writes to."""

    def __init__(self, provider: MockProvider, number: int) -> None:
        self._provider = provider
        self._number = number
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._job: asyncio.Task[str] | None = None
        self._head: bytes | None = None
        self._lower = b""
        self._length = 0
        self._chunks: bytearray | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)
        self._provider.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The client is gone, or we closed: whatever plays is over."""
        self._transport = None
        self._writable.set()
        if self._job is None:
            self._provider.closed(self)
        else:
            self._job.cancel()

    def pause_writing(self) -> None:
        """Called by the loop."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._buffer += data
        if self._job is None:
            self._advance()

    # What a player writes to.

    async def write(self, data: bytes) -> None:
        """Send, waiting while the client does not read."""
        # A failed send closes the transport well before connection_lost tells us.
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        self._transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()

    def close(self) -> None:
        """Send what is left, then FIN."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """RST, at once; over a unix socket a plain close."""
        if self._transport is not None:
            raw = cast("socket.socket", self._transport.get_extra_info("socket"))
            if raw.family != socket.AF_UNIX:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
            self._transport.abort()

    def abort(self) -> None:
        """End without ceremony: the mock stops."""
        if self._transport is not None:
            self._transport.abort()

    # Requests.

    def _advance(self) -> None:
        """Serve what the buffer holds, as long as it holds whole requests."""
        try:
            while self._job is None and self._transport is not None and self._buffer:
                if self._head is None and not self._take_head():
                    return
                body = self._take_body()
                if body is None:
                    return
                self._serve(body)
        except BadRequest as wrong:
            reply = Answer(400, "text/plain", f"{wrong}\n".encode())
            if self._transport is not None:
                self._transport.write(head(reply, chunked=False, close=True) + reply.body)
                self._transport.close()
            self._buffer.clear()

    def _take_head(self) -> bool:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > _HEAD_LIMIT:
                raise BadRequest("the request's head is too long")
            return False
        self._head = bytes(buffer[: end + 2])
        del buffer[: end + 4]
        self._lower = lower = self._head.lower()
        self._length, self._chunks = 0, None
        at = lower.find(b"\r\ncontent-length:")
        if at >= 0:
            text = lower[at + 17 : lower.find(b"\r\n", at + 2)].strip()
            if not text.isdigit() or int(text) > _BODY_LIMIT:
                raise BadRequest("content-length is not a length we take")
            self._length = int(text)
        elif b"\r\ntransfer-encoding: chunked\r\n" in lower:
            self._chunks = bytearray()
        if b"\r\nexpect: 100-continue\r\n" in lower and self._transport is not None:
            self._transport.write(_CONTINUE)
        return True

    def _take_body(self) -> bytes | None:
        buffer = self._buffer
        if self._chunks is not None:
            return self._take_chunks(self._chunks)
        if len(buffer) < self._length:
            return None
        body = bytes(buffer[: self._length])
        del buffer[: self._length]
        return body

    def _take_chunks(self, chunks: bytearray) -> bytes | None:
        buffer = self._buffer
        while (end := buffer.find(b"\r\n")) >= 0:
            text = bytes(buffer[:end]).partition(b";")[0].strip()
            if not text or text.translate(None, b"0123456789abcdefABCDEF"):
                raise BadRequest("the request's chunked coding is broken")
            size = int(text, 16)
            if size == 0:
                # Trailers, if any, end with an empty line.
                last = buffer.find(b"\r\n\r\n", end)
                if last < 0:
                    return None
                del buffer[: last + 4]
                return bytes(chunks)
            if len(buffer) < end + size + 4:
                return None
            chunks += buffer[end + 2 : end + 2 + size]
            if len(chunks) > _BODY_LIMIT:
                raise BadRequest("the request's body is too long")
            del buffer[: end + size + 4]
        return None

    def _serve(self, body: bytes) -> None:
        request, lower, self._head = self._head or b"", self._lower, None
        words = request[: request.find(b"\r\n")].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            raise BadRequest("this is not an HTTP/1.1 request line")
        method, path = words[0].decode("latin-1"), words[1].decode("latin-1")
        close = words[2] == b"HTTP/1.0" or b"\r\nconnection: close\r\n" in lower
        plan = self._provider.plan(method, path, request, lower, body)
        recorded, number = None, 0
        if not path.startswith("/_mock/"):
            number = self._provider.next_number()
            recorded = self._provider.record(self._number, number, method, path, request, body)
        stream = plan.answer.events is not None
        if recorded is not None:
            recorded.status, recorded.stream = plan.answer.status, stream
        if plan.instant is not None and not close and self._transport is not None:
            # In a stream every event carries the id; a whole reply has it in head and body.
            self._transport.write(plan.instant.replace(IDENT, ident(number), -1 if stream else 2))
            if recorded is not None:
                recorded.events, recorded.ended = len(plan.answer.events or ()), WHOLE
            return
        answer = _numbered(plan.answer, number)
        playing = play(answer, plan.faults, plan.error_event, self, recorded, close=close)
        self._job = asyncio.get_running_loop().create_task(playing)
        self._job.add_done_callback(partial(self._played, recorded))

    def _played(self, recorded: Recorded | None, job: asyncio.Task[str]) -> None:
        """A reply is over: note how, and go on with what the client sent meanwhile."""
        self._job = None
        if self._transport is None:
            self._provider.closed(self)
        failed = None if job.cancelled() else job.exception()
        if failed is not None and not isinstance(failed, ConnectionError):
            self.abort()
            raise failed
        if recorded is not None:
            gone = job.cancelled() or failed is not None
            recorded.ended = self._provider.ending(CLIENT_GONE if gone else job.result())
        if self._transport is not None and not self._transport.is_closing():
            self._advance()


def _numbered(answer: Answer, number: int) -> Answer:
    """The answer with its own id where `IDENT` stands first in body and events."""
    own = ident(number)
    events = answer.events
    headers = answer.headers
    if all(name.lower() != "x-request-id" for name, _ in headers):
        headers = (*headers, ("x-request-id", "req_" + own.decode()))
    return Answer(
        answer.status,
        answer.content_type,
        answer.body.replace(IDENT, own, 1),
        None if events is None else tuple(event.replace(IDENT, own, 1) for event in events),
        headers,
    )
