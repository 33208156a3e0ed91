"""Probes, as the process that makes them has them: asked over a real unix socket, judged by real `Health`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from extproc.admin import probing
from extproc.admin.probing import LOST, NEVER, Prober, verdict
from extproc.config.names import PROBE_HEADER
from extproc.config.schema import ApiKey, Breaker, Probing, Provider, Routing, Secret, Settings
from extproc.model.call import Failure
from extproc.routing.breaker import State
from extproc.routing.health import Health
from extproc.routing.verdict import Verdict
from extproc.telemetry import Metrics
from extproc.telemetry.exposition import collect
from extproc.telemetry.log import Log
from tests.kit import FakeClock, provider

KEY = "acme/gpt-4o"
QUICK = Probing(interval=0.01, timeout=0.1, failures=2)


class Door:
    """The private listener: says `word` (empty: nothing) of each probe, and then a body as it is told:
    whole, `stalls`, `breaks`, or `endless`. `asked` are the tokens; `most` were there at a time."""

    def __init__(self) -> None:
        self.word = "ok"
        self.body = "whole"
        self.hangs = False
        self.asked: list[str] = []
        self.now = self.most = 0

    async def serve(self, read: asyncio.StreamReader, write: asyncio.StreamWriter) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            head = (await read.readuntil(b"\r\n\r\n")).decode()
            assert head.startswith("GET / HTTP/1.1\r\n")
            lines = dict(one.split(": ", 1) for one in head.lower().split("\r\n")[1:-2])
            self.asked.append(lines["x-sluice-shadow"])
            if self.hangs:
                await read.read()
            await self._answer(read, write)
        finally:
            self.now -= 1
            write.close()

    async def _answer(self, read: asyncio.StreamReader, write: asyncio.StreamWriter) -> None:
        said = f"{PROBE_HEADER}: {self.word}\r\n" if self.word else ""
        whole = self.body == "whole"
        length = f"content-length: {2 if whole else 1 << 30}\r\n"
        write.write(f"HTTP/1.1 200 OK\r\n{said}{length}\r\n{{}}".encode())
        if self.body == "stalls":
            await read.read()
        while self.body == "endless" and not write.is_closing():
            write.write(bytes(1 << 16))
            await write.drain()


class Scene:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.door = Door()
        self.log = folder / "log"
        self.health = Health(Routing(), self.clock)
        self.metrics = Metrics(folder / "numbers", "admin")
        self._fd = self.log.open("wb", buffering=0)
        self.prober = Prober(
            folder / "door",
            lambda provider, place: f"{provider}:{place}",
            self.health,
            self.metrics,
            Log(self._fd.fileno(), "admin", "info", "json", self.clock, gather=0.0),
            self.clock,
            draw=lambda: 0.0,
        )
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self.door.serve, self.folder / "door")

    async def close(self) -> None:
        await self.prober.close()
        if self._server is not None:
            self._server.close()
        self._fd.close()

    def of(self, *providers: Provider, **more: Any) -> None:
        self.prober.configure(Settings(providers={one.name: one for one in providers}, **more))

    def counted(self, result: str, name: str = "acme") -> float:
        text = collect(self.folder / "numbers", openmetrics=False, version="v")
        wanted = f'sluice_probes_total{{provider="{name}",result="{result}"}} '
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(wanted))

    def state(self, key: str = KEY) -> State:
        return self.health.standing(key).state


def acme(name: str = "acme", **changes: Any) -> Provider:
    return provider(name, **{"probing": QUICK, **changes})


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not what():
            await asyncio.sleep(0.002)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    await made.open()
    yield made
    await made.close()


async def test_one_that_answers_is_asked_again_and_again(scene: Scene) -> None:
    scene.of(acme(), acme("idle", probing=None), acme("lacking", unavailable="api_key: X"))
    assert scene.prober.probed("acme") == NEVER
    await until(lambda: scene.counted("ok") >= 3)
    assert {*scene.door.asked} == {"acme:acme"}
    assert scene.door.most == 1, "one at a time"
    found = scene.prober.probed("acme")
    assert (found.at, found.reason, found.since) == (scene.clock.unix, None, None)
    (told,) = scene.prober.told("acme")
    assert told == {"result": "ok", "at": scene.clock.unix, "failed_in_a_row": 0}
    assert scene.prober.told("idle") == []
    assert scene.health.view() == {}


async def test_one_that_fails_is_shut_and_let_in_again(scene: Scene) -> None:
    scene.health.begun("acme/asked-for")  # a name of a client's own
    scene.of(acme(), acme("other", probing=None))
    scene.door.word = "server_error"
    await until(lambda: scene.state() is State.OPEN)
    assert scene.state("acme/asked-for") is State.OPEN
    assert scene.state("other/gpt-4o") is State.CLOSED
    found = scene.prober.probed("acme")
    assert found.since == scene.clock.unix
    assert found.reason is not None
    assert found.reason.endswith("probes failed: server_error")
    scene.door.word = "ok"
    await until(lambda: scene.state() is State.CLOSED)
    assert scene.prober.probed("acme").reason is None
    said = scene.log.read_text()
    assert said.count('"probes fail"') == said.count('"probes succeed"') == 1


async def test_it_stays_open_until_the_next_probe_has_spoken(scene: Scene) -> None:
    slow = Probing(interval=30.0, timeout=10.0, failures=1)
    scene.door.word = "timeout"
    scene.of(acme(probing=slow), routing=Routing(breaker=Breaker(open=15.0)))
    await until(lambda: scene.state() is State.OPEN)
    assert scene.health.standing(KEY).until == 80.0
    scene.of(acme(probing=QUICK), routing=Routing(breaker=Breaker(open=200.0)))
    await until(lambda: scene.health.standing(KEY).until == 200.0)


@pytest.mark.parametrize(
    ("word", "body", "hangs", "result"),
    [
        ("", "whole", False, LOST),
        ("anything", "whole", False, LOST),
        ("rate_limit", "whole", False, "rate_limit"),
        ("gone", "whole", False, "gone"),
        ("ok", "whole", True, LOST),
        ("ok", "endless", False, "ok"),
    ],
)
async def test_what_says_nothing_against_it(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    word: str,
    body: str,
    hangs: bool,
    result: str,
) -> None:
    """That a probe got no answer at all is the gateway's own trouble: Envoy says when it was the provider's."""
    monkeypatch.setattr(probing, "GRACE", 0.02)
    scene.door.word, scene.door.body, scene.door.hangs = word, body, hangs
    scene.of(acme(probing=Probing(interval=0.01, timeout=0.05 if hangs else 5.0, failures=1)))
    await until(lambda: scene.counted(result) >= 2)
    assert scene.state() is State.CLOSED
    assert scene.prober.probed("acme").reason is None


@pytest.mark.parametrize(("body", "result"), [("stalls", "timeout"), ("breaks", "reset")])
async def test_a_reply_has_to_come_to_its_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, body: str, result: str
) -> None:
    monkeypatch.setattr(probing, "GRACE", 0.02)
    scene.door.body = body
    scene.of(acme(probing=Probing(interval=0.01, timeout=0.05, failures=2)))
    await until(lambda: scene.state() is State.OPEN)
    assert scene.counted(result) >= 2


async def test_without_a_door_nothing_is_said(tmp_path: Path) -> None:
    made = Scene(tmp_path)
    made.of(acme())
    await until(lambda: made.counted(LOST) >= 2)
    assert made.prober.probed("acme") == NEVER
    await made.open()
    await until(lambda: made.counted("ok") >= 1)
    await made.close()


async def test_one_of_several_keys_goes_alone(scene: Scene) -> None:
    several = (ApiKey(name="a", key=Secret("one")), ApiKey(name="b", key=Secret("two")))
    scene.door.word = "credential"
    scene.of(acme(api_key=None, api_keys=several))
    await until(lambda: scene.state("acme#b/gpt-4o") is State.OPEN)
    await until(lambda: scene.state("acme#a/gpt-4o") is State.OPEN)
    assert {*scene.door.asked} == {"acme:acme#a", "acme:acme#b"}
    assert scene.prober.probed("acme").reason is not None
    assert [one["key_name"] for one in scene.prober.told("acme")] == ["a", "b"]
    assert "one" not in repr(scene.prober.told("acme"))


async def test_a_change_begins_anew_and_the_rest_goes_on(scene: Scene) -> None:
    scene.door.word = "server_error"
    slow = Probing(interval=600.0, timeout=5.0, failures=2)
    scene.of(acme(), acme("stays", probing=slow), acme("goes"))
    await until(lambda: scene.prober.probed("acme").reason is not None)
    await until(lambda: scene.prober.probed("stays").at is not None)
    scene.door.word = "ok"
    scene.of(acme(timeout=7.0, probing=slow), acme("stays", probing=slow))
    assert scene.prober.probed("acme") == NEVER
    assert scene.prober.told("goes") == []
    assert scene.prober.probed("stays").at is not None
    # what the probes before the change shut, the one after it opens
    await until(lambda: scene.state() is State.CLOSED)
    asked = len(scene.door.asked)
    scene.of()
    assert scene.prober.told("acme") == []
    await asyncio.sleep(0)
    assert len(scene.door.asked) == asked


@pytest.mark.parametrize(
    ("result", "found"),
    [
        ("ok", Verdict.GOOD),
        (LOST, Verdict.NONE),
        *((one.value, Verdict.BAD) for one in (Failure.TIMEOUT, Failure.CREDENTIAL)),
        *((one.value, Verdict.NONE) for one in (Failure.RATE_LIMIT, Failure.OURS, Failure.GONE)),
    ],
)
def test_what_a_result_says(result: str, found: Verdict) -> None:
    assert verdict(result) is found
