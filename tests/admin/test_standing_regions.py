"""How a provider with several regions stands, and its targets: it is there as long as one region is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from extproc.admin.providers import listed
from extproc.admin.standing import Standing, Status, Watch
from extproc.admin.targets import Targets
from extproc.config.schema import ApiKey, Provider, Region, Secret
from extproc.routing.breaker import State
from extproc.telemetry import Metrics
from tests.admin.kit_targets import seen
from tests.kit import FakeClock, provider, settings

UP, DOWN = Status.AVAILABLE, Status.UNAVAILABLE


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[int, asyncio.Server]]:
    async def meet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(meet, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], server


def acme(*ports: int, proxy: str | None = None) -> Provider:
    places = [
        Region(name=f"r{at}", endpoint=f"http://127.0.0.1:{port}/v1", proxy=proxy)
        for at, port in enumerate(ports)
    ]
    return provider(regions=tuple(places), endpoint=places[0].endpoint)


def watching(folder: Path, one: Provider) -> Watch:
    Metrics(folder, "worker-1")
    return Watch({"acme": one}, folder, FakeClock())


async def standing(watch: Watch) -> Standing:
    await watch.look()
    return watch.standing("acme")


async def gone(server: asyncio.Server) -> None:
    server.close()
    await server.wait_closed()


async def test_it_is_there_as_long_as_one_region_is(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        (one, first), (two, second) = [
            await stack.enter_async_context(listening()) for _ in range(2)
        ]
        watch = watching(tmp_path, acme(one, two))
        assert (await standing(watch)).status is UP
        await gone(first)
        assert (await standing(watch)).status is UP
        await gone(second)
        found = await standing(watch)
        assert (found.status, found.reason) == (DOWN, "connection refused")
        watch.configure({"acme": acme(one, two)})
        assert watch.standing("acme") == found, "the same hosts"
        watch.configure({"acme": acme(two, one)})
        assert watch.standing("acme") == Standing()


async def test_one_behind_a_proxy_is_not_probed(tmp_path: Path) -> None:
    assert await standing(watching(tmp_path, acme(9, 9, proxy="127.0.0.1:9"))) == Standing()


def test_detail_has_each_region() -> None:
    one = acme(1, 2)
    short = listed(one, Standing(), detail=False)
    assert "regions" not in short
    told = listed(one, Standing(), detail=True)
    assert told["regions"] == [
        {"name": f"r{at}", "endpoint": url, "region": None, "weight": 1.0, "lacks": None}
        for at, url in enumerate(("http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"))
    ]
    assert "regions" not in listed(provider(), Standing(), detail=True)


# --- its targets

KEYS = tuple(ApiKey(name=name, key=Secret(f"secret-{name}")) for name in "xy")
PLACES = (
    Region(name="eu", endpoint="https://eu.example", api_keys=KEYS),
    Region(name="us", endpoint="https://us.example", api_key=Secret("secret-us")),
    Region(name="gone", endpoint="https://gone.example", unavailable="GONE is not set"),
)


def targets(known: Mapping[str, State]) -> Targets:
    made = Targets(lambda: {key: seen(state, since=3.0) for key, state in known.items()})
    one = provider(models=("gpt-4o", "*"), regions=PLACES)
    made.configure(settings(providers={"acme": one}, models={}))
    return made


def test_each_region_and_key_is_told_of() -> None:
    told = targets({"acme@us/gpt-4o": State.OPEN, "acme@us/made-up": State.CLOSED}).told()
    assert {*told} == {"acme"}
    rows = [
        (one["region"], one.get("key_name"), one["model"], one["state"]) for one in told["acme"]
    ]
    assert rows == [
        ("eu", "x", "gpt-4o", "unknown"),
        ("eu", "y", "gpt-4o", "unknown"),
        ("us", None, "gpt-4o", "open"),
        ("us", None, "made-up", "closed"),
    ]


def test_numbers_say_how_many_and_not_which() -> None:
    counted = targets({"acme@us/gpt-4o": State.OPEN, "acme@eu#x/made-up": State.CLOSED}).counted()
    assert {key: number for key, number in counted.items() if number} == {
        ("acme", "gpt-4o", "unknown"): 2,
        ("acme", "gpt-4o", "open"): 1,
        ("acme", "*", "closed"): 1,
    }


@pytest.mark.parametrize(
    ("open_", "since"), [(["us"], None), (["us", "eu#x"], None), (["us", "eu#x", "eu#y"], 3.0)]
)
def test_it_is_shut_when_all_regions_are(open_: list[str], since: float | None) -> None:
    known = {f"acme@{one}/gpt-4o": State.OPEN for one in open_}
    assert targets(known).shut("acme") == since
