"""Credentials over a reload: what is the same is fetched once, what is gone is fetched no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from extproc.config.schema import Provider, Region, Secret
from extproc.credentials.bearer import Token, bearer
from extproc.credentials.moving import Moving
from extproc.credentials.refresh import Refreshing, Surroundings
from extproc.model.ports import Credential
from tests.kit import FakeClock, provider


@dataclass
class World:
    """Counts fetches and loops, by provider."""

    fetched: list[str] = field(default_factory=list[str])
    resting: int = 0

    def __post_init__(self) -> None:
        self.moving = Moving(self.build)

    def build(self, one: Provider) -> Credential:
        async def fetch() -> Token:
            self.fetched.append(one.name)
            return Token("t", None)

        return Refreshing(one.name, fetch, bearer, Surroundings(FakeClock(), self.rest, lambda: 0))

    async def rest(self, _: float) -> None:
        self.resting += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.resting -= 1


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.moving.close()
    assert made.resting == 0


async def until_resting(world: World, number: int) -> None:
    async with asyncio.timeout(5):
        while world.resting != number:
            await asyncio.sleep(0)


async def test_what_stays_is_not_fetched_again(world: World) -> None:
    a, b = world.moving.of(provider("a")), world.moving.of(provider("b"))
    await world.moving.start([a, b])
    assert sorted(world.fetched) == ["a", "b"]
    again = world.moving.of(provider("a", models=("*",), timeout=1.0, model="m"))
    assert again is a
    await world.moving.start([again])
    assert sorted(world.fetched) == ["a", "b"]
    await until_resting(world, 2)
    world.moving.keep([again])
    await until_resting(world, 1)
    assert world.moving.of(provider("b")) is not b


async def test_another_secret_or_account_is_another_credential(world: World) -> None:
    old = world.moving.of(provider("a"))
    new = world.moving.of(provider("a", api_key=Secret("another")))
    assert new is not old
    await world.moving.start([old])
    await world.moving.start([new])
    await until_resting(world, 2)
    world.moving.keep([new])
    await until_resting(world, 1)
    assert world.moving.of(provider("a", api_key=Secret("another"))) is new


async def test_each_key_of_a_provider_keeps_its_own(world: World) -> None:
    one, other = (provider("a", api_key=Secret(key)) for key in ("k1", "k2"))
    made = [world.moving.of(one), world.moving.of(other)]
    assert made[0] is not made[1]
    world.moving.keep(made)
    assert [world.moving.of(one), world.moving.of(other)] == made
    world.moving.keep(made[1:])
    assert world.moving.of(one) is not made[0]
    assert world.moving.of(other) is made[1]


async def test_each_region_of_a_provider_keeps_its_own(world: World) -> None:
    places = [Region(name=name, endpoint=f"https://{name}.example") for name in ("eu", "us")]
    made = [
        world.moving.of(one)
        for one in provider("a", api_key=None, regions=tuple(places)).by_region()
    ]
    assert made[0] is not made[1]
    world.moving.keep(made)
    heavier = [replace(one, weight=9.0) for one in places]
    again = provider("a", api_key=None, regions=tuple(heavier)).by_region()
    assert [world.moving.of(one) for one in again] == made, "a weight signs nothing"
    moved = [places[0], replace(places[1], endpoint="https://other.example")]
    again = provider("a", api_key=None, regions=tuple(moved)).by_region()
    assert [world.moving.of(one) is old for one, old in zip(again, made, strict=True)] == [
        True,
        False,
    ]
