"""Children that follow the configuration, as real small processes that speak by the script."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from extproc.child import Configuration, SystemClock, configured
from extproc.config.layout import Layout
from extproc.supervisor.crew import Crew, NotFollowed
from extproc.supervisor.parts import said_ready
from extproc.supervisor.process import Command, Process
from extproc.telemetry.log import Log
from tests.kit import settings

CHILD = """
import json, sys
out = lambda text: print(text, flush=True)
say = lambda what, serial, reason="": out(json.dumps(dict(what=what, serial=serial, reason=reason)))
serial = json.loads(sys.stdin.readline())["configuration"]["serial"]
how = sys.argv[1]
if how == "late": sys.stdin.readline()
out("ready"); say("using", serial)
if how == "chatty": out("not a word of ours")
for line in sys.stdin:
    told = json.loads(line)
    if how == "silent": continue
    if told["type"] == "Prepare":
        wanted = told["configuration"]["serial"]
        if how == "unable": say("refused", wanted, "ValueError")
        elif how == "dies": sys.exit(1)
        else: say("prepared", wanted)
    elif told["type"] == "Use":
        if how == "stuck": continue
        say("using", told["serial"])
        if how != "busy": say("released", serial)
        serial = told["serial"]
    elif told["type"] == "Reloaded":
        say("released", serial)
"""
ONE, TWO, THREE = (configured(n, f"v{n}", settings()) for n in (1, 2, 3))


class Scene:
    """A crew, and children by name."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.log = log
        fd = os.open(log, os.O_WRONLY | os.O_CREAT)
        clock = SystemClock()
        self.crew = Crew(
            ONE,
            Layout(folder, folder),
            Log(fd, "test", "debug", "json", clock),
            clock,
            b"secret",
            1.0,
        )
        self.processes: dict[str, Process] = {}
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, name: str, how: str = "willing") -> None:
        command = Command(
            (sys.executable, "-I", "-S", "-c", CHILD, how),
            hello=self.crew.hello(name),
            heard="stdout",
        )
        process = self.processes[name] = await Process.start(command)
        if how != "late":
            await said_ready(process)
        self.tasks.append(asyncio.create_task(self._follow(name, process)))
        if how != "late":
            await self.until(lambda: name not in self.starting)

    async def _follow(self, name: str, process: Process) -> None:
        if name == "late":
            await said_ready(process)
        await self.crew.listen(name, process)

    @property
    def starting(self) -> set[str]:
        return set(self.crew._starting)  # pyright: ignore[reportPrivateUsage]

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not what():
                await asyncio.sleep(0.005)

    async def reload(self, wanted: Configuration) -> None:
        await self.crew.prepare(wanted, self.processes)
        await self.crew.use(wanted)

    async def end(self) -> None:
        for process in self.processes.values():
            await process.end(0.0)
        await asyncio.gather(*self.tasks)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path, tmp_path / "log")
    yield made
    await made.end()


async def test_all_follow_and_let_go(scene: Scene) -> None:
    released: list[bool] = []
    scene.crew.released = lambda: released.append(scene.crew.holds(1))
    await scene.start("a")
    await scene.start("b", "chatty")
    await scene.reload(TWO)
    await scene.until(lambda: not scene.crew.holds(1))
    assert scene.crew.holds(2)
    assert released[-1] is False
    await scene.reload(THREE)
    await scene.until(lambda: not scene.crew.holds(2))
    await scene.until(lambda: "not understood" in scene.log.read_text())


@pytest.mark.parametrize(
    ("how", "reason"), [("unable", "b cannot use it: ValueError"), ("silent", "b does not answer")]
)
async def test_one_that_cannot_keeps_all_from_it(scene: Scene, how: str, reason: str) -> None:
    await scene.start("a")
    await scene.start("b", how)
    with pytest.raises(NotFollowed, match=reason):
        await scene.reload(TWO)
    assert scene.crew.active is ONE
    assert not scene.crew.holds(2)


async def test_one_that_dies_meanwhile_keeps_nobody(scene: Scene) -> None:
    await scene.start("a")
    await scene.start("b", "dies")
    await scene.reload(TWO)
    assert scene.crew.active is TWO
    await scene.until(lambda: not scene.crew.holds(1))


async def test_one_that_is_stuck_at_the_last_step_is_killed(scene: Scene) -> None:
    await scene.start("a")
    await scene.start("b", "stuck")
    await scene.reload(TWO)
    assert await scene.processes["b"].wait() == -9
    assert scene.processes["a"].running


async def test_what_a_busy_one_holds_is_held_until_it_says_so_or_ends(scene: Scene) -> None:
    await scene.start("a", "busy")
    await scene.reload(TWO)
    assert scene.crew.holds(1)
    await scene.processes["a"].end(0.0)
    await scene.until(lambda: not scene.crew.holds(1))


async def test_one_that_was_starting_follows_as_soon_as_it_is_ready(scene: Scene) -> None:
    await scene.start("a")
    await scene.start("late", "late")
    await scene.reload(TWO)
    assert scene.crew.holds(1), "it may still begin with what it was started with"
    scene.processes["late"].tell(b"{}\n")
    await scene.until(lambda: not scene.crew.holds(1))
    assert scene.starting == set()


async def test_a_start_that_fails_holds_nothing(scene: Scene) -> None:
    scene.crew.hello("never")
    assert scene.crew.holds(1)
    scene.crew.gone("never")
    assert not scene.crew.holds(1)


async def test_a_new_child_begins_with_what_is_active(scene: Scene) -> None:
    await scene.reload(TWO)
    hello = msgspec.json.decode(scene.crew.hello("a"))
    assert hello["configuration"]["version"] == "v2"
