"""How targets stand, as one process of the gateway knows it and all agree on.

Takes the folder of the file that they share, and the process's own log and numbers; gives its
`Health`, which a task keeps in step with the others. Where the file cannot be used, one line of
the log says so, and the process goes by what it sees itself.
"""

from __future__ import annotations

import asyncio
import os
import traceback
from contextlib import suppress
from pathlib import Path

from extproc.config.schema import Settings
from extproc.config.targets import named, split
from extproc.model.ports import Clock
from extproc.routing.breaker import State
from extproc.routing.health import SYNC_EVERY, Health
from extproc.stores.standing import StandingFile
from extproc.telemetry.log import Log
from extproc.telemetry.metrics import Metrics

_UNIQUE = 4
"""random bytes in a seat's name: process ids come again, in a container most of all"""


class Agreement:
    """`part` names the process. `open` it before `health` is asked, `start` it in an event loop,
    and `close` it when nothing asks any more."""

    def __init__(
        self, folder: Path, part: str, settings: Settings, clock: Clock, log: Log, metrics: Metrics
    ) -> None:
        self._log = log
        self._metrics = metrics
        self._file = StandingFile(folder, clock, self._alone)
        seat = self._file.seat(f"{part}-{os.getpid()}-{os.urandom(_UNIQUE).hex()}")
        self.health = Health(settings.routing, clock, seat, self._told)
        self._named = named(settings)
        self._keeping: asyncio.Task[None] | None = None

    def configure(self, settings: Settings) -> None:
        self._named = named(settings)
        self.health.configure(settings.routing)

    def open(self) -> None:
        """Learns what the others know, so that the first request finds it."""
        self._file.open()
        self.health.sync()

    def start(self) -> None:
        self._keeping = asyncio.create_task(self._keep())

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
        self.health.close()
        self._file.close()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(SYNC_EVERY)
            try:
                self.health.sync()
            except Exception:
                self._log.error("defect", traceback=traceback.format_exc(limit=-8))

    def _alone(self, reason: str) -> None:
        self._log.warning("how targets stand is not shared", reason=reason)

    def _told(self, key: str, state: State, why: str) -> None:
        match state:
            case State.OPEN:
                self._log.warning("breaker open", target=key, reason=why)
            case State.COOLING:
                self._log.warning("target cools", target=key, reason=why)
            case State.CLOSED | State.HALF_OPEN:
                self._log.info("breaker closed", target=key, reason=why)
        self._metrics.turned(*split(key, self._named), state.value)
