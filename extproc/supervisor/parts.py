"""How each part of the gateway is started, and how we know that it is ready.

A crew and a layout in, `Part`s out. Nothing is started here.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from extproc.child import READY
from extproc.config.layout import Layout
from extproc.model.ports import Clock
from extproc.supervisor import envoy
from extproc.supervisor.crew import Crew
from extproc.supervisor.keeper import Part
from extproc.supervisor.process import Command, Process
from extproc.telemetry import worker_gone
from extproc.telemetry.log import Log

_POLL = 0.02
_LINES_A_SECOND = 20
"""lines of Envoy's log that we pass on; an attacker may make it write many more"""


def program() -> tuple[str, ...]:
    """The command line that starts this very program: what ps shows says `sluice`."""
    script = Path(sys.argv[0])
    if script.name == "sluice" and script.is_file():
        return (sys.executable, str(script.absolute()))
    return (sys.executable, "-m", "extproc.cli")


def worker(crew: Crew, layout: Layout, name: str, number: int) -> Part:
    def command(generation: int) -> Command:
        path = layout.worker_socket(number, generation)
        return _ours(crew.hello(name), "worker", str(number), "--socket", str(path))

    return _follower(crew, layout, name, command)


def admin(crew: Crew, layout: Layout, name: str) -> Part:
    def command(generation: int) -> Command:
        path = layout.admin_socket(generation)
        return _ours(crew.hello(name), "admin", "--socket", str(path))

    return _follower(crew, layout, name, command)


def _follower(crew: Crew, layout: Layout, name: str, command: Callable[[int], Command]) -> Part:
    def gone() -> None:
        worker_gone(layout.metrics, name)
        crew.gone(name)

    return Part(command, said_ready, follow=partial(crew.listen, name), gone=gone)


def mock(port: int) -> Part:
    """The built-in provider. It has no use for settings, so it is kept on a leash instead."""
    argv = (*envoy.leashed(), *program(), "mock", "--port", str(port))
    return Part(lambda _: Command(argv), _accepts(port))


def envoy_proxy(binary: Path, layout: Layout, concurrency: int, log: Log, clock: Clock) -> Part:
    command = envoy.command(binary, layout.bootstrap, concurrency)
    return Part(lambda _: command, _serves(layout), listen=_listener(log, clock))


def _ours(hello: bytes, *arguments: str) -> Command:
    return Command((*program(), *arguments), hello=hello, heard="stdout")


async def said_ready(process: Process) -> None:
    """Waits for the one line that a child of ours writes."""
    while line := await process.line():
        if line == READY:
            return
    await process.wait()
    raise ConnectionError("it ended before it was ready")


def _accepts(port: int) -> Callable[[Process], Awaitable[None]]:
    async def ready(_: Process) -> None:
        while True:
            try:
                writer = (await asyncio.open_connection("127.0.0.1", port))[1]
            except OSError:
                await asyncio.sleep(_POLL)
            else:
                writer.close()
                return

    return ready


def _serves(layout: Layout) -> Callable[[Process], Awaitable[None]]:
    asked = envoy.EnvoyAdmin(layout.envoy_admin_socket)

    async def ready(_: Process) -> None:
        while True:
            try:
                if await asked.is_serving():
                    return
                refused = await asked.refused()
            except OSError:
                refused = False
            if refused:
                raise ConnectionError("Envoy refused its configuration, or could not open the port")
            await asyncio.sleep(_POLL)

    return ready


def _listener(log: Log, clock: Clock) -> Callable[[Process], Coroutine[Any, Any, None]]:
    async def listen(process: Process) -> None:
        second, passed, held = 0, 0, 0
        while line := await process.line():
            if (now := int(clock.monotonic())) != second:
                if held:
                    log.warning("lines left out", lines=held)
                second, passed, held = now, 0, 0
            if passed >= _LINES_A_SECOND:
                held += 1
            elif (said := envoy.read_line(line)) is not None:
                passed += 1
                tell = log.error if said.level == "error" else log.warning
                tell(said.text, logger=said.logger)

    return listen


def free_loopback_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
