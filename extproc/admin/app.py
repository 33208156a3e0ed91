"""The management API: is it alive, is it ready, what has it done, how do its providers stand.

A Starlette app for a private unix socket, to which Envoy alone routes. Envoy
says who the client is (`x-sluice-peer`) and which call this is; `authorize`
judges. Health stays open to everybody, all else needs an admin. It never
touches model traffic and never answers with a secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from extproc.admin import providers
from extproc.admin.configuration import NO_STORE, Active
from extproc.admin.errors import from_router, ours
from extproc.admin.negotiate import Form, choose, wants_detail
from extproc.admin.readiness import AdminState, EnvoyAdmin, Readiness
from extproc.admin.standing import LOOK_EVERY, Watch
from extproc.config.names import PEER_METADATA
from extproc.model.call import Caller, Role
from extproc.model.errors import GatewayError, NotFound, PermissionDenied
from extproc.model.ports import Clock
from extproc.telemetry.exposition import OPENMETRICS, PROMETHEUS, collect, summary
from extproc.telemetry.log import Log
from extproc.telemetry.metrics import Metrics

Authorize = Callable[[Mapping[str, str], str, str], Caller]
"""(headers, raw query, peer) -> caller; raises `GatewayError`. Names are lower-case."""

WATCH_EVERY = 1.0
"""seconds between two looks at readiness, for `uptime_percentage`"""


def _no_probes(_: str) -> providers.Told:
    return ()


def create_app(
    state: AdminState,
    authorize: Authorize,
    envoy_socket: Path,
    metrics_directory: Path,
    metrics: Metrics,
    log: Log,
    clock: Clock,
    watch: Watch,
    active: Active,
    watch_every: float = WATCH_EVERY,
    look_every: float = LOOK_EVERY,
    probes: Callable[[str], providers.Told] = _no_probes,
) -> Starlette:
    """The app. `metrics` are this process's own; `metrics_directory` is what all parts count into;
    `probes` gives what `Prober.told` does.

    Its lifespan must run: it watches readiness and, by `watch`, the providers, and closes the
    client of Envoy.
    """
    envoy = EnvoyAdmin(envoy_socket)
    handlers = _Handlers(
        state,
        authorize,
        Readiness(state, envoy, clock),
        watch,
        active,
        metrics_directory,
        metrics,
        log,
        clock,
        probes,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        watchers = (
            asyncio.create_task(handlers.watch(watch_every)),
            asyncio.create_task(handlers.look(look_every)),
        )
        try:
            yield
        finally:
            for watcher in watchers:
                watcher.cancel()
                with suppress(asyncio.CancelledError):
                    await watcher
            await envoy.close()

    app = Starlette(
        routes=[
            Route("/health", handlers.health),
            Route("/health/ready", handlers.ready),
            Route("/health/detailed", handlers.detailed),
            Route("/metrics", handlers.metrics),
            Route("/providers", handlers.providers),
            Route("/admin/config", handlers.config),
            Route("/admin/reload", handlers.reload, methods=_ANY),
            Route("/admin", handlers.nothing, methods=_ANY),
            Route("/admin/{rest:path}", handlers.nothing, methods=_ANY),
        ],
        exception_handlers={
            HTTPException: from_router,
            GatewayError: ours,
            Exception: handlers.defect,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


_ANY = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class _Handlers:
    def __init__(
        self,
        state: AdminState,
        authorize: Authorize,
        readiness: Readiness,
        watch: Watch,
        active: Active,
        directory: Path,
        metrics: Metrics,
        log: Log,
        clock: Clock,
        probes: Callable[[str], providers.Told],
    ) -> None:
        self._state = state
        self._authorize = authorize
        self._readiness = readiness
        self._watch = watch
        self._active = active
        self._directory = directory
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._probes = probes
        self._version = version("sluice")

    async def health(self, _: Request) -> Response:
        """Alive: this process answers. Says nothing about providers or workers."""
        body = {
            "status": "healthy",
            "uptime": round(self._clock.time() - self._state.started, 3),
            "draining": self._state.draining,
        }
        return JSONResponse(body, headers=NO_STORE)

    async def ready(self, _: Request) -> Response:
        reasons = await self._readiness.reasons()
        if reasons:
            body = {"ready": False, "reasons": list(reasons)}
            return JSONResponse(body, status_code=503, headers=NO_STORE)
        return JSONResponse({"ready": True, "workers": self._state.workers}, headers=NO_STORE)

    async def metrics(self, request: Request) -> Response:
        self._admin_only(request)
        accept = ", ".join(request.headers.getlist("accept"))
        form = choose(accept, request.query_params.get("format"))
        headers = {**NO_STORE, "vary": "accept"}
        if form is Form.JSON:
            numbers = await run_in_threadpool(summary, self._directory)
            return JSONResponse(numbers, headers=headers)
        wants_open = form is Form.OPENMETRICS
        version = self._active.version
        text = await run_in_threadpool(
            collect,
            self._directory,
            openmetrics=wants_open,
            version=version,
            targets=self._watch.targets.counted(),
        )
        media = OPENMETRICS if wants_open else PROMETHEUS
        return Response(text, media_type=media, headers=headers)

    async def providers(self, request: Request) -> Response:
        self._admin_only(request)
        detail = wants_detail(request.query_params.get("detail"))
        watch = self._watch
        targets = watch.targets.told() if detail else {}
        listed = [
            providers.listed(
                one,
                watch.standing(name),
                detail=detail,
                targets=targets.get(name, ()),
                probes=self._probes(name) if detail else (),
            )
            for name, one in watch.providers.items()
        ]
        return JSONResponse({"providers": listed}, headers=NO_STORE)

    async def detailed(self, request: Request) -> Response:
        """As `/health` it is a report, and so a 200: `/health/ready` is what a balancer asks."""
        self._admin_only(request)
        detail = wants_detail(request.query_params.get("detail"))
        watch = self._watch
        targets = watch.targets.told() if detail else {}
        now = self._clock.time()
        body = providers.detailed(
            {
                name: providers.health(
                    watch.standing(name),
                    detail=detail,
                    targets=targets.get(name, ()),
                    probes=self._probes(name) if detail else (),
                )
                for name in watch.providers
            },
            healthy=not await self._readiness.reasons(),
            version=self._version,
            uptime=now - self._state.started,
            now=now,
        )
        return JSONResponse(body, headers=NO_STORE)

    async def config(self, request: Request) -> Response:
        self._admin_only(request)
        return self._active.shown()

    async def reload(self, request: Request) -> Response:
        self._admin_only(request)
        return await self._active.reload(request)

    async def nothing(self, request: Request) -> Response:
        self._admin_only(request)
        raise NotFound(f"There is no {request.scope['path']} here.", code="unknown_path")

    async def defect(self, request: Request, raised: Exception) -> Response:
        self._log.error("admin_failed", path=request.scope["path"], error=type(raised).__name__)
        return ours(request, raised)

    async def watch(self, every: float) -> None:
        """Keep the count of seconds in which exchanges could, and could not, succeed."""
        last = self._clock.monotonic()
        while True:
            ready = not await self._readiness.reasons()
            now = self._clock.monotonic()
            self._metrics.watched(now - last, ready)
            last = now
            await asyncio.sleep(every)

    async def look(self, every: float) -> None:
        """Keep what is known of the providers current."""
        while True:
            try:
                await self._watch.look()
            except OSError as error:
                self._log.error("providers cannot be watched", reason=error.strerror)
            await asyncio.sleep(every)

    def _admin_only(self, request: Request) -> None:
        headers = {name: ", ".join(request.headers.getlist(name)) for name in request.headers}
        peer = headers.get(PEER_METADATA, "")
        # Not `request.url`: that is built from the client's Host and may fail for a bad one.
        query = request.scope["query_string"].decode("latin-1")
        caller = self._authorize(headers, query, peer)
        if caller.role is not Role.ADMIN:
            raise PermissionDenied(f"Management needs an admin's key; `{caller.name}` is none.")
