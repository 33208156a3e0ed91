"""Keeps one slot filled: starts its process, waits until it is ready, starts it again when it dies.

Takes a `Part` (how to start it and how to know that it is ready) and the slot
of the table; tells `changed` whenever `slot.ready` changes. It never decides
what the others do about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from extproc.model.ports import Clock
from extproc.supervisor.process import Command, Process, ending
from extproc.supervisor.table import Slot
from extproc.telemetry.log import Log

READY_TIMEOUT = 30.0
"""seconds from start to ready; a process that needs longer is killed and started again"""


@dataclass(frozen=True, slots=True)
class Part:
    """`command` gets the generation. `ready` returns when the process can do its work.

    `listen` reads what the process writes, until its end; None when nobody reads it. `follow`
    reads what it writes once it is ready, where `ready` reads until then. `gone` is called after its end, before the next one starts.
    """

    command: Callable[[int], Command]
    ready: Callable[[Process], Awaitable[None]]
    listen: Callable[[Process], Coroutine[Any, Any, None]] | None = None
    follow: Callable[[Process], Coroutine[Any, Any, None]] | None = None
    gone: Callable[[], None] | None = None


class Keeper:
    def __init__(
        self, slot: Slot, part: Part, changed: Callable[[], None], log: Log, clock: Clock
    ) -> None:
        self.slot = slot
        self.process: Process | None = None
        self._part = part
        self._changed = changed
        self._log = log
        self._clock = clock
        self._retired = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    def retire(self) -> None:
        """What dies from now on stays dead."""
        self._retired.set()

    def tell(self, line: bytes) -> None:
        if self.process is not None:
            self.process.tell(line)

    async def end(self, grace: float) -> None:
        """Retires, asks the process to stop, and kills it `grace` seconds later."""
        self.retire()
        if self.process is not None:
            await self.process.end(grace)
        if self._task is not None:
            await self._task

    def kill(self) -> None:
        self.retire()
        if self.process is not None:
            self.process.signal(signal.SIGKILL)

    async def _run(self) -> None:
        while not self._retired.is_set():
            delay = await self._life()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._retired.wait()

    async def _life(self) -> float:
        """One process from start to end; returns the seconds to wait before the next."""
        generation = self.slot.start(self._clock.monotonic())
        try:
            self.process = await Process.start(self._part.command(generation))
        except OSError as error:
            self._log.error("cannot start", process=self.slot.name, reason=str(error))
            return self.slot.died(self._clock.monotonic())
        if self._retired.is_set():
            self.process.signal(signal.SIGKILL)
        self.slot.pid = self.process.pid
        others = [asyncio.create_task(self._announce(self.process))]
        if self._part.listen is not None:
            others.append(asyncio.create_task(self._part.listen(self.process)))
        status = await self.process.wait()
        await _settle(others)
        return self._buried(status)

    def _buried(self, status: int) -> float:
        delay = self.slot.died(self._clock.monotonic())
        self.process = None
        if self._part.gone is not None:
            self._part.gone()
        if not self._retired.is_set():
            self._log.warning(
                "restarting", process=self.slot.name, ended=ending(status), delay_s=delay
            )
            self._changed()
        return delay

    async def _announce(self, process: Process) -> None:
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                await self._part.ready(process)
        except TimeoutError:
            self._log.error("not ready in time, killing it", process=self.slot.name)
            process.signal(signal.SIGKILL)
        except OSError as error:
            self._log.error("cannot be reached", process=self.slot.name, reason=str(error))
            process.signal(signal.SIGKILL)
        else:
            self.slot.ready = process.running
            self._changed()
            if self._part.follow is not None:
                await self._part.follow(process)


async def _settle(tasks: list[asyncio.Task[None]]) -> None:
    """Ends the tasks; a listener may go on for a moment, for the last words of the dead."""
    announce, *listeners = tasks
    announce.cancel()
    if listeners:
        await asyncio.wait(listeners, timeout=0.5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
