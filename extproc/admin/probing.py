"""Probes: exchanges of our own with providers, off the path of any other, to see whether they answer.

One process makes them for all workers. Each goes through the private listener of our own Envoy, as
a shadow copy does, so that it takes the provider's own way: its cluster, proxy, TLS and credential.
A worker writes the question, which costs no token, and says in a word what came of it. Several in
a row that failed open the breakers of the provider's targets, on all workers; a good one ends that
again. What says nothing of the provider (no worker, no credential yet) is `lost`, and changes nothing.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from extproc.config.names import PROBE_HEADER, PROBED_OK, SHADOW_HEADER
from extproc.config.schema import Probing, Provider, Settings
from extproc.config.targets import keys, parts, place_of, places
from extproc.model.call import Failure
from extproc.model.ports import Clock
from extproc.model.value import value
from extproc.routing.health import Health
from extproc.routing.verdict import Verdict, of_failure
from extproc.telemetry.log import Log
from extproc.telemetry.metrics import Metrics

LOST = "lost"
AT_ONCE = 16
"""probes that run at a time"""
MOST = 8 << 20
"""bytes of a reply that are read, and thrown away: so much of one is an answer"""
DOUBT = 0.5
"""seconds at most until the next probe, after one that failed and did not decide yet"""
LEAST = 0.8
"""of the interval: at least so much of it is waited, so that nobody is asked by many at once"""
GRACE = 1.0
"""seconds beyond a probe's own, in which Envoy says that they are over"""

Sign = Callable[[str, str], str]
"""a provider and its place (`config.targets`) -> the token of a probe"""
Draw = Callable[[], float]
"""at random from 0 to 1"""


@value
class Probed:
    """What probes say of a provider. `at`: when they last said anything, None: never; `reason` and
    `since`: why they have failed, and since when, None: they have not. Unix seconds."""

    at: float | None = None
    reason: str | None = None
    since: float | None = None


NEVER = Probed()


@dataclass(slots=True, eq=False)
class _Place:
    """One that is probed: a provider, by one of its keys. `failed` probes in a row; `result` and
    `at` are the last one's, `at` of the last that said anything."""

    name: str
    provider: Provider
    terms: Probing
    failed: int = 0
    result: str | None = None
    at: float | None = None
    since: float | None = None

    @property
    def out(self) -> bool:
        return self.failed >= self.terms.failures

    def heard(self, result: str, now: float) -> Verdict:
        self.result = result
        found = verdict(result)
        if found is Verdict.NONE:
            return found
        self.at = now
        self.failed = self.failed + 1 if found is Verdict.BAD else 0
        self.since = (self.since or now) if self.failed else None
        return found

    def told(self) -> Mapping[str, object]:
        return {
            **parts(self.name).apart,
            "result": self.result,
            "at": self.at,
            "failed_in_a_row": self.failed,
        }


def verdict(result: str) -> Verdict:
    """What a probe's result, PROBED_OK, LOST or a `Failure`, says of the provider."""
    if result == PROBED_OK:
        return Verdict.GOOD
    return Verdict.NONE if result == LOST else of_failure(Failure(result))


class Prober:
    """`socket` is that of the private listener; it need not be there yet. `configure` it in an event
    loop as often as the settings change, and `close` it in the end."""

    def __init__(
        self,
        socket: Path,
        sign: Sign,
        health: Health,
        metrics: Metrics,
        log: Log,
        clock: Clock,
        draw: Draw = random.random,
    ) -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                uds=str(socket), limits=httpx.Limits(max_keepalive_connections=0)
            ),
            base_url="http://localhost",
        )
        self._sign = sign
        self._health = health
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._draw = draw
        self._free = asyncio.Semaphore(AT_ONCE)
        self._places: dict[str, _Place] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._keys: frozenset[str] = frozenset()
        self._open = 0.0

    def configure(self, settings: Settings) -> None:
        """Those that stay as they are go on; one that changed is another, and begins anew."""
        self._keys, self._open = keys(settings), settings.routing.breaker.open
        wanted = {place.name: place for place in _wanted(settings)}
        for name in [*self._places]:
            new = wanted.get(name)
            if new is None or new.provider != self._places[name].provider:
                self._running.pop(name).cancel()
                del self._places[name]
        for name, place in wanted.items():
            if name not in self._places:
                self._places[name] = place
                self._running[name] = asyncio.create_task(self._watch(place))

    async def close(self) -> None:
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        with suppress(httpx.HTTPError, OSError):
            await self._client.aclose()

    def probed(self, provider: str) -> Probed:
        """One with several keys has failed when it did with all."""
        ours = self._of(provider)
        times = [one.at for one in ours if one.at is not None]
        if not times:
            return NEVER
        if not all(one.out for one in ours):
            return Probed(max(times))
        worst = max(ours, key=lambda one: one.failed)
        reason = f"its last {worst.failed} probes failed: {worst.result}"
        return Probed(max(times), reason, max(one.since or 0.0 for one in ours))

    def told(self, provider: str) -> list[Mapping[str, object]]:
        """For people: of each that is probed, by `key_name` where there are several keys, the last
        `result`, `at` when it last said anything, and how many `failed_in_a_row`."""
        return [one.told() for one in self._of(provider)]

    def _of(self, provider: str) -> list[_Place]:
        return [one for one in self._places.values() if one.provider.name == provider]

    async def _watch(self, place: _Place) -> None:
        pause = self._draw() * place.terms.interval
        while True:
            await asyncio.sleep(pause)
            try:
                await self._probe(place)
            except Exception:
                self._log.error("defect", traceback=traceback.format_exc(limit=-8))
            pause = place.terms.interval * (LEAST + (1.0 - LEAST) * self._draw())
            if place.failed and not place.out:
                pause = min(pause, DOUBT)

    async def _probe(self, place: _Place) -> None:
        async with self._free:
            result = await self._ask(place)
        self._metrics.probed(place.provider.name, result)
        was_out = place.out
        match place.heard(result, self._clock.time()):
            case Verdict.GOOD:
                self._health.vouch(self._targets(place))
                if was_out:
                    self._log.info("probes succeed", provider=place.name)
            case Verdict.BAD if place.out:
                why = f"{place.failed} probes failed: {result}"
                self._health.shut(self._targets(place), self._for(place), why)
                if not was_out:
                    self._log.warning("probes fail", provider=place.name, reason=why)
            case _:
                pass

    def _targets(self, place: _Place) -> list[str]:
        """Those that the configuration names, and those that clients did."""
        known = {*self._keys, *self._health.view()}
        return [key for key in known if place_of(key) == place.name]

    def _for(self, place: _Place) -> float:
        """Seconds: until the next probe has spoken, if there is one."""
        return max(self._open, 2 * (place.terms.interval + place.terms.timeout))

    async def _ask(self, place: _Place) -> str:
        """The worker's word, where the reply came to its end as well."""
        word = LOST
        try:
            token = self._sign(place.provider.name, place.name)
            limit = place.terms.timeout + GRACE
            async with (
                asyncio.timeout(limit),
                self._client.stream(
                    "GET", "/", headers={SHADOW_HEADER: token}, timeout=limit
                ) as reply,
            ):
                word, size = _word(reply), 0
                async for piece in reply.aiter_raw():
                    size += len(piece)
                    if size > MOST:
                        break
        except (TimeoutError, httpx.TimeoutException):
            return Failure.TIMEOUT.value if word == PROBED_OK else word
        except (httpx.HTTPError, OSError):
            return Failure.RESET.value if word == PROBED_OK else word
        return word


def _word(reply: httpx.Response) -> str:
    """What a worker said; LOST where none did."""
    word = reply.headers.get(PROBE_HEADER, LOST)
    return word if word == PROBED_OK or word in frozenset(Failure) else LOST


def _wanted(settings: Settings) -> list[_Place]:
    return [
        _Place(name, provider, provider.probing)
        for provider in settings.providers.values()
        if provider.probing is not None and provider.unavailable is None
        for name in places(settings, provider.name)
    ]
