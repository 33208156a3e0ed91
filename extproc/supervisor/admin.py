"""The admin process: the management API on a private unix socket that Envoy routes to.

Takes its settings and the state of the gateway from the supervisor; gives
answers only. It has no part in any exchange.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import uvicorn

from extproc.admin.app import create_app
from extproc.admin.configuration import PATIENCE, Active, Answer
from extproc.admin.probing import Prober
from extproc.admin.readiness import AdminState
from extproc.admin.standing import Watch
from extproc.admin.targets import Targets
from extproc.agreement import Agreement
from extproc.child import (
    Configuration,
    Parent,
    Prepare,
    Reloaded,
    Said,
    State,
    SystemClock,
    Use,
    What,
)
from extproc.config.schema import Settings
from extproc.flow.copying import Probe, Tokens
from extproc.flow.identify import Identifier
from extproc.model.call import Caller, CallId
from extproc.supervisor.supervisor import ADMIN
from extproc.telemetry.log import Log, bridge_stdlib
from extproc.telemetry.metrics import Metrics

_STDERR = 2
_SECRET_BYTES = 32
_NUMBER_BYTES = 8
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
    agreement = Agreement(parent.layout.standing, ADMIN, settings, clock, log, metrics)
    tokens = Tokens(parent.secret, clock)

    def sign(provider: str, place: str) -> str:
        number = CallId(f"probe-{os.urandom(_NUMBER_BYTES).hex()}")
        return tokens.issue(Probe(number, provider, place))

    prober = Prober(parent.layout.copies_socket, sign, agreement.health, metrics, log, clock)
    targets = Targets(agreement.health.view)
    watch = Watch({}, parent.layout.metrics, clock, targets, prober.probed)

    def agree(wanted: Settings) -> None:
        agreement.configure(wanted)
        prober.configure(wanted)

    started = AdminState(started=clock.time())
    follower = _Follower(parent, started, watch, agree, metrics, log)
    app = create_app(
        follower.state,
        follower.authorize,
        parent.layout.envoy_admin_socket,
        parent.layout.metrics,
        metrics,
        log,
        clock,
        watch,
        follower.active,
        probes=prober.told,
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
    agreement.open()
    agreement.start()
    with _listening(path) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await follower.follow()
        server.should_exit = True
        await serving
    await prober.close()
    await agreement.close()
    log.close()
    return 0


class _Follower:
    """Keeps what the app looks at in step with the supervisor, and asks it for reloads."""

    def __init__(
        self,
        parent: Parent,
        state: AdminState,
        watch: Watch,
        agree: Callable[[Settings], None],
        metrics: Metrics,
        log: Log,
    ) -> None:
        self.state = state
        self.active = Active(version="", about=b"{}", ask=self._ask)
        self._parent = parent
        self._watch = watch
        self._agree = agree
        self._metrics = metrics
        self._log = log
        self._secret = os.urandom(_SECRET_BYTES)
        self._identifier = Identifier((), self._secret)
        self._next: Configuration | None = None
        self._asked: dict[int, asyncio.Future[Reloaded]] = {}
        self._numbers = count(1)
        self._use(parent.configuration)

    def authorize(self, headers: Mapping[str, str], query: str, peer: str) -> Caller:
        return self._identifier.administrator(headers, query, peer)

    async def follow(self) -> None:
        """Does as the supervisor says, until it asks this process to stop."""
        serial = self._parent.configuration.serial
        async for told in self._parent.messages():
            match told:
                case State():
                    self.state.workers, self.state.draining = told.workers, told.draining
                case Prepare():
                    self._next = told.configuration
                    self._say("prepared", self._next.serial)
                case Use():
                    if self._next is not None and self._next.serial == told.serial:
                        self._use(self._next)
                        self._say("using", told.serial)
                        self._say("released", serial)
                        serial = told.serial
                case Reloaded():
                    self._heard(told)
        self._say("leaving", serial)

    def _use(self, configuration: Configuration) -> None:
        settings = configuration.settings()
        self._identifier = Identifier(settings.keys, self._secret)
        self._watch.configure(settings.providers)
        self._watch.targets.configure(settings)
        self._agree(settings)
        self.state.providers = sum(one.unavailable is None for one in settings.providers.values())
        self.active.version, self.active.about = configuration.version, bytes(configuration.about)
        self._log.set_level(settings.log.level)

    def _heard(self, told: Reloaded) -> None:
        self.active.last = bytes(told.report)
        if not told.ask:
            self._metrics.reloaded(told.result)
        elif (asked := self._asked.get(told.ask)) is not None and not asked.done():
            asked.set_result(told)

    async def _ask(self) -> Answer:
        number = next(self._numbers)
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._say("reload", number)
            async with asyncio.timeout(PATIENCE):
                told = await asked
        finally:
            del self._asked[number]
        return Answer(told.result, bytes(told.report))

    def _say(self, what: What, serial: int) -> None:
        self._parent.say(Said(what=what, serial=serial))


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
