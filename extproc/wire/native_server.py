"""The native transport: our own HTTP/2 on asyncio, for one Envoy at the other end.

Takes what `GrpcServer` takes and answers as it does, for a fraction of its
processor time: a `Conversation` is asked on the spot, a task exists only where
one waits, and all answers to what one read brought leave in one write. A peer
that does not read is not read from. Knows nothing of the messages' content.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket as sockets
from pathlib import Path
from typing import assert_never, cast

from extproc.config.names import ATTEMPT_ROLE, CALL_METADATA, PEER_METADATA, ROLE_METADATA
from extproc.wire import cuts as log
from extproc.wire import grpc_frames, processor
from extproc.wire.attempts import AttemptCall
from extproc.wire.calls import Calls, Check, Converse, Exchange, LogCall
from extproc.wire.cuts import Cuts
from extproc.wire.eager import Eager
from extproc.wire.frames import Limits
from extproc.wire.grpc_frames import Status
from extproc.wire.hop import Ask, nobody
from extproc.wire.http2 import Connection, Data, Failed, Request, Reset, Sendable
from extproc.wire.processor import MessageLimit

PROCESS = f"/{processor.SERVICE}/{processor.METHOD}"
CHECK = f"/{processor.HEALTH_SERVICE}/{processor.HEALTH_METHOD}"
LOG = f"/{log.SERVICE}/{log.METHOD}"

_BACKLOG = 1024
_MODE = 0o600
_READ = 256 << 10
_UNWRITTEN = 1 << 20
"""bytes of answers that may lie in a connection before we stop reading from it"""
_CLOSING_SECONDS = 1.0
"""for the last bytes to a peer that reads, before its connection is cut"""
_SETTLING_SECONDS = 5.0
"""for exchanges that were given up, to settle"""


class NativeServer:
    """Serves ext_proc, Envoy's log and health checks on one unix socket, until `stop`."""

    def __init__(
        self,
        socket: Path,
        limit: MessageLimit,
        converse: Converse,
        limits: Limits | None = None,
        ask: Ask = nobody,
        cuts: Cuts | None = None,
    ) -> None:
        self._path = socket
        self._limit = limit
        self._converse = converse
        self._ask = ask
        self._cuts = cuts
        self._limits = limits or Limits()
        self._links: set[_Link] = set()
        self._calls: Calls | None = None
        self._server: asyncio.Server | None = None
        self._inode = 0

    async def start(self) -> None:
        """Listens. What is left over at the path is removed; the new file is for our user alone."""
        calls = Calls(Eager(), self._converse, self._limit, self._limits, self._ask, self._cuts)
        buffer = memoryview(bytearray(_READ))
        self._path.unlink(missing_ok=True)
        listener = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        listener.setblocking(False)
        listener.bind(str(self._path))
        # Nobody can connect before somebody listens, so it is never open to others.
        self._path.chmod(_MODE)
        self._inode = self._path.stat().st_ino
        self._calls = calls
        self._server = await asyncio.get_running_loop().create_unix_server(
            lambda: _Link(calls, self._limits, buffer, self._links),
            sock=listener,
            backlog=_BACKLOG,
        )

    async def stop(self, grace: float) -> None:
        """No new exchanges; those that run have `grace` seconds, then end UNAVAILABLE.

        Until then it can be reached: attempts of what runs come as streams of their own,
        on connections that may be new.
        """
        assert self._server is not None and self._calls is not None
        self._calls.serving = False
        if not await self._calls.empty(grace):
            for link in list(self._links):
                link.give_up("the worker stops")
            await self._calls.empty(_SETTLING_SECONDS)
        if self._cuts is not None:
            await self._cuts.settled()
        self._server.close()
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        for link in list(self._links):
            link.give_up("the worker stops")
            link.drain()
        lost = [link.close() for link in list(self._links)]
        if lost:
            await asyncio.wait(lost)
        await self._calls.eager.close()


class _Link(asyncio.BufferedProtocol):
    """One connection: moves bytes between its socket, its HTTP/2 and its calls."""

    def __init__(self, calls: Calls, limits: Limits, buffer: memoryview, links: set[_Link]) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls = calls
        self._buffer = buffer
        self._links = links
        self._open: dict[int, Exchange | AttemptCall | LogCall | Check] = {}
        self._transport: asyncio.Transport | None = None
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._reading = self._touched = self._closing = False
        self.http2 = Connection(limits, self._loop.time)

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Of a kind that uvloop's transports do not say they are.
        connected = cast("asyncio.Transport", transport)
        connected.set_write_buffer_limits(high=_UNWRITTEN)
        self._transport = connected
        self._links.add(self)
        self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        """The same for all connections: what is in it is taken before another one reads."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._reading = True
        calls = self._open
        for event in self.http2.receive(bytes(self._buffer[:nbytes])):
            match event:
                case Data():
                    call = calls.get(event.stream)
                    if call is not None:
                        call.received(event.data, event.ended)
                case Request():
                    self._begin(event)
                case Reset():
                    call = calls.pop(event.stream, None)
                    if call is not None:
                        call.stop(Status.UNAVAILABLE, "the stream was reset")
                case Sendable():
                    call = calls.get(event.stream)
                    if call is not None:
                        call.sendable()
                case Failed():
                    self._closing = True
                case _:
                    assert_never(event)
        self._reading = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._links.discard(self)
        self._transport = None
        for call in list(self._open.values()):
            call.stop(Status.UNAVAILABLE, "the connection was lost")
        self._open.clear()
        if not self._lost.done():
            self._lost.set_result(None)

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    # --- the calls' side ---

    def _begin(self, request: Request) -> None:
        stream, headers = request.stream, request.headers
        path = headers[":path"]
        grpc = headers.get("content-type", "").startswith("application/grpc")
        if headers[":method"] != "POST" or not grpc:
            self.http2.finish(stream, grpc_frames.NOT_GRPC)
            return
        call: Exchange | AttemptCall | LogCall | Check | None
        if path == PROCESS and headers.get(ROLE_METADATA) == ATTEMPT_ROLE:
            asking = self._calls.ask(headers.get(CALL_METADATA, ""))
            call = AttemptCall(self._calls, self, stream, asking)
        elif path == PROCESS:
            call = self._calls.open(
                self, stream, headers.get(CALL_METADATA, ""), headers.get(PEER_METADATA, "")
            )
            if call is None:
                self._refuse(stream, Status.UNAVAILABLE, "no more exchanges can begin")
                return
            timeout = grpc_frames.seconds(headers.get("grpc-timeout", ""))
            if timeout is not None:
                call.expire_in(timeout)
        elif path == CHECK:
            call = Check(self._calls, self, stream)
        elif path == LOG and (cuts := self._calls.cuts) is not None:
            if not cuts.begins():
                self._refuse(stream, Status.RESOURCE_EXHAUSTED, "too many logs")
                return
            call = LogCall(cuts, self, stream)
        else:
            self._refuse(stream, Status.UNIMPLEMENTED, f"unknown method {path[:128]}")
            return
        self._open[stream] = call
        if request.ended:
            call.received(b"", True)

    def _refuse(self, stream: int, status: Status, why: str) -> None:
        self.http2.finish(stream, grpc_frames.trailers_only(status, why))

    def ended(self, stream: int) -> None:
        self._open.pop(stream, None)

    def touch(self) -> None:
        if not self._reading and not self._touched:
            self._touched = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._touched = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        finished = self._closing and not self.http2.streams
        if finished:
            self.http2.close()
        data = self.http2.take()
        if data:
            transport.write(data)
        if finished:
            transport.close()
            self._loop.call_later(_CLOSING_SECONDS, transport.abort)

    # --- the server's side ---

    def drain(self) -> None:
        self.http2.drain()
        self._flush()

    def give_up(self, why: str) -> None:
        for call in list(self._open.values()):
            call.stop(Status.UNAVAILABLE, why)

    def close(self) -> asyncio.Future[None]:
        """Closes once all is written, or cuts the connection soon. Gives when it is gone."""
        self._closing = True
        self._flush()
        self._loop.call_later(_CLOSING_SECONDS, self._abort)
        return self._lost

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
