"""Whether an exchange can succeed now, asked of those who know.

Takes what the supervisor said (`AdminState`) and what Envoy's admin interface
answers on its private socket; gives the reasons why not, none when ready. Each
answer is kept for a moment, and a question to Envoy is bounded in time.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import httpx

from extproc.config.names import EXT_PROC_CLUSTER
from extproc.model.ports import Clock

KEPT = 0.2
"""seconds for which an answer holds"""
PATIENCE = 1.0
"""seconds that Envoy has for one answer"""
_MAX_ANSWER = 64 * 1024
_HEALTHY = f"cluster.{EXT_PROC_CLUSTER}.membership_healthy"


@dataclass(slots=True)
class AdminState:
    """What the admin process is told. Its host updates it; everything here only reads it.

    `started` is unix seconds; `workers` counts those that run, `providers` those
    that have a credential and an endpoint.
    """

    started: float
    workers: int = 0
    providers: int = 0
    draining: bool = False


class EnvoyAdmin:
    """Envoy's admin interface on a unix socket. Raises `EnvoySilent` when it gives no usable answer."""

    def __init__(self, socket: Path) -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket)),
            base_url="http://envoy",
            timeout=PATIENCE,
            trust_env=False,
        )

    async def state(self) -> str:
        """`LIVE`, or what it does instead (`PRE_INITIALIZING`, `INITIALIZING`, `DRAINING`)."""
        _, text = await self._get("/ready")
        return text.strip()

    async def healthy_workers(self) -> int:
        """How many ext_proc endpoints Envoy would send an exchange to."""
        status, text = await self._get(f"/stats?filter=^{_HEALTHY}$&format=json&usedonly")
        if status != 200:
            raise EnvoySilent(f"its statistics answered {status}")
        return _gauge(text)

    async def close(self) -> None:
        await self._client.aclose()

    async def _get(self, path: str) -> tuple[int, str]:
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self._client.get(path)
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            raise EnvoySilent(type(error).__name__) from error
        if len(answer.content) > _MAX_ANSWER:
            raise EnvoySilent("its answer is too long")
        return answer.status_code, answer.text


class EnvoySilent(Exception):
    """Envoy's admin interface gave no answer that can be used."""


class Readiness:
    """Questions that come together, or soon after each other, share one answer."""

    def __init__(self, state: AdminState, envoy: EnvoyAdmin, clock: Clock) -> None:
        self._state = state
        self._envoy = envoy
        self._clock = clock
        self._lock = asyncio.Lock()
        self._asked = float("-inf")
        self._envoy_reasons: tuple[str, ...] = ()

    async def reasons(self) -> tuple[str, ...]:
        """Why no exchange can succeed now; empty when one can."""
        told: list[str] = []
        if self._state.draining:
            told.append("the gateway is draining")
        if self._state.providers < 1:
            told.append("no provider is available")
        return (*told, *await self._ask_envoy())

    async def _ask_envoy(self) -> tuple[str, ...]:
        async with self._lock:
            if self._clock.monotonic() - self._asked >= KEPT:
                self._envoy_reasons = await self._look()
                self._asked = self._clock.monotonic()
            return self._envoy_reasons

    async def _look(self) -> tuple[str, ...]:
        try:
            state = await self._envoy.state()
            if state != "LIVE":
                return (f"Envoy is not live: {state[:40] or 'no state'}",)
            if await self._envoy.healthy_workers() < 1:
                return ("no worker is ready",)
        except EnvoySilent as silent:
            return (f"Envoy does not answer: {silent}",)
        return ()


def _gauge(text: str) -> int:
    """The one value in Envoy's `{"stats": [{"name": ..., "value": n}]}`; 0 when there is none."""
    try:
        answer: object = json.loads(text)
    except ValueError as error:
        raise EnvoySilent("its statistics are not JSON") from error
    stats = answer.get("stats") if isinstance(answer, dict) else None
    for stat in stats if isinstance(stats, list) else ():
        if isinstance(stat, dict) and stat.get("name") == _HEALTHY:
            value = stat.get("value")
            return value if isinstance(value, int) else 0
    return 0
