"""The children that follow the configuration: what each uses, what it still holds, what it is told.

Writes to them, and reads what they say. It never starts or restarts one, but kills
a child that does not follow: what takes its place begins with the new configuration.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from extproc.child import (
    Configuration,
    Prepare,
    Reloaded,
    Said,
    Use,
    hello_line,
    message_line,
)
from extproc.config.layout import Layout
from extproc.model.ports import Clock
from extproc.supervisor.process import Process
from extproc.telemetry.log import Log

PATIENCE = 5.0
"""seconds for a child to prepare a configuration, and again to use it"""


class NotFollowed(Exception):
    """A child cannot use a configuration, or did not say that it can. The text is for people."""


@dataclass(slots=True, eq=False)
class _Member:
    """A child that is ready. `using` and `prepared` are serial numbers; `holds` are those by which
    something runs in it or may run."""

    name: str
    process: Process
    using: int = 0
    prepared: int = 0
    refusal: str | None = None
    leaving: bool = False
    holds: set[int] = field(default_factory=set[int])

    def tell(self, line: bytes) -> None:
        if self.process.running:
            self.process.tell(line)


class Crew:
    """`active` is what new children begin with. `released` is called whenever a child may hold
    less than before, `asked` when one asks for a reload, with its own number for that."""

    def __init__(
        self,
        active: Configuration,
        layout: Layout,
        log: Log,
        clock: Clock,
        secret: bytes,
        patience: float = PATIENCE,
    ) -> None:
        """`secret` is what all children know, random for each gateway."""
        self.active = active
        self.released: Callable[[], None] = lambda: None
        self.asked: Callable[[int], None] = lambda _: None
        self._layout = layout
        self._log = log
        self._clock = clock
        self._secret = secret
        self._patience = patience
        self._starting: dict[str, int] = {}
        """serial numbers that children were started with who are not ready yet"""
        self._members: list[_Member] = []
        self._news = asyncio.Event()

    def hello(self, name: str) -> bytes:
        """The first line for a new child."""
        self._starting[name] = self.active.serial
        return hello_line(self.active, self._layout, self._secret)

    async def listen(self, name: str, process: Process) -> None:
        """Reads what a child says that is ready, until its end."""
        member = _Member(name, process)
        self._members.append(member)
        try:
            while line := await process.line():
                try:
                    said = msgspec.json.decode(line, type=Said)
                except msgspec.MsgspecError:
                    self._log.warning("a line on stdout is not understood", process=name)
                else:
                    self._heard(member, said)
        finally:
            self._members.remove(member)
            self._changed()

    def gone(self, name: str) -> None:
        """A child ended, ready or not."""
        self._starting.pop(name, None)
        self._changed()

    def holds(self, serial: int) -> bool:
        """Whether anything may still run by that configuration."""
        return serial in self._starting.values() or any(
            serial in member.holds for member in self._members
        )

    async def prepare(self, wanted: Configuration, workers: Iterable[str]) -> None:
        """Raises NotFollowed when one of those that run cannot."""
        names = frozenset(workers)
        line = message_line(Prepare(configuration=wanted))
        asked = [one for one in self._following() if one.name in names]
        for member in asked:
            member.refusal = None
            member.tell(line)
        await self._until(lambda: all(self._judged(one, wanted.serial) for one in asked))
        for member in asked:
            if member.refusal is not None:
                raise NotFollowed(f"{member.name} cannot use it: {member.refusal}")
            if not self._judged(member, wanted.serial):
                raise NotFollowed(f"{member.name} does not answer")

    async def use(self, wanted: Configuration) -> None:
        """From here on it is what new children begin with. Returns when all that run use it."""
        self.active = wanted
        for member in self._following():
            self._bring(member)
        await self._until(lambda: all(self._is_current(one) for one in self._following()))
        for member in self._following():
            if not self._is_current(member):
                self._log.error("killed: it does not follow the configuration", process=member.name)
                member.process.signal(signal.SIGKILL)

    def tell(self, name: str, message: Reloaded) -> None:
        for member in self._members:
            if member.name == name:
                member.tell(message_line(message))

    def _bring(self, member: _Member) -> None:
        if member.prepared != self.active.serial:
            member.tell(message_line(Prepare(configuration=self.active)))
        member.tell(message_line(Use(serial=self.active.serial)))

    def _heard(self, member: _Member, said: Said) -> None:
        match said.what:
            case "using":
                self._starting.pop(member.name, None)
                member.using = said.serial
                member.holds.add(said.serial)
                if said.serial < self.active.serial and not member.prepared:
                    # It was started before the configuration changed, and is ready only now.
                    self._bring(member)
            case "prepared":
                member.prepared = said.serial
            case "refused":
                member.refusal = said.reason
            case "released":
                member.holds.discard(said.serial)
            case "leaving":
                member.leaving = True
            case "reload":
                self.asked(said.serial)
        self._changed()

    def _following(self) -> list[_Member]:
        """Those that still do as they are told."""
        return [one for one in self._members if not one.leaving and one.process.running]

    def _judged(self, member: _Member, serial: int) -> bool:
        gone = member not in self._members or not member.process.running or member.leaving
        return gone or member.prepared == serial or member.refusal is not None

    def _is_current(self, member: _Member) -> bool:
        return member.using == self.active.serial

    def _changed(self) -> None:
        self._news.set()
        self.released()

    async def _until(self, done: Callable[[], bool]) -> None:
        """Returns when it is done, or when patience ends."""
        deadline = self._clock.monotonic() + self._patience
        while not done():
            self._news.clear()
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                return
