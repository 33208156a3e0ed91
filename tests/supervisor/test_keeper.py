"""A slot is kept filled, with real small processes; delays come from a clock that stands still."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.supervisor import leash
from extproc.supervisor.keeper import Keeper, Part
from extproc.supervisor.parts import said_ready
from extproc.supervisor.process import Command, Process, ending
from extproc.supervisor.table import Slot
from extproc.telemetry.log import Log
from tests.kit import FakeClock

READY_THEN = "import sys, time; print('ready', flush=True); "
SLEEPS = READY_THEN + "time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS


def part(code: str) -> Part:
    command = Command((sys.executable, "-I", "-S", "-c", code), hello=b"", heard="stdout")
    return Part(lambda _: command, said_ready)


class Watched:
    """A keeper, and how often it spoke."""

    def __init__(self, what: Part, log_fd: int) -> None:
        clock = FakeClock()
        self.news = 0
        self.slot = Slot("thing")
        log = Log(log_fd, "test", "debug", "json", clock)
        self.keeper = Keeper(self.slot, what, self._changed, log, clock)

    def _changed(self) -> None:
        self.news += 1


@pytest.fixture
def watched(tmp_path: Path) -> Callable[[Part], Watched]:
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    return lambda what: Watched(what, fd)


async def eventually(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


async def test_a_killed_process_is_started_again(watched: Callable[[Part], Watched]) -> None:
    one = watched(part(SLEEPS))
    one.keeper.start()
    await eventually(lambda: one.slot.ready)
    first = one.slot.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: one.slot.generation == 2 and one.slot.ready)
    assert one.slot.pid != first
    assert one.news == 3  # ready, dead, ready
    await one.keeper.end(5.0)
    assert not alive(first)
    assert one.slot.generation == 2


async def test_what_dies_at_once_is_started_ever_more_slowly(
    watched: Callable[[Part], Watched],
) -> None:
    one = watched(part("raise SystemExit(3)"))
    one.keeper.start()
    await eventually(lambda: one.slot.deaths >= 3)
    assert not one.slot.ready
    await one.keeper.end(0.0)
    assert one.slot.generation < 6


async def test_a_program_that_is_not_there(watched: Callable[[Part], Watched]) -> None:
    one = watched(Part(lambda _: Command(("/no/such/program",)), said_ready))
    one.keeper.start()
    await eventually(lambda: one.slot.deaths >= 3)
    await one.keeper.end(0.0)


async def test_a_retired_process_stays_dead(watched: Callable[[Part], Watched]) -> None:
    one = watched(part(SLEEPS))
    one.keeper.start()
    await eventually(lambda: one.slot.ready)
    one.keeper.retire()
    assert one.slot.pid is not None
    os.kill(one.slot.pid, signal.SIGKILL)
    await one.keeper.end(1.0)
    assert one.slot.generation == 1


async def test_who_ignores_sigterm_is_killed(watched: Callable[[Part], Watched]) -> None:
    one = watched(part(STUBBORN))
    one.keeper.start()
    await eventually(lambda: one.slot.ready)
    pid = one.slot.pid
    assert pid is not None
    await one.keeper.end(0.05)
    assert not alive(pid)


async def test_an_end_before_anything_was_started(watched: Callable[[Part], Watched]) -> None:
    one = watched(part(SLEEPS))
    one.keeper.start()
    await one.keeper.end(0.0)
    assert not one.slot.ready
    assert one.slot.pid is None


async def test_a_line_that_is_too_long_comes_in_pieces() -> None:
    code = "import sys; sys.stdout.write('x' * 200_000 + '\\nend\\n')"
    process = await Process.start(Command((sys.executable, "-I", "-c", code), heard="stdout"))
    whole = b""
    while line := await process.line():
        whole += line
    assert whole == b"x" * 200_000 + b"\nend\n"
    assert await process.wait() == 0


def test_endings_in_words() -> None:
    assert [ending(status) for status in (0, 3, -9, -200)] == [
        "exit 0",
        "exit 3",
        "SIGKILL",
        "signal 200",
    ]


def test_leash_pulls_a_program_after_its_parent() -> None:
    """A parent that starts a leashed `sleep` and is killed."""
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-I', '-S', sys.argv[1], str(os.getpid()),"
        " sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    leash_file = leash.__file__
    assert leash_file is not None
    with subprocess.Popen(
        [sys.executable, "-c", code, leash_file], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        said = sorted(int(parent.stdout.readline()) for _ in range(2))
        child = said[1]
        assert alive(child)
        parent.kill()
    deadline = time.monotonic() + 5
    while alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_leash_refuses_when_the_parent_is_gone_already() -> None:
    leash_file = leash.__file__
    assert leash_file is not None
    argv = [sys.executable, "-I", "-S", leash_file, "1", "/bin/echo", "never"]
    done = subprocess.run(argv, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stdout == b""
