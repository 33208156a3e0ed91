"""`sluice up`: from a config file to a running gateway, and back to nothing.

Takes what the command line said, gives the exit status: 0 after a stop that was
asked for, 1 when the gateway cannot run here, 2 when its configuration is wrong.
SIGHUP applies what the file says now, SIGUSR2 replaces the workers one after another,
both without a failed exchange.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from extproc import discover
from extproc.child import SystemClock
from extproc.config.layout import Layout
from extproc.config.load import ConfigErrors
from extproc.config.schema import Settings
from extproc.envoygen.binary import envoy_binary, trusted_roots
from extproc.envoygen.nodes import RenderError
from extproc.envoygen.render import EnvoyFiles, render
from extproc.flow.snapshot import Registry
from extproc.supervisor import parts, port
from extproc.supervisor.cores import cores
from extproc.supervisor.crew import Crew
from extproc.supervisor.errors import CannotStart
from extproc.supervisor.folders import Folders
from extproc.supervisor.keeper import Part
from extproc.supervisor.local_replies import local_replies
from extproc.supervisor.reload import Reloader, first
from extproc.supervisor.source import MOCK, Source, Wanted, say, say_mock, usable, with_mock
from extproc.supervisor.supervisor import ADMIN, ENVOY, House, Supervisor, worker_name
from extproc.supervisor.xds import Render, Xds
from extproc.telemetry import reset
from extproc.telemetry.log import Log, bridge_stdlib

STDERR = 2
_SECRET_BYTES = 32

__all__ = ["Wanted", "up"]


@dataclass(frozen=True, slots=True)
class _Started:
    """A configuration as read, as used, and all that is made of it."""

    source: Source
    read: Settings
    settings: Settings
    mock_port: int | None
    crew: Crew
    xds: Xds
    house: House


def up(wanted: Wanted, env: Mapping[str, str]) -> int:
    registry = discover.registry()
    source = Source(wanted, env, registry)
    try:
        settings = source.read()
    except ConfigErrors as errors:
        print(errors, file=sys.stderr)
        return 2
    log = _log(settings, "supervisor")
    try:
        _serve(source, settings, registry, log)
    except (CannotStart, RenderError) as error:
        log.error("cannot start", reason=str(error))
        return 1
    finally:
        log.close()
    return 0


def _log(settings: Settings, part: str) -> Log:
    log = Log(STDERR, part, settings.log.level, settings.log.format, SystemClock())
    bridge_stdlib(log)
    return log


def _serve(source: Source, read: Settings, registry: Registry, log: Log) -> None:
    say(read, log)
    folders = Folders(read.data)
    try:
        with port.take(read.server.host, read.server.port) as kept:
            settings = _at(read, kept)
            mock_port = None
            if not usable(settings):
                mock_port = parts.free_loopback_port()
                settings = with_mock(settings, mock_port)
                say_mock(log)
            layout = folders.layout
            began, secret = first(settings, SystemClock().time()), os.urandom(_SECRET_BYTES)
            crew = Crew(began, layout, log, SystemClock(), secret)
            xds = Xds(settings, _render(registry, layout), layout, envoy_binary(), SystemClock())
            house = _house(settings, layout, crew, xds, mock_port)
            asyncio.run(_run(_Started(source, read, settings, mock_port, crew, xds, house), log))
    finally:
        folders.close()


def _at(settings: Settings, kept: socket.socket) -> Settings:
    return replace(settings, server=replace(settings.server, port=kept.getsockname()[1]))


def _render(registry: Registry, layout: Layout) -> Render:
    replies = local_replies(registry)
    roots = trusted_roots()

    def rendered(
        settings: Settings, workers: Sequence[Path], admin: Path, leaving: Sequence[Path]
    ) -> EnvoyFiles:
        return render(settings, layout, workers, admin, replies, leaving=leaving, roots=roots)

    return rendered


def _house(
    settings: Settings, layout: Layout, crew: Crew, xds: Xds, mock_port: int | None
) -> House:
    # One more than serve: the place of a replacement.
    numbers = {worker_name(number): number for number in range(1, settings.workers + 2)}
    everyone: dict[str, Part] = {
        name: parts.worker(crew, layout, name, number) for name, number in numbers.items()
    }
    everyone[ADMIN] = parts.admin(crew, layout, ADMIN)
    if mock_port is not None:
        everyone[MOCK] = parts.mock(mock_port)
    everyone[ENVOY] = parts.envoy_proxy(
        envoy_binary(), layout, cores(), _log(settings, ENVOY), SystemClock()
    )
    layout.metrics.mkdir(mode=0o700, exist_ok=True)
    reset(layout.metrics)
    return House(settings, layout, everyone, tuple(numbers), xds.publish)


async def _run(started: _Started, log: Log) -> None:
    loop = asyncio.get_running_loop()
    house = started.house
    supervisor = Supervisor(house, log, SystemClock())
    reloader = Reloader(
        started.source,
        started.read,
        started.settings,
        started.crew,
        started.xds,
        house.workers,
        ADMIN,
        started.mock_port,
        log,
        SystemClock(),
    )

    def applied(settings: Settings) -> None:
        supervisor.limits = settings.limits

    reloader.applied = applied

    def stop(number: signal.Signals) -> None:
        log.info("stopping", signal=number.name)
        reloader.stop()
        supervisor.ask_to_stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    loop.add_signal_handler(signal.SIGHUP, reloader.ask, "SIGHUP")
    loop.add_signal_handler(signal.SIGUSR2, supervisor.ask_to_roll)

    def ready() -> None:
        log.info("ready", url=_url(house.settings), pid=os.getpid())
        reloader.begin()

    await supervisor.run(ready)
    log.info("stopped")


def _url(settings: Settings) -> str:
    server = settings.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"{'https' if server.tls else 'http'}://{host}:{server.port}"
