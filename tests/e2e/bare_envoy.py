"""The real Envoy with the real configuration, in front of a worker that a test plays.

`envoy_before` renders what `sluice up` would, starts Envoy on it, and gives its
port. The worker is an ext_proc server on a unix socket, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import grpc
import grpc.aio

from extproc import app, discover
from extproc.child import SystemClock
from extproc.config.layout import Layout
from extproc.config.names import CALL_METADATA, PEER_METADATA
from extproc.config.schema import Limits, Server, Transport
from extproc.envoygen.binary import envoy_binary
from extproc.envoygen.render import render
from extproc.envoygen.write import write
from extproc.flow.exchange import Machine
from extproc.flow.live import Live
from extproc.flow.record import Record
from extproc.flow.snapshot import compile_snapshot
from extproc.mock import MockProvider
from extproc.supervisor.envoy import EnvoyAdmin, command
from extproc.supervisor.local_replies import local_replies
from extproc.telemetry.log import Log
from extproc.wire import processor
from extproc.wire.frames import HEAD, HEAD_SIZE, Kind
from extproc.wire.processor import Conversation, message_limit
from extproc.wire.translate import Unexpected
from tests import kit
from tests.e2e.harness import TRANSPORT
from tests.e2e.processes import eventually
from tests.e2e.threads import in_a_thread
from tests.ports import free_port


class Worker(Protocol):
    """An ext_proc server."""

    async def start(self) -> None: ...

    async def stop(self, grace: float) -> None: ...


MakeWorker = Callable[[Machine, Path], Worker]
OURS = app.transport(Transport(TRANSPORT))
STAGE_SECONDS = 0.5
"""that a worker has for an answer"""
PATIENCE = 10.0
"""that one has that is slow on purpose, or has much to read"""
LIMIT = message_limit(32 << 20)


class EndsOk:
    """Answers properly up to message `last`, which it does not answer: its stream ends OK instead."""

    def __init__(self, machine: Machine, socket: Path, last: int) -> None:
        self._machine = machine
        self._last = last
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    processor.SERVICE,
                    {processor.METHOD: grpc.stream_stream_rpc_method_handler(self._process)},
                ),
                grpc.method_handlers_generic_handler(
                    processor.HEALTH_SERVICE,
                    {processor.HEALTH_METHOD: grpc.unary_unary_rpc_method_handler(self._check)},
                ),
            )
        )
        self._server.add_insecure_port(f"unix:{socket}")

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace: float) -> None:
        await self._server.stop(grace)

    async def _check(self, request: bytes, context: object) -> bytes:
        return processor.SERVING

    async def _process(
        self,
        requests: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext[bytes, bytes],
    ) -> AsyncIterator[bytes]:
        conversation = Conversation(self._machine, ignore, *_who(context))
        number = 0
        async for message in requests:
            number += 1
            if number == self._last:
                return
            yield await conversation.answer(message)


class Fails(Conversation):
    """Our own conversation, which does not understand message `last`."""

    def __init__(self, machine: Machine, call_id: str, peer: str, last: int) -> None:
        super().__init__(machine, ignore, call_id, peer)
        self._left = last

    def at_once(self, message: bytes) -> bytes | None:
        del message
        return None

    async def answer(self, message: bytes) -> bytes:
        self._left -= 1
        if self._left == 0:
            raise Unexpected("a test said so")
        return await super().answer(message)


def ends_ok(last: int) -> MakeWorker:
    return lambda machine, socket: EndsOk(machine, socket, last)


def fails(last: int) -> MakeWorker:
    """Our own transport, around a conversation that fails at message `last`."""
    return lambda machine, socket: OURS(
        socket, LIMIT, lambda call_id, peer: Fails(machine, call_id, peer, last)
    )


def hangs(last: int) -> MakeWorker:
    """Our own transport, around a conversation that never answers message `last`."""

    class Hangs(Fails):
        def at_once(self, message: bytes) -> bytes | None:
            del message
            return None

        async def answer(self, message: bytes) -> bytes:
            try:
                return await super().answer(message)
            except Unexpected:
                return await asyncio.get_running_loop().create_future()

    return lambda machine, socket: OURS(
        socket, LIMIT, lambda call_id, peer: Hangs(machine, call_id, peer, last)
    )


class Delays(Conversation):
    """Our own conversation, which says nothing to a reply's head before the provider has been told
    to wait. `seen` gets the length of every message."""

    def __init__(
        self, machine: Machine, call_id: str, peer: str, admin: EnvoyAdmin, seen: list[int]
    ) -> None:
        super().__init__(machine, ignore, call_id, peer)
        self._admin = admin
        self._seen = seen

    def at_once(self, message: bytes) -> bytes | None:
        answer = super().at_once(message)
        if answer is not None:
            self._seen.append(len(message))
        return answer

    async def answer(self, message: bytes) -> bytes:
        self._seen.append(len(message))
        if len(self._seen) == 3:
            deadline = time.monotonic() + PATIENCE / 2
            while time.monotonic() < deadline and not await self._waits():
                await asyncio.sleep(0.01)
        return await super().answer(message)

    async def _waits(self) -> bool:
        paused = "cluster.provider-acme.upstream_flow_control_paused_reading_total"
        return sum((await self._admin.stats(f"^{paused}$")).values()) > 0


def delays(seen: list[int]) -> MakeWorker:
    return lambda machine, socket: OURS(
        socket,
        LIMIT,
        lambda call_id, peer: Delays(
            machine,
            call_id,
            peer,
            EnvoyAdmin(Layout(socket.parent, socket.parent).envoy_admin_socket),
            seen,
        ),
    )


class Cut:
    """Our own transport behind a wire that breaks in the middle of the frame with answer `last`."""

    def __init__(self, machine: Machine, socket: Path, last: int) -> None:
        self._socket = socket
        self._inner = socket.with_suffix(".whole")
        self._last = last
        self._outer: asyncio.Server | None = None
        self._worker = OURS(
            self._inner, LIMIT, lambda call_id, peer: Conversation(machine, ignore, call_id, peer)
        )

    async def start(self) -> None:
        await self._worker.start()
        self._outer = await asyncio.start_unix_server(self._between, str(self._socket))

    async def stop(self, grace: float) -> None:
        assert self._outer is not None
        self._outer.close()
        await self._worker.stop(grace)

    async def _between(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(str(self._inner))
        ways = (
            asyncio.ensure_future(_passed(reader, inner_writer)),
            asyncio.ensure_future(self._answers(inner_reader, writer)),
        )
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        writer.transport.abort()
        inner_writer.transport.abort()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Frame by frame, until half of one. Health checks pass."""
        answers: dict[int, int] = {}
        while True:
            head = await reader.readexactly(HEAD_SIZE)
            high, low, kind, _, stream = HEAD.unpack(head)
            payload = await reader.readexactly(high << 8 | low)
            if kind == Kind.DATA and payload[5:] != processor.SERVING:
                answers[stream] = answers.get(stream, 0) + 1
                if answers[stream] == self._last:
                    writer.write(head + payload[: len(payload) // 2])
                    await writer.drain()
                    return
            writer.write(head + payload)
            await writer.drain()


async def _passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while octets := await reader.read(1 << 16):
        writer.write(octets)
        await writer.drain()


def is_cut(last: int) -> MakeWorker:
    return lambda machine, socket: Cut(machine, socket, last)


def ignore(_: Record) -> None:
    """For those who want no record."""


@contextmanager
def envoy_before(
    make: MakeWorker, mock: MockProvider, stage_timeout: float = STAGE_SECONDS
) -> Iterator[int]:
    """Envoy's port. Everything is gone afterwards."""
    # Sockets have short paths; a test's own folder lies deep.
    with TemporaryDirectory(prefix="sluice-e2e-") as name:
        layout = Layout(Path(name), Path(name) / "run")
        layout.run.mkdir()
        socket = layout.worker_socket(1, 1)
        registry = discover.registry()
        settings = kit.settings(
            server=Server(port=free_port()),
            providers={"acme": kit.provider(endpoint=mock.base_url)},
            limits=Limits(stage_timeout=stage_timeout),
        )
        files = render(settings, layout, [socket], None, local_replies(registry))
        write(files, layout)
        clock = SystemClock()
        with Path(os.devnull).open("wb") as nowhere:
            log = Log(nowhere.fileno(), "worker-1", "error", "json", clock)
            machine = Machine(
                compile_snapshot(settings, registry, b"s" * 32, kit.ports()),
                Live(1 << 30),
                clock,
                log,
            )
            with in_a_thread(lambda: _serving(make, machine, socket)), _envoy(layout):
                yield settings.server.port


@asynccontextmanager
async def _serving(make: MakeWorker, machine: Machine, socket: Path) -> AsyncIterator[None]:
    worker = make(machine, socket)
    await worker.start()
    try:
        yield
    finally:
        await worker.stop(0.0)


@contextmanager
def _envoy(layout: Layout) -> Iterator[None]:
    start = command(envoy_binary(), layout.bootstrap, 1)
    with (layout.data / "envoy.log").open("wb") as log:
        process = subprocess.Popen(
            start.argv, env=start.env, stdin=subprocess.DEVNULL, stderr=log, start_new_session=True
        )
        try:
            eventually(lambda: _answers(EnvoyAdmin(layout.envoy_admin_socket).is_serving), 15.0)
            yield
        finally:
            process.kill()
            process.wait()


def _answers(ask: Callable[[], Awaitable[bool]]) -> bool:
    async def asked() -> bool:
        return await ask()

    try:
        return asyncio.run(asked())
    except OSError:
        return False


def _who(context: grpc.aio.ServicerContext[bytes, bytes]) -> tuple[str, str]:
    metadata = dict(context.invocation_metadata() or ())
    return str(metadata[CALL_METADATA]), str(metadata[PEER_METADATA])
