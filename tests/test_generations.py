"""A worker that changes its configuration: what is new runs by the new one, what runs by its own."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from extproc import discover
from extproc.app import Generations
from extproc.child import Message, Prepare, Said, Use, configured
from extproc.config.schema import Routing, Settings
from extproc.credentials.moving import Moving
from extproc.flow.exchange import Machine
from extproc.flow.live import Live
from extproc.flow.snapshot import Snapshot, compile_snapshot
from extproc.telemetry.log import Log
from extproc.telemetry.metrics import Metrics
from extproc.wire.processor import Conversation
from tests.kit import FakeClock, ports, settings

ONE, TWO, THREE = (
    configured(n, f"v{n}", settings(routing=Routing(deadline=float(n)))) for n in (1, 2, 3)
)


@dataclass
class Supervisor:
    """The other end of the pipe: what the worker is told, and what it says."""

    told: list[Message] = field(default_factory=list[Message])
    said: list[Said] = field(default_factory=list[Said])
    configuration = ONE

    async def messages(self) -> AsyncIterator[Message]:
        while self.told:
            yield self.told.pop(0)

    def say(self, said: Said) -> None:
        self.said.append(said)

    def heard(self) -> list[tuple[str, int]]:
        words = [(one.what, one.serial) for one in self.said]
        self.said.clear()
        return words


class Worker:
    def __init__(self, folder: Path) -> None:
        clock = FakeClock()
        self.path = folder / "log"
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT)
        self.log = Log(fd, "worker-1", "info", "json", clock)
        self.supervisor = Supervisor()
        self.unable = False
        credentials = Moving(discover.registry().credential)
        machine = Machine(self.compiled(settings()), Live(1 << 20), clock, self.log)
        self.configured: list[float | None] = []
        self.generations = Generations(
            self.supervisor,
            machine,
            self.compiled,
            credentials,
            Metrics(None, "w"),
            self.log,
            lambda wanted: self.configured.append(wanted.routing.deadline),
        )

    def compiled(self, wanted: Settings) -> Snapshot:
        if self.unable:
            raise ValueError("hunter2")
        return compile_snapshot(wanted, discover.registry(), b"s" * 32, ports())

    async def told(self, *messages: Message) -> list[tuple[str, int]]:
        self.supervisor.told.extend(messages)
        await self.generations.follow()
        return [one for one in self.supervisor.heard() if one[0] != "leaving"]

    def begin(self) -> Conversation:
        return self.generations.current.converse("gw-1", "127.0.0.1")

    def versions(self) -> list[str]:
        """Of the exchanges that ended."""
        self.log.flush()
        lines = (json.loads(line) for line in self.path.read_text().splitlines())
        return [line["config"] for line in lines if line["event"] == "exchange"]


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path)


async def test_an_idle_worker_lets_go_at_once(worker: Worker) -> None:
    said = await worker.told(Prepare(configuration=TWO), Use(serial=2))
    assert said == [("prepared", 2), ("using", 2), ("released", 1)]
    assert worker.configured == [2.0]


async def test_what_runs_keeps_its_own(worker: Worker) -> None:
    first, second = worker.begin(), worker.begin()
    said = await worker.told(Prepare(configuration=TWO), Use(serial=2))
    assert said == [("prepared", 2), ("using", 2)]
    third = worker.begin()
    assert await worker.told(Prepare(configuration=THREE), Use(serial=3)) == [
        ("prepared", 3),
        ("using", 3),
    ]
    await first.close()
    assert worker.supervisor.heard() == []
    await third.close()
    assert worker.supervisor.heard() == [("released", 2)]
    await second.close()
    assert worker.supervisor.heard() == [("released", 1)]
    await worker.begin().close()
    assert worker.versions() == ["v1", "v2", "v1", "v3"]


async def test_what_cannot_be_made_is_refused_without_its_reason(worker: Worker) -> None:
    worker.unable = True
    worker.supervisor.told.append(Prepare(configuration=TWO))
    await worker.generations.follow()
    refused = worker.supervisor.said.pop(0)
    assert (refused.what, refused.serial, refused.reason) == ("refused", 2, "ValueError")
    assert await worker.told(Use(serial=2)) == []
    assert worker.generations.current.serial == 1
    assert worker.configured == []


async def test_only_what_was_prepared_last_is_used(worker: Worker) -> None:
    said = await worker.told(
        Prepare(configuration=TWO), Prepare(configuration=THREE), Use(serial=2), Use(serial=3)
    )
    assert said == [("prepared", 2), ("prepared", 3), ("using", 3), ("released", 1)]
