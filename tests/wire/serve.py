"""A native server in a process of its own, whose memory and end can be seen from outside.

Run as `python -m tests.wire.serve SOCKET [LIMIT=NUMBER ...]` with `message` or names of
`Limits`. Answers as `Talk` does. On SIGTERM it stops, and prints what became of its
exchanges as JSON: how many began, settled, and failed.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import PIPE, Popen

from extproc.wire.frames import Limits
from extproc.wire.native_server import NativeServer
from extproc.wire.processor import Conversation, MessageLimit
from tests.wire.talk import Talk, conversation

MESSAGE = 33 << 20
GRACE = 0.2


async def serve(socket: Path, limits: Mapping[str, int]) -> None:
    message = MessageLimit(limits.get("message", MESSAGE))
    told = {name: value for name, value in limits.items() if name != "message"}
    began = settled = 0
    problems: list[str] = []
    gate = asyncio.Event()

    class Counted(Talk):
        async def close(self) -> None:
            nonlocal settled
            await super().close()
            settled += 1

    def converse(call_id: str, peer: str) -> Conversation:
        nonlocal began
        began += 1
        return conversation(Counted(call_id, peer, gate))

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: problems.append(str(context)))
    server = NativeServer(socket, message, converse, replace(Limits(), **told))
    await server.start()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    print("ready", flush=True)
    await stopped.wait()
    gate.set()
    await server.stop(GRACE)
    print(json.dumps({"began": began, "settled": settled, "problems": problems[:3]}), flush=True)


@dataclass
class Process:
    """A running one."""

    socket: Path
    popen: Popen[str]

    @classmethod
    def start(cls, socket: Path, **limits: int) -> Process:
        words = [f"{name}={value}" for name, value in limits.items()]
        line = [sys.executable, "-m", "tests.wire.serve", str(socket), *words]
        popen = Popen(line, stdout=PIPE, text=True, cwd=Path(__file__).parents[2])
        assert popen.stdout is not None
        assert popen.stdout.readline() == "ready\n"
        return cls(socket, popen)

    def forget_peak(self) -> int:
        """The memory that it has now, in bytes; the peak is counted anew from here."""
        Path(f"/proc/{self.popen.pid}/clear_refs").write_text("5")
        return self._bytes("VmRSS")

    def peak(self) -> int:
        return self._bytes("VmHWM")

    def seconds(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def stop(self) -> Mapping[str, object]:
        """What it says at its end."""
        self.popen.send_signal(signal.SIGTERM)
        said, _ = self.popen.communicate(timeout=20)
        return json.loads(said)

    def kill(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        assert self.popen.stdout is not None
        self.popen.stdout.close()

    def _bytes(self, name: str) -> int:
        for line in Path(f"/proc/{self.popen.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name}: the server has ended")


if __name__ == "__main__":
    asked = dict(word.split("=") for word in sys.argv[2:])
    asyncio.run(serve(Path(sys.argv[1]), {name: int(value) for name, value in asked.items()}))
