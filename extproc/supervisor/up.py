"""`sluice up`: from a config file to a running gateway, and back to nothing.

Takes what the command line said, gives the exit status: 0 after a stop that was
asked for, 1 when the gateway cannot run here, 2 when its configuration is wrong.
SIGUSR2 replaces the workers one after another, without a failed exchange.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from extproc import discover
from extproc.child import SystemClock
from extproc.config.layout import Layout
from extproc.config.load import ConfigErrors, load
from extproc.config.schema import Provider, Settings
from extproc.envoygen.binary import envoy_binary, trusted_roots
from extproc.envoygen.nodes import RenderError
from extproc.envoygen.render import render
from extproc.envoygen.write import write
from extproc.flow.snapshot import Registry
from extproc.supervisor import parts, port
from extproc.supervisor.cores import cores
from extproc.supervisor.errors import CannotStart
from extproc.supervisor.folders import Folders
from extproc.supervisor.keeper import Part
from extproc.supervisor.local_replies import local_replies
from extproc.supervisor.supervisor import ADMIN, ENVOY, MOCK, House, Supervisor, worker_name
from extproc.telemetry import reset, worker_gone
from extproc.telemetry.log import Log, bridge_stdlib

DEFAULT_FILE = Path("sluice.yaml")
STDERR = 2


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line said; None where it said nothing."""

    config: Path | None = None
    port: int | None = None
    workers: int | None = None


def up(wanted: Wanted, env: Mapping[str, str]) -> int:
    registry = discover.registry()
    file = wanted.config or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)
    try:
        settings = load(
            file, env, dialects=discover.provider_dialects(registry), stages=registry.blocks
        )
    except ConfigErrors as errors:
        print(errors, file=sys.stderr)
        return 2
    settings = _override(settings, wanted)
    log = _log(settings, "supervisor")
    try:
        _serve(settings, registry, log)
    except (CannotStart, RenderError) as error:
        log.error("cannot start", reason=str(error))
        return 1
    finally:
        log.close()
    return 0


def _override(settings: Settings, wanted: Wanted) -> Settings:
    if wanted.port is not None:
        settings = replace(settings, server=replace(settings.server, port=wanted.port))
    return replace(settings, workers=wanted.workers or settings.workers or cores())


def _log(settings: Settings, part: str) -> Log:
    log = Log(STDERR, part, settings.log.level, settings.log.format, SystemClock())
    bridge_stdlib(log)
    return log


def _serve(settings: Settings, registry: Registry, log: Log) -> None:
    _say(settings, log)
    folders = Folders(settings.data)
    try:
        with port.take(settings.server.host, settings.server.port) as kept:
            settings = _at(settings, kept)
            mock_port = None
            if not any(one.unavailable is None for one in settings.providers.values()):
                mock_port = parts.free_loopback_port()
                settings = _with_mock(settings, mock_port, log)
            house = _house(settings, registry, folders.layout, mock_port)
            asyncio.run(_run(house, log))
    finally:
        folders.close()


def _at(settings: Settings, kept: socket.socket) -> Settings:
    return replace(settings, server=replace(settings.server, port=kept.getsockname()[1]))


def _say(settings: Settings, log: Log) -> None:
    for warning in settings.warnings:
        key, _, reason = warning.partition(": ")
        if " " in key:
            log.warning("configuration", reason=warning)
        else:
            log.warning("configuration", at=key, reason=reason)
    for name, provider in settings.providers.items():
        if provider.unavailable is not None:
            # The log takes `api_key: WORD` for a secret; here the word is a variable's name.
            reason = provider.unavailable.replace(": ", " ")
            log.warning("provider unavailable", provider=name, reason=reason)
    for block in settings.inactive:
        log.warning("no effect yet", block=block)
    if not settings.keys:
        log.warning(
            "no keys: serving loopback peers only",
            how="`sluice keys create --name NAME` makes one for `keys:` in the config file",
        )


def _with_mock(settings: Settings, mock_port: int, log: Log) -> Settings:
    name = MOCK if MOCK not in settings.providers else "built-in-mock"
    mock = Provider(
        name=name,
        dialect="openai_chat",
        endpoint=f"http://127.0.0.1:{mock_port}/v1",
        model="mock",
        models=("*",),
    )
    log.warning(
        "no provider can be used: the built-in mock answers, and it only pretends",
        how="set a provider's key (such as OPENAI_API_KEY) or name one in the config file",
    )
    return replace(settings, providers={**settings.providers, name: mock})


def _house(settings: Settings, registry: Registry, layout: Layout, mock_port: int | None) -> House:
    replies = local_replies(registry)
    roots = trusted_roots()

    def publish(workers: Sequence[Path], admin: Path) -> None:
        write(render(settings, layout, workers, admin, replies, roots=roots), layout)

    def gone(name: str) -> Callable[[], None]:
        return lambda: worker_gone(layout.metrics, name)

    # One more than serve: the place of a replacement.
    numbers = {worker_name(number): number for number in range(1, settings.workers + 2)}
    everyone: dict[str, Part] = {
        name: parts.worker(settings, layout, number, gone(name)) for name, number in numbers.items()
    }
    everyone[ADMIN] = parts.admin(settings, layout, gone(ADMIN))
    if mock_port is not None:
        everyone[MOCK] = parts.mock(mock_port)
    everyone[ENVOY] = parts.envoy_proxy(
        envoy_binary(), layout, cores(), _log(settings, ENVOY), SystemClock()
    )
    layout.metrics.mkdir(mode=0o700, exist_ok=True)
    reset(layout.metrics)
    return House(settings, layout, everyone, tuple(numbers), publish)


async def _run(house: House, log: Log) -> None:
    loop = asyncio.get_running_loop()
    supervisor = Supervisor(house, log, SystemClock())

    def stop(number: signal.Signals) -> None:
        log.info("stopping", signal=number.name)
        supervisor.ask_to_stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    loop.add_signal_handler(
        signal.SIGHUP, log.warning, "SIGHUP: reload is not built yet; restart to apply changes"
    )
    loop.add_signal_handler(signal.SIGUSR2, supervisor.ask_to_roll)
    await supervisor.run(lambda: log.info("ready", url=_url(house.settings), pid=os.getpid()))
    log.info("stopped")


def _url(settings: Settings) -> str:
    server = settings.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"{'https' if server.tls else 'http'}://{host}:{server.port}"
