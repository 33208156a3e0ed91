"""The admin process: the management API on a private unix socket that Envoy routes to.

Takes its settings and the state of the gateway from the supervisor; gives
answers only. It has no part in any exchange.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from extproc.admin.app import create_app
from extproc.admin.readiness import AdminState
from extproc.child import Parent, SystemClock
from extproc.flow.identify import Identifier
from extproc.supervisor.supervisor import ADMIN
from extproc.telemetry.log import Log, bridge_stdlib
from extproc.telemetry.metrics import Metrics

_STDERR = 2
_SECRET_BYTES = 32
_BACKLOG = 128
_GRACE = 2
"""seconds for management calls that run when the gateway stops"""


async def run_admin(parent: Parent, path: Path) -> int:
    """Serves on the unix socket `path` until the parent says stop."""
    settings = parent.settings
    clock = SystemClock()
    metrics = Metrics(parent.layout.metrics, ADMIN)
    log = Log(
        _STDERR,
        ADMIN,
        settings.log.level,
        settings.log.format,
        clock,
        on_lost=metrics.log_lines_lost,
    )
    bridge_stdlib(log)
    usable = sum(provider.unavailable is None for provider in settings.providers.values())
    state = AdminState(started=clock.time(), providers=usable)
    app = create_app(
        state,
        Identifier(settings.keys, os.urandom(_SECRET_BYTES)).administrator,
        parent.layout.envoy_admin_socket,
        parent.layout.metrics,
        metrics,
        log,
        clock,
        settings.providers,
    )
    config = uvicorn.Config(
        app,
        http="h11",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
    server = _Server(config, parent.ready)
    with _listening(path) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        async for told in parent.messages():
            state.workers, state.draining = told.workers, told.draining
        server.should_exit = True
        await serving
    log.close()
    return 0


class _Server(uvicorn.Server):
    """Signals belong to `run_child`; `started` is called when the socket is served."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell()


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        listener.listen(_BACKLOG)
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)
