"""Reload: another configuration for a gateway that runs, whole or not at all.

Everything that can fail comes first: read and check the file, prove it to Envoy, have
each worker compile it, give Envoy the new providers and bounds beside the old ones
and wait until they are live. Only then the workers use it, within the same moment, and
what they run goes on by the old one. The ways to old providers go last, when nothing
can name them any more. Whatever fails before leaves all as it was.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from extproc.child import Configuration, Reloaded, configured
from extproc.config.load import ConfigErrors
from extproc.config.schema import Settings
from extproc.envoygen.nodes import RenderError
from extproc.model.ports import Clock
from extproc.supervisor import versions
from extproc.supervisor.crew import Crew, NotFollowed
from extproc.supervisor.source import Source, say, usable, with_mock
from extproc.supervisor.versions import NOTHING, Differences, Revisions
from extproc.supervisor.watch import Look, look, watch
from extproc.supervisor.xds import NotTaken, Xds
from extproc.telemetry.log import Log

HELD = 300.0
"""seconds after which the ways to old providers go, though an exchange may still ask for them"""
_MOST_FINDINGS = 50
FIRST = 1
"""the serial number of the configuration that the gateway was started with"""


class Result(StrEnum):
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    """the configuration is wrong"""
    FAILED = "failed"
    """something of the gateway did not follow"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a reload ended. `version` is what is active after it; `findings` say what was wrong, as
    `sluice check` does; `restart` are paths that were left as they were."""

    result: Result
    version: str
    previous: str
    seconds: float
    differences: Differences = NOTHING
    restart: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()

    def report(self, at: float) -> bytes:
        """As JSON, for people and scripts. `at`: unix seconds of its end."""
        told: dict[str, object] = {
            "result": self.result.value,
            "version": self.version,
            "previous": self.previous,
            "at": round(at, 3),
            "ms": round(self.seconds * 1e3, 1),
        }
        if self.findings:
            return msgspec.json.encode({**told, "findings": self.findings})
        changes = asdict(self.differences)
        return msgspec.json.encode(
            {**told, **changes, "restart": self.restart, "warnings": self.warnings}
        )


class Refused(Exception):
    """What is wrong with a configuration, one finding a line."""


def first(settings: Settings, now: float) -> Configuration:
    return _configuration(FIRST, versions.version(settings), settings, (), now)


def _configuration(
    serial: int, version: str, settings: Settings, restart: Sequence[str], now: float
) -> Configuration:
    """`now`: unix seconds."""
    about = {
        "version": version,
        "loaded": round(now, 3),
        "source": settings.source,
        "files": list(settings.files),
        "restart": list(restart),
        "settings": versions.shown(settings),
    }
    return configured(serial, version, settings, msgspec.json.encode(about))


class Reloader:
    """`started` is what the gateway was started with, as read; `settings` what it uses.

    `workers` are the names of those that must agree, `admin` of the one that is told how it went.
    """

    def __init__(
        self,
        source: Source,
        started: Settings,
        settings: Settings,
        crew: Crew,
        xds: Xds,
        workers: Sequence[str],
        admin: str,
        mock_port: int | None,
        log: Log,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.applied: Callable[[Settings], None] = lambda _: None
        """is told what is used from now on"""
        self._source = source
        self._started = started
        self._crew = crew
        self._xds = xds
        self._workers = workers
        self._admin = admin
        self._mock_port = mock_port
        self._log = log
        self._clock = clock
        self._revisions = Revisions(settings)
        self._serial = FIRST
        self._begun = asyncio.Event()
        self._one = asyncio.Lock()
        self._next: asyncio.Task[Outcome] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._held_until: dict[int, float] = {}
        self.seen: Look = look((source.place, *map(Path, settings.files)))
        """the files as they were before they were read last"""
        crew.released = self._let_go
        crew.asked = self._asked

    async def reload(self, why: str) -> Outcome:
        """Reads and applies. One at a time: who asks while one runs shares the one that follows."""
        if self._next is None:
            self._next = asyncio.create_task(self._in_turn(why))
            self._keep(self._next)
        return await asyncio.shield(self._next)

    def begin(self) -> None:
        """The gateway is ready: what was asked for before runs now, and files are watched."""
        self._begun.set()
        self._keep(asyncio.create_task(watch(lambda: self.seen, self._file_changed)))

    def ask(self, why: str) -> None:
        """For a signal, which waits for nothing."""
        self._keep(asyncio.create_task(self.reload(why)))

    def stop(self) -> None:
        """Gives up what runs, and begins nothing more: Envoy would listen again."""
        self._begun.clear()
        for task in self._tasks:
            task.cancel()

    async def _file_changed(self) -> None:
        await self.reload("a file changed")

    def _keep(self, task: asyncio.Task[Any]) -> None:
        """The event loop itself would forget a task that nobody holds."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _asked(self, number: int) -> None:
        """The admin process asks, and waits for the answer."""

        async def answer() -> None:
            self._answer(await self.reload("POST /admin/reload"), number)

        self._keep(asyncio.create_task(answer()))

    def _answer(self, outcome: Outcome, number: int) -> None:
        report = msgspec.Raw(outcome.report(self._clock.time()))
        told = Reloaded(result=outcome.result.value, report=report, ask=number)
        self._crew.tell(self._admin, told)

    async def _in_turn(self, why: str) -> Outcome:
        await self._begun.wait()
        async with self._one:
            self._next = None
            began, before = self._clock.monotonic(), self._crew.active.version
            try:
                outcome = await self._apply(began)
            except (ConfigErrors, RenderError, Refused, NotTaken, NotFollowed, OSError) as error:
                outcome = self._failed(error, began, before)
            except Exception as error:
                self._log.error("defect", traceback=traceback.format_exc(limit=-8))
                outcome = self._failed(RuntimeError(type(error).__name__), began, before)
            self._told(outcome, why)
            self._answer(outcome, 0)
        self._let_go()
        return outcome

    def _failed(self, error: Exception, began: float, active: str) -> Outcome:
        followed = isinstance(error, ConfigErrors | RenderError | Refused)
        result = Result.REFUSED if followed else Result.FAILED
        findings = tuple(str(error).splitlines() or [type(error).__name__])
        more = len(findings) - _MOST_FINDINGS
        if more > 0:
            findings = (*findings[:_MOST_FINDINGS], f"and {more} more")
        took = self._clock.monotonic() - began
        return Outcome(result, active, active, took, findings=findings)

    async def _apply(self, began: float) -> Outcome:
        wanted = await self._read()
        settings, restart = versions.kept(self.settings, self._started, wanted)
        settings = self._answered_by_someone(settings)
        version = await asyncio.to_thread(versions.version, settings)
        active = self._crew.active
        if version == active.version:
            took = self._clock.monotonic() - began
            return Outcome(Result.UNCHANGED, version, version, took, restart=restart)
        settings = self._revisions.of(settings)
        self._serial += 1
        now = self._clock.time()
        configuration = _configuration(self._serial, version, settings, restart, now)
        try:
            await self._xds.prove(settings)
        except NotTaken as error:
            raise Refused(str(error)) from None
        await self._crew.prepare(configuration, self._workers)
        await self._xds.change(active.serial, settings)
        different = versions.differences(self.settings, settings)
        self.settings = settings
        self._revisions.used(settings)
        self.applied(settings)
        self._log.set_level(settings.log.level)
        self._hold(active.serial)
        await self._crew.use(configuration)
        say(settings, self._log)
        took = self._clock.monotonic() - began
        return Outcome(
            Result.APPLIED, version, active.version, took, different, restart, settings.warnings
        )

    async def _read(self) -> Settings:
        """What the file says, and from now on the files to look at."""
        known = tuple(self.seen)
        self.seen = look(known)
        files: Sequence[Path] = known
        try:
            settings = await asyncio.to_thread(self._source.read)
        except ConfigErrors as errors:
            files = (*known, *errors.files)
            raise
        else:
            files = (self._source.place, *map(Path, settings.files))
            return settings
        finally:
            # What is looked at for the first time was read a moment ago.
            self.seen = {**look(files), **{at: self.seen[at] for at in files if at in self.seen}}

    def _answered_by_someone(self, settings: Settings) -> Settings:
        if usable(settings):
            return settings
        if self._mock_port is None:
            raise Refused("no provider in it can be used, and the built-in mock does not run")
        return with_mock(settings, self._mock_port)

    def _told(self, outcome: Outcome, why: str) -> None:
        milliseconds = round(outcome.seconds * 1e3, 1)
        if outcome.restart:
            self._log.warning("needs a restart", settings=", ".join(outcome.restart))
        match outcome.result:
            case Result.APPLIED:
                self._log.info(
                    "configuration applied",
                    version=outcome.version,
                    previous=outcome.previous,
                    changes=str(outcome.differences),
                    why=why,
                    ms=milliseconds,
                )
            case Result.UNCHANGED:
                self._log.info("configuration unchanged", version=outcome.version, why=why)
            case Result.REFUSED | Result.FAILED:
                for finding in outcome.findings:
                    # The log takes `api_key: WORD` for a secret; here it is a finding.
                    self._log.error(
                        "configuration", reason=finding.replace("api_key: ", "api_key ")
                    )
                self._log.error(
                    f"configuration {outcome.result.value}", kept=outcome.version, why=why
                )

    def _hold(self, serial: int) -> None:
        """The ways of this configuration stay until nothing runs by it."""
        self._held_until[serial] = self._clock.monotonic() + HELD
        asyncio.get_running_loop().call_later(HELD + 1, self._let_go)

    def _let_go(self) -> None:
        """Takes the ways away that nobody can name any more."""
        now = self._clock.monotonic()
        over = [
            serial
            for serial, until in self._held_until.items()
            if until <= now or not self._crew.holds(serial)
        ]
        if not over or self._one.locked():
            return
        for serial in over:
            del self._held_until[serial]
        try:
            self._xds.drop(over)
        except OSError as error:
            self._log.error("cannot tell Envoy about its providers", reason=str(error))


__all__ = ["FIRST", "Outcome", "Reloader", "Result", "first"]
