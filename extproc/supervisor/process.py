"""One running process: started, heard, told, ended.

Every child has a session of its own, so that a terminal's Ctrl-C reaches the
supervisor alone. Start from the main thread: some children end with the thread
that started them. It never restarts anything; that is the keeper's part.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a process. `env` None: as ours.

    `hello` is written to its stdin, which then stays open; None gives it no
    stdin. `heard` names the stream that we read: stdout, stderr or neither.
    """

    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    hello: bytes | None = None
    heard: str | None = None


class Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, command: Command) -> Process:
        """Raises OSError when the program cannot be started."""
        process = await asyncio.create_subprocess_exec(
            *command.argv,
            env=command.env,
            stdin=PIPE if command.hello is not None else DEVNULL,
            stdout=PIPE if command.heard == "stdout" else DEVNULL,
            stderr=PIPE if command.heard == "stderr" else None,
            start_new_session=True,
            limit=64 * 1024,
        )
        started = cls(process)
        if command.hello is not None:
            started.tell(command.hello)
        return started

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    def tell(self, line: bytes) -> None:
        """Writes to its stdin; a process that is gone hears nothing."""
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(line)

    async def line(self) -> bytes:
        """The next line of the stream we read, without its end; empty at the stream's end.

        A line over 64 KiB comes in pieces.
        """
        stream = self._process.stdout or self._process.stderr
        if stream is None:
            return b""
        try:
            return await stream.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            return end.partial
        except asyncio.LimitOverrunError as long:
            return await stream.readexactly(max(1, long.consumed))

    async def wait(self) -> int:
        """Its exit status; negative for a signal."""
        status = await self._process.wait()
        if self._process.stdin is not None:
            # What it did not read any more is lost with it: nobody else asks for that error.
            self._process.stdin.close()
            with contextlib.suppress(OSError):
                await self._process.stdin.wait_closed()
        return status

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def end(self, grace: float) -> None:
        """SIGTERM, and SIGKILL for what still runs `grace` seconds later."""
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self.wait()
        if self.running:
            self.signal(signal.SIGKILL)
            await self.wait()


def ending(status: int) -> str:
    """An exit status in words: `exit 1`, `SIGKILL`."""
    if status >= 0:
        return f"exit {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
