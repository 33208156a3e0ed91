"""Processes that agree on how targets stand, through a real file, with real tasks and processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from extproc.routing.breaker import State
from extproc.telemetry import collect
from tests.agreeing import KEY, Process, other, terms
from tests.kit import settings


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Process]:
    process = Process(tmp_path, "worker-1").open()
    yield process
    await process.agreement.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.01)


async def test_what_another_finds_is_known_here_and_told_there(
    one: Process, tmp_path: Path
) -> None:
    with other(tmp_path, "worker-2") as two:
        two.told("fails")
        await until(lambda: one.state() is State.OPEN)
    assert one.lines("breaker open") == []
    seen = one.health.view()[KEY]
    assert (seen.attempts, seen.failed) == (2, 2), "what opened it is still seen here"
    (line,) = Process(tmp_path, "worker-2").lines("breaker open")
    told = line["level"], line["target"], line["reason"]
    assert told == ("warning", KEY, "2 failures in a row")


async def test_one_that_comes_later_knows_before_it_is_asked(one: Process, tmp_path: Path) -> None:
    one.fails()
    one.health.sync()
    with other(tmp_path, "worker-2") as later:
        assert later.told("state") == "open"


async def test_turns_are_counted_and_names_that_clients_make_up_are_one(one: Process) -> None:
    one.limited(9.0)
    one.fails("acme/made-up")
    (line,) = one.lines("target cools")
    assert (line["target"], line["reason"]) == (KEY, "left alone for 9 s")
    text = collect(one.numbers)
    for model, state in (("gpt-4o", "cooling"), ("*", "open")):
        labels = f'model="{model}",provider="acme",state="{state}"'
        assert f"sluice_target_turns_total{{{labels}}} 1.0" in text


async def test_another_configuration(one: Process) -> None:
    one.agreement.configure(settings(routing=terms(failures=3).routing, providers={}, models={}))
    one.fails()
    assert one.state() is State.CLOSED
    one.fails(times=1)
    assert one.state() is State.OPEN
    assert 'model="*"' in collect(one.numbers), "it names the target no more"


async def test_where_nothing_can_be_shared_it_says_so_once_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "standing").write_text("in its place")
    alone = Process(tmp_path, "worker-1").open()
    alone.fails()
    assert alone.state() is State.OPEN
    for _ in range(3):
        alone.health.sync()
    (line,) = alone.lines("how targets stand is not shared")
    assert line["level"] == "warning"
    await alone.agreement.close()


async def test_who_leaves_gives_its_trial_s_place_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPEN", "0.01")
    one = Process(tmp_path, "worker-1").open()
    with other(tmp_path, "worker-2") as two:
        two.told("fails")
        await until(lambda: one.state() is State.HALF_OPEN)
        assert two.told("takes") == "True"
        assert not one.health.admits(KEY)
    assert one.health.admits(KEY)
    await one.agreement.close()
    assert one.lines("defect") == []
