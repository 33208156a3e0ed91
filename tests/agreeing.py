"""A process that agrees with others on how targets stand: here, or as one of its own.

`python -m tests.agreeing FOLDER PART` does as its input says, a word a line (`fails`, `takes` a
trial's place, `state`), answers each with a line, and ends where the input does.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from extproc.agreement import Agreement
from extproc.child import SystemClock
from extproc.config.schema import Breaker, Routing, Settings
from extproc.model.call import Failure, Target, Tried
from extproc.routing.breaker import State
from extproc.telemetry import Metrics
from extproc.telemetry.log import Log
from tests.kit import settings

KEY = "acme/gpt-4o"
CLOCK = SystemClock()


def terms(**breaker: float) -> Settings:
    return settings(routing=Routing(breaker=Breaker(**{"failures": 2, **breaker})))


class Process:
    """`terms` are the same for all of a folder."""

    def __init__(self, folder: Path, part: str) -> None:
        self.log_path = folder / f"{part}.log"
        self.numbers = folder / "numbers"
        fd = os.open(self.log_path, os.O_WRONLY | os.O_CREAT, 0o600)
        self.log = Log(fd, part, "info", "json", CLOCK)
        wanted = terms(open=float(os.environ.get("OPEN", "15")))
        place = folder / "standing"
        self.agreement = Agreement(
            place, part, wanted, CLOCK, self.log, Metrics(self.numbers, part)
        )
        self.health = self.agreement.health

    def open(self) -> Process:
        self.agreement.open()
        self.agreement.start()
        return self

    def fails(self, key: str = KEY, times: int = 2) -> None:
        for _ in range(times):
            self._ended(key, Failure.SERVER_ERROR)

    def limited(self, retry_after: float) -> None:
        self._ended(KEY, Failure.RATE_LIMIT, retry_after)

    def _ended(self, key: str, failure: Failure, retry_after: float | None = None) -> None:
        provider, _, model = key.partition("/")
        target = Target(provider, model, "openai_chat")
        self.health.begun(key)
        now = CLOCK.monotonic()
        tried = Tried(1, target, failure, 500, "", now, now, retry_after=retry_after)
        self.health.ended(tried, 0)

    def state(self, key: str = KEY) -> State:
        return self.health.standing(key).state

    def lines(self, event: str) -> list[dict[str, object]]:
        """Of its log."""
        self.log.flush()
        found = map(json.loads, self.log_path.read_text().splitlines())
        return [line for line in found if line["event"] == event]


class Other:
    """A `Process` in a process of its own."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child

    def told(self, word: str) -> str:
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(f"{word}\n")
        self._child.stdin.flush()
        return self._child.stdout.readline().strip()


@contextmanager
def other(folder: Path, part: str) -> Iterator[Other]:
    """Ready when it is given; it has closed its agreement when the block is left."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.agreeing", str(folder), part],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        one = Other(child)
        assert one.told("state")
        yield one
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(10) == 0


async def main(folder: Path, part: str) -> None:
    process, loop = Process(folder, part).open(), asyncio.get_running_loop()
    while word := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        match word:
            case "fails":
                print(process.fails(), flush=True)
            case "takes":
                print(process.health.admits(KEY), flush=True)
            case _:
                print(process.state().value, flush=True)
    await process.agreement.close()
    assert not process.lines("defect")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
