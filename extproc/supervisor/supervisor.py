"""The gateway as a whole: workers, admin process, Envoy and mock, from start to end.

Order of a start: mock, workers and admin together, then Envoy, and `ready`
only when an exchange can succeed. Order of an end: not ready, Envoy drains,
Envoy stops, then the workers, then the rest. Workers can be rolled: each is
replaced by one that serves before it drains. No exchange passes through here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from extproc.child import State, message_line
from extproc.config.layout import Layout
from extproc.config.schema import Settings
from extproc.envoygen.nodes import STAT_PREFIX
from extproc.model.ports import Clock
from extproc.supervisor.envoy import EnvoyAdmin
from extproc.supervisor.errors import CannotStart
from extproc.supervisor.keeper import Keeper, Part
from extproc.supervisor.source import MOCK
from extproc.supervisor.table import Table
from extproc.telemetry.log import Log

T = TypeVar("T")

START_TRIES = 3
"""deaths of one part before it was ready, after which a start or a roll is given up"""
_POLL = 0.02
_GRACE = 5.0
"""seconds for a process that has nothing left to do"""
_FOLLOWS = 10.0
"""seconds for Envoy to do as it was told"""
_SETTLES = 0.5
"""seconds for Envoy's other threads, after the one that answers us has followed"""

ENVOY = "envoy"
ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class House:
    """Everything that a gateway is made of.

    `parts` by name, `workers` the names of those that can do the work: one more
    than serve, so that a replacement has a place. `publish` tells Envoy which
    sockets to use: the workers', the admin process's, and those of workers that
    leave, which get no new exchange.
    """

    settings: Settings
    layout: Layout
    parts: dict[str, Part]
    workers: tuple[str, ...]
    publish: Callable[[Sequence[Path], Path, Sequence[Path]], None]


def worker_name(number: int) -> str:
    return f"worker-{number}"


class Supervisor:
    def __init__(self, house: House, log: Log, clock: Clock) -> None:
        self._house = house
        self.limits = house.settings.limits
        """of the configuration in use"""
        self._log = log
        self._clock = clock
        self._table = Table(house.parts)
        self._keepers = {name: self._keeper(name) for name in house.parts}
        self._serving = list(house.workers[:-1])
        """the workers that Envoy is to use, each as soon as it is ready"""
        self._leaving: list[str] = []
        """those that finish what they have: Envoy still has to find them"""
        self._rolling: asyncio.Task[None] | None = None
        self._envoy = EnvoyAdmin(house.layout.envoy_admin_socket)
        self._news = asyncio.Event()
        self._up = False
        self._draining = False
        self._published: tuple[Sequence[Path], Path, Sequence[Path]] | None = None
        self._stop = asyncio.Event()
        self._at_once = asyncio.Event()

    def ask_to_stop(self) -> None:
        """The first time: drain and stop. The second time: stop at once."""
        if self._stop.is_set():
            self._at_once.set()
        self._stop.set()
        if self._rolling is not None:
            self._rolling.cancel()

    def ask_to_roll(self) -> None:
        """Replaces every worker, one after another. Refused while starting, rolling or stopping."""
        busy = self._rolling is not None and not self._rolling.done()
        if busy or not self._up or self._stop.is_set():
            self._log.warning("workers cannot be rolled now")
        else:
            self._rolling = asyncio.create_task(self._roll())

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Returns when the gateway was asked to stop and nothing of it runs any more.

        Raises `CannotStart` when a part keeps dying before the gateway is ready.
        """
        try:
            await _first(self._start(on_ready), self._stop.wait())
            await self._stop.wait()
            await _first(self._end(), self._at_once.wait())
        finally:
            await self._kill()

    async def _start(self, on_ready: Callable[[], None]) -> None:
        spare = self._house.workers[-1]
        first = [name for name in self._keepers if name not in (ENVOY, spare)]
        for name in first:
            self._keepers[name].start()
        await self._until_ready(first)
        self._publish()
        self._keepers[ENVOY].start()
        await self._until_ready([ENVOY])
        self._up = True
        on_ready()

    async def _until_ready(self, names: Sequence[str]) -> None:
        while len(self._table.ready(names)) < len(names):
            for name in names:
                if self._table[name].deaths >= START_TRIES:
                    raise CannotStart(f"{name} cannot start; its own messages above say why.")
            self._news.clear()
            await self._news.wait()

    def _changed(self) -> None:
        self._news.set()
        if self._published is not None:
            self._publish()
        self._tell()

    def _tell(self) -> None:
        line = message_line(
            State(draining=self._draining, workers=len(self._table.ready(self._serving)))
        )
        for name in (*self._house.workers, ADMIN):
            if self._table[name].ready:
                self._keepers[name].tell(line)

    def _publish(self) -> None:
        """Tells Envoy the sockets of those who are ready. A full disk is tried again."""
        admin = self._house.layout.admin_socket(self._table[ADMIN].generation)
        wanted = (self._sockets(self._serving), admin, self._sockets(self._leaving))
        if wanted == self._published:
            return
        try:
            self._house.publish(*wanted)
        except OSError as error:
            if self._published is None:
                raise CannotStart(f"cannot write Envoy's configuration: {error}") from error
            self._log.error("cannot tell Envoy about its workers", reason=str(error))
            asyncio.get_running_loop().call_later(1.0, self._publish)
        else:
            self._published = wanted

    def _keeper(self, name: str) -> Keeper:
        part = self._house.parts[name]
        return Keeper(self._table[name], part, self._changed, self._log, self._clock)

    def _sockets(self, workers: Sequence[str]) -> list[Path]:
        """Of those that are ready."""
        return [self._socket(name) for name in workers if self._table[name].ready]

    def _socket(self, worker: str) -> Path:
        number = self._house.workers.index(worker) + 1
        return self._house.layout.worker_socket(number, self._table[worker].generation)

    async def _roll(self) -> None:
        before = tuple(self._serving)
        self._log.info("rolling the workers", workers=len(before))
        for old in before:
            new = next(name for name in self._house.workers if name not in self._serving)
            if not await self._serves(new):
                self._log.error("the roll is given up", reason=f"{new} does not serve")
                await self._send_home(new)
                return
            await self._send_home(old)
            self._log.info("replaced", worker=old, by=new)
        self._log.info("rolled", workers=len(before))

    async def _serves(self, new: str) -> bool:
        """Starts a worker in the free place; whether Envoy uses it in the end."""
        self._keepers[new] = self._keeper(new)
        self._keepers[new].start()
        self._serving.append(new)
        slot = self._table[new]
        tolerated = slot.deaths + START_TRIES
        while slot.deaths < tolerated:
            if not slot.ready:
                self._news.clear()
                await self._news.wait()
                continue
            socket = self._socket(new)
            found = await _first(self._envoy_has(socket, True), self._gone(new, socket))
            if found is not None:
                return found
        return False

    async def _gone(self, worker: str, socket: Path) -> None:
        """Returns when the worker does not serve there any more."""
        while self._table[worker].ready and self._socket(worker) == socket:
            self._news.clear()
            await self._news.wait()

    async def _send_home(self, old: str) -> None:
        """No new exchange for a worker; it ends when those that run are over."""
        self._keepers[old].retire()
        self._serving.remove(old)
        self._leaving.append(old)
        self._changed()
        await self._envoy_has(self._socket(old), False)
        await asyncio.sleep(_SETTLES)
        await self._keepers[old].end(self.limits.drain_timeout + _GRACE)
        self._leaving.remove(old)
        self._changed()

    async def _envoy_has(self, worker: Path, wanted: bool) -> bool:
        """Waits until Envoy does, or does not, give exchanges to that socket; False if in vain."""
        deadline = self._clock.monotonic() + _FOLLOWS
        while self._clock.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if (worker in await self._envoy.workers()) is wanted:
                    return True
            await asyncio.sleep(_POLL)
        return False

    async def _end(self) -> None:
        for keeper in self._keepers.values():
            keeper.retire()
        self._draining = True
        self._tell()
        if self._up:
            await self._drain()
        for group in ((ENVOY,), self._house.workers, (ADMIN, MOCK)):
            ends = (self._keepers[name].end(_GRACE) for name in group if name in self._keepers)
            await asyncio.gather(*ends)

    async def _drain(self) -> None:
        """Waits for what runs. Half of the time new calls are served, then they are refused."""
        limit = self.limits.drain_timeout
        deadline = self._clock.monotonic() + limit
        try:
            running = await self._envoy.active(STAT_PREFIX)
            self._log.info("draining", exchanges=running, limit_s=limit)
            await self._envoy.drain()
            await self._until_idle(deadline - limit / 2)
            await self._envoy.stop_listening()
            running = await self._until_idle(deadline)
        except OSError as error:
            self._log.warning("Envoy does not drain", reason=str(error) or type(error).__name__)
            return
        if running:
            self._log.warning("cut at the end of the drain", exchanges=running)

    async def _until_idle(self, deadline: float) -> int:
        """The number of exchanges that still run at the deadline; usually 0, and earlier."""
        while running := await self._envoy.active(STAT_PREFIX):
            if self._clock.monotonic() >= deadline:
                break
            await asyncio.sleep(_POLL)
        return running

    async def _kill(self) -> None:
        for keeper in self._keepers.values():
            keeper.kill()
        await asyncio.gather(*(keeper.end(0.0) for keeper in self._keepers.values()))


async def _first(*what: Coroutine[Any, Any, T]) -> T:
    """Runs all until one is done, cancels the others. What that one gives, or raises."""
    tasks = [asyncio.create_task(one) for one in what]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task.result() for task in tasks if task in done)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
