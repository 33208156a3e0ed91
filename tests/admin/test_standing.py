"""How providers stand: real connections to small servers, real numbers in a folder."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from extproc.admin.probing import NEVER, Probed
from extproc.admin.standing import ALL_OPEN, ENOUGH, FORGET, Standing, Status, Watch, connect
from extproc.admin.targets import Targets
from extproc.config.schema import Probing, Provider
from extproc.model.call import Outcome
from extproc.routing.breaker import State
from extproc.telemetry import ExchangeRecord, Metrics
from tests.admin.kit_targets import seen
from tests.kit import FakeClock, provider, settings

UP, DOWN, UNKNOWN = Status.AVAILABLE, Status.UNAVAILABLE, Status.UNKNOWN


@dataclass
class Port:
    """A port of our own, where somebody listens or nobody does. `met` counts connections."""

    port: int = 0
    met: int = 0
    _server: asyncio.Server | None = None
    heard: list[bytes] = field(default_factory=list[bytes])

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met += 1
        self.heard.append(await reader.read())
        writer.close()


class Scene:
    """Providers, a clock that is told, and a worker's numbers."""

    def __init__(self, folder: Path, port: Port) -> None:
        self.clock = FakeClock()
        self.port = port
        self.folder = folder
        self.metrics = Metrics(folder, "worker-1")
        self.watch = Watch({}, folder, self.clock)

    def of(self, *providers: Provider) -> None:
        self.watch = Watch({one.name: one for one in providers}, self.folder, self.clock)

    def acme(self, **changes: Any) -> Provider:
        return provider(**{"endpoint": f"http://127.0.0.1:{self.port.port}/v1", **changes})

    def met(self, outcome: Outcome, status: int, times: int = 1, name: str = "acme") -> None:
        """Exchanges that ended like this."""
        record = ExchangeRecord("openai_chat", name, "m", outcome, status, 0.1, 0.0001)
        for _ in range(times):
            self.metrics.exchange(record)

    def good(self) -> None:
        self.met(Outcome.OK, 200)

    def bad(self, times: int) -> None:
        self.met(Outcome.PROVIDER_ERROR, 502, times)

    async def look(self, later: float = 5.0) -> Standing:
        self.clock.advance(later)
        await self.watch.look()
        return self.watch.standing("acme")


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    port = Port()
    await port.open()
    yield Scene(tmp_path, port)
    await port.close()


async def test_a_probe_sees_an_end_and_a_return(scene: Scene):
    scene.of(scene.acme())
    assert scene.watch.standing("acme") == Standing()
    assert await scene.look() == Standing(UP, scene.clock.unix)
    await scene.port.close()
    gone = await scene.look()
    assert gone == Standing(DOWN, scene.clock.unix, "connection refused", scene.clock.unix)
    later = await scene.look()
    assert (later.since, later.checked) == (gone.since, scene.clock.unix)
    await scene.port.open()
    assert await scene.look() == Standing(UP, scene.clock.unix)


async def test_a_probe_says_nothing(scene: Scene):
    """Not a byte, so not a credential; and one connection for all who share a host."""
    scene.of(scene.acme(), scene.acme(name="other"))
    await scene.look()
    async with asyncio.timeout(5):
        while not scene.port.heard:
            await asyncio.sleep(0.001)
    assert (scene.port.met, scene.port.heard) == (1, [b""])


@pytest.mark.parametrize(
    "changes", [{"probe": False}, {"endpoint": "https://127.0.0.1/v1", "proxy": "127.0.0.1:9"}]
)
async def test_without_a_probe_only_exchanges_tell(scene: Scene, changes: dict[str, Any]):
    scene.of(scene.acme(**changes))
    assert await scene.look() == Standing()
    scene.good()
    known = await scene.look()
    assert known == Standing(UP, scene.clock.unix)
    assert await scene.look() == known
    scene.bad(ENOUGH)
    failed = await scene.look()
    assert failed.status is DOWN
    assert failed.reason == "none of its last 3 answers was a good one"
    forgotten = await scene.look(FORGET)
    assert forgotten == Standing(checked=failed.checked)
    assert scene.port.met == 0


async def test_a_host_that_connects_and_only_fails_is_unavailable(scene: Scene):
    scene.of(scene.acme())
    await scene.look()
    scene.bad(ENOUGH - 1)
    assert (await scene.look()).status is UP
    scene.bad(1)
    failed = await scene.look()
    assert (failed.status, failed.since) == (DOWN, scene.clock.unix)
    scene.bad(1)
    scene.good()
    assert (await scene.look()).status is UP
    scene.bad(ENOUGH)
    assert (await scene.look()).status is DOWN
    assert (await scene.look(FORGET)).status is UP


async def test_failures_without_a_connection_are_forgotten_with_one(scene: Scene):
    scene.of(scene.acme())
    await scene.look()
    await scene.port.close()
    scene.bad(2 * ENOUGH)
    assert (await scene.look()).reason == "connection refused"
    await scene.port.open()
    assert (await scene.look()).status is UP


async def test_numbers_from_before_say_nothing(scene: Scene):
    """As an admin process that is started again finds them."""
    scene.of(scene.acme(probe=False))
    scene.good()
    scene.bad(ENOUGH)
    assert await scene.look() == Standing()


async def test_numbers_that_cannot_be_read(scene: Scene):
    scene.of(scene.acme())
    (scene.folder / "counter_worker-9.db").mkdir()
    with pytest.raises(OSError, match="directory"):
        await scene.look()


async def test_numbers_of_others_are_not_its_own(scene: Scene):
    scene.of(scene.acme(probe=False), scene.acme(name="acme.eu", probe=False))
    await scene.look()
    scene.met(Outcome.OK, 200, name="acme.eu")
    assert await scene.look() == Standing()
    assert scene.watch.standing("acme.eu").status is UP


@pytest.mark.parametrize(
    ("outcome", "status", "expected"),
    [
        (Outcome.OK, 200, UP),
        (Outcome.PROVIDER_ERROR, 429, UP),
        (Outcome.PROVIDER_ERROR, 503, DOWN),
        (Outcome.BROKEN, 200, DOWN),
        (Outcome.ABORTED, 200, UNKNOWN),
        (Outcome.FAILED, 500, UNKNOWN),
        (Outcome.REFUSED, 403, UNKNOWN),
    ],
)
async def test_what_an_exchange_tells(
    scene: Scene, outcome: Outcome, status: int, expected: Status
):
    scene.of(scene.acme(probe=False))
    await scene.look()
    scene.met(outcome, status, ENOUGH)
    assert (await scene.look()).status is expected


@pytest.mark.parametrize(
    ("lacks", "reason"),
    [
        ("api_key: ACME_KEY is not set", "no credential"),
        ("api_keys[0]: A is not set; api_keys[1].key: B is not set", "no credential"),
        ("project: not given; api_key: X is not set", "project: not given; api_key: X is not set"),
        ("dialect x is not built in yet", "dialect x is not built in yet"),
    ],
)
async def test_what_the_configuration_lacks(scene: Scene, lacks: str, reason: str):
    scene.of(scene.acme(unavailable=lacks))
    started = scene.clock.unix
    found = await scene.look()
    assert found == Standing(DOWN, scene.clock.unix, reason, started)
    assert scene.port.met == 0


async def test_a_name_without_an_address():
    """One that is too long to be asked for, so that nobody is asked."""
    assert await connect(f"{'a' * 70}.example", 443) == "its host's name has no address"


async def test_a_host_that_says_nothing():
    """Its backlog is full, so that the handshake waits."""
    with socket.socket() as silent, socket.socket() as first:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        first.connect(silent.getsockname())
        async with asyncio.timeout(8):
            assert await connect(*silent.getsockname()) == "no connection within 2 s"


async def test_what_is_known_outlives_another_configuration(scene: Scene) -> None:
    near = provider("near", endpoint=f"http://127.0.0.1:{scene.port.port}/v1")
    far = provider("far", endpoint=near.endpoint)
    scene.of(near, far)
    await scene.watch.look()
    assert scene.watch.standing("near").status is UP
    moved = provider("far", endpoint="http://127.0.0.1:1/v1")
    scene.watch.configure(
        {"near": provider("near", endpoint=near.endpoint, models=("*",)), "far": moved}
    )
    assert scene.watch.standing("near").status is UP
    assert scene.watch.standing("far").status is UNKNOWN
    assert set(scene.watch.providers) == {"near", "far"}
    scene.watch.configure({"far": moved})
    with pytest.raises(KeyError):
        scene.watch.standing("near")


async def test_one_whose_every_target_is_open_is_unavailable(scene: Scene) -> None:
    known = {"acme/gpt-4o": seen(State.OPEN, since=7.0), "other/m": seen(State.CLOSED)}
    targets = Targets(lambda: known)
    acme = scene.acme(models=("gpt-4o", "gpt-4o-mini", "gpt-*"))
    targets.configure(settings(providers={"acme": acme}, models={}))
    scene.watch = Watch({"acme": acme}, scene.folder, scene.clock, targets)
    assert (await scene.look()).status is UP
    known["acme/gpt-4o-mini"] = seen(State.OPEN, since=9.0)
    found = scene.watch.standing("acme")
    assert found == Standing(DOWN, scene.clock.unix, ALL_OPEN, 9.0)
    for state in (State.HALF_OPEN, State.COOLING, State.CLOSED):
        known["acme/gpt-4o-mini"] = seen(state)
        assert scene.watch.standing("acme").status is UP
    known["acme/gpt-4o-mini"] = seen(State.OPEN)
    await scene.port.close()
    assert (await scene.look()).reason == "connection refused"


async def test_where_probes_ask_it_is_they_who_tell(scene: Scene):
    said = NEVER

    def probed(_: str) -> Probed:
        return said

    one = scene.acme(probing=Probing(), proxy="127.0.0.1:9")
    scene.watch = Watch({"acme": one}, scene.folder, scene.clock, probed=probed)
    await scene.port.close()
    assert await scene.look() == Standing()
    said = Probed(at=5.0)
    assert await scene.look() == Standing(UP, scene.clock.unix)
    said = Probed(6.0, "its last 2 probes failed: timeout", 3.0)
    gone = Standing(DOWN, 6.0, "its last 2 probes failed: timeout", 3.0)
    assert scene.watch.standing("acme") == gone, "known at once"
    assert (await scene.look()).since == 3.0
    said = Probed(at=7.0)
    assert await scene.look() == Standing(UP, scene.clock.unix)
    scene.bad(ENOUGH)
    assert (await scene.look()).status is DOWN, "one that lists its models may answer no call"
    assert scene.port.met == 0
