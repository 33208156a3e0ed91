"""The refreshing credential: on time, once, never on the path, and honest when it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

import httpx
import pytest

from extproc.credentials.asking import FetchFailed
from extproc.credentials.aws_sigv4 import AwsKeys, Scope, SigV4
from extproc.credentials.azure import ClientCredentials
from extproc.credentials.bearer import Token, bearer
from extproc.credentials.refresh import CODE, Policy, Refreshing
from extproc.model.errors import Overloaded
from extproc.model.ports import Signable
from tests.credentials.kit_credentials import Asked, Play, Says, Silence, Time, client, endpoint
from tests.kit import FakeClock

REQUEST = Signable("POST", "host", "/", {"content-type": "application/json"}, b"{}")
SECRET = "client-secret-value"


@dataclass
class Bank:
    """Gives tokens numbered from 1 that live `life` seconds, or fails as it is told."""

    clock: FakeClock
    life: float | None = 3600.0
    broken: BaseException | None = None
    calls: int = 0
    times: list[float] = field(default_factory=list)
    gate: asyncio.Event | None = None

    async def fetch(self) -> Token:
        self.calls += 1
        self.times.append(self.clock.now)
        number = self.calls
        if self.gate is not None:
            await self.gate.wait()
        if self.broken is not None:
            raise self.broken
        return Token(str(number), None if self.life is None else self.clock.unix + self.life)


@dataclass
class Scene:
    time: Time
    bank: Bank
    heard: list[tuple[str, float]]
    credential: Refreshing[Token]

    def token(self) -> str:
        return self.credential.headers(REQUEST)["authorization"].removeprefix("Bearer ")

    def refusal(self) -> Overloaded:
        with pytest.raises(Overloaded) as refused:
            self.credential.headers(REQUEST)
        return refused.value


def scene(policy: Policy = Policy(), chance: float = 0.0) -> Scene:
    time = Time(chance=chance)
    bank = Bank(time.clock)
    heard: list[tuple[str, float]] = []
    credential = Refreshing(
        "acme", bank.fetch, bearer, time.around(), policy, lambda why, pause: heard.append((why, pause))
    )  # fmt: skip
    return Scene(time, bank, heard, credential)


@contextlib.asynccontextmanager
async def running(credential: Refreshing[Token]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(credential.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_before_the_first_fetch_a_request_is_refused_and_told_why() -> None:
    refused = scene().refusal()
    assert refused.status == 503
    assert refused.code == CODE
    assert refused.message == (
        "credential of provider acme could not be refreshed: a new one is being fetched"
    )


async def test_a_credential_is_replaced_before_its_end() -> None:
    it = scene()
    async with running(it.credential):
        await it.time.quiet()
        assert it.token() == "1"
        await it.time.advance(3600 - 5 - 300 - 1)
        assert (it.token(), it.bank.calls) == ("1", 1)
        await it.time.advance(1)
        await it.time.quiet()
        assert (it.token(), it.bank.calls) == ("2", 2)
        for _ in range(200):
            await it.time.advance(60)
            it.token()
    assert it.heard == []


async def test_chance_spreads_the_fetches_of_many_workers() -> None:
    it = scene(chance=0.5)
    async with running(it.credential):
        await it.time.quiet()
        await it.time.advance(3600)
    assert it.bank.times[1] - it.bank.times[0] == 3600 - 5 - 300 * 1.1


@pytest.mark.parametrize("life", [10.0, 61.0, 299.0])
async def test_a_short_life_never_leaves_a_gap(life: float) -> None:
    it = scene(chance=0.999)
    it.bank.life = life
    async with running(it.credential):
        await it.time.quiet()
        for _ in range(200):
            await it.time.advance(1)
            await it.time.quiet()
            it.token()
    assert it.bank.calls <= 210


async def test_a_credential_without_end_is_fetched_once() -> None:
    it = scene()
    it.bank.life = None
    async with running(it.credential):
        await it.time.quiet()
        await it.time.advance(100_000)
        assert it.token() == "1"
    assert it.bank.calls == 1


@pytest.mark.parametrize("life", [-10.0, 0.0, 5.0, 5.9])
async def test_what_is_over_at_once_is_a_failure_and_asks_no_storm(life: float) -> None:
    it = scene()
    it.bank.life = life
    async with running(it.credential):
        await it.time.quiet()
        assert "the answer had already expired" in it.refusal().message
        await it.time.advance(600)
    assert it.bank.calls < 40


async def test_pauses_double_up_to_the_longest_and_a_success_forgets_them() -> None:
    it = scene(chance=0.999_999)
    it.bank.broken = FetchFailed("the endpoint is down")
    async with running(it.credential):
        await it.time.quiet()
        await it.time.advance(200)
        assert [round(pause) for _, pause in it.heard] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
        assert {why for why, _ in it.heard} == {"the endpoint is down"}
        assert it.credential.status.failures == 9
        it.bank.broken = None
        await it.time.advance(60)
        await it.time.quiet()
        assert it.credential.status.failures == 0
        assert it.credential.status.reason is None
        it.token()
        it.bank.broken = FetchFailed("down again")
        await it.time.advance(3600)
        assert round(it.heard[9][1]) == 1


async def test_a_failing_refresh_keeps_what_is_good_until_its_end() -> None:
    it = scene()
    async with running(it.credential):
        await it.time.quiet()
        it.bank.broken = FetchFailed("the endpoint is down")
        await it.time.advance(3594)
        assert it.token() == "1"
        assert len(it.heard) > 5
        await it.time.advance(1)
        refused = it.refusal()
        assert refused.message == (
            "credential of provider acme could not be refreshed: the endpoint is down"
        )
        assert refused.retry_after is not None
        assert 1 <= refused.retry_after <= 60
        status = it.credential.status
        assert not status.usable
        assert status.reason == "the endpoint is down"
        it.bank.broken = None
        await it.time.advance(60)
        await it.time.quiet()
        assert it.credential.status.usable
        it.token()


async def test_many_who_ask_share_one_fetch() -> None:
    it = scene()
    it.bank.gate = asyncio.Event()
    callers = [asyncio.create_task(it.credential.refresh()) for _ in range(50)]
    while it.bank.calls == 0:
        await asyncio.sleep(0)
    callers[0].cancel()
    it.bank.gate.set()
    done = await asyncio.gather(*callers, return_exceptions=True)
    assert sum(isinstance(result, asyncio.CancelledError) for result in done) == 1
    assert (it.token(), it.bank.calls) == ("1", 1)
    await it.credential.refresh()
    assert (it.token(), it.bank.calls) == ("2", 2)


async def test_a_fetch_that_hangs_is_given_up() -> None:
    it = scene(Policy(patience=0.02))
    it.bank.gate = asyncio.Event()
    await it.credential.refresh()
    assert it.credential.status.reason == "no answer in time"


async def test_a_defect_of_a_source_does_not_end_the_loop_nor_tell_secrets() -> None:
    it = scene()
    it.bank.broken = KeyError(SECRET)
    async with running(it.credential) as task:
        await it.time.quiet()
        assert it.refusal().message.endswith(": unexpected KeyError")
        it.bank.broken = None
        await it.time.advance(2)
        await it.time.quiet()
        it.token()
        assert not task.done()


async def test_when_it_is_stopped_no_fetch_stays_behind() -> None:
    it = scene()
    it.bank.gate = asyncio.Event()
    async with running(it.credential):
        while it.bank.calls == 0:
            await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_suspended_machine_asks_as_soon_as_it_wakes() -> None:
    it = scene()
    async with running(it.credential):
        await it.time.quiet()
        it.bank.gate = asyncio.Event()
        await it.time.jump(unix=7200)
        while it.bank.calls == 1:
            await asyncio.sleep(0)
        it.refusal()
        it.bank.gate.set()
        await it.time.quiet()
        assert it.token() == "2"


async def test_a_clock_set_back_does_not_lengthen_a_life() -> None:
    it = scene()
    async with running(it.credential):
        await it.time.quiet()
        it.bank.broken = FetchFailed("down")
        await it.time.jump(unix=-86_400)
        await it.time.advance(3600)
        it.refusal()


def counted(life: float, ill: Callable[[int], Play | None]) -> Callable[[Asked], Play]:
    """A token endpoint whose tokens are numbered; `ill` says when it answers otherwise."""
    numbers = iter(range(1, 1000))

    def play(asked: Asked) -> Play:
        del asked
        number = next(numbers)
        reply = {"access_token": str(number), "expires_in": life, "token_type": "Bearer"}
        return ill(number) or Says(200, json.dumps(reply).encode())

    return play


def entra(time: Time, url: str, http: httpx.AsyncClient) -> Refreshing[Token]:
    source = ClientCredentials("t", "app", time.clock, SECRET, authority=url)
    return Refreshing("azure", lambda: source.fetch(http), bearer, time.around())


async def test_refresh_under_load_fails_nobody() -> None:
    """B2: requests sign all the time, while tokens come from a real server that fails every third time."""

    def ill(number: int) -> Play | None:
        return Says(503, b"down") if number % 3 == 2 else None

    time = Time()
    signed: set[str] = set()
    async with endpoint(counted(600, ill)) as place, client() as http:
        credential = entra(time, place.url, http)
        async with running(credential):
            await time.quiet()
            stop = False
            count = 0

            async def load() -> None:
                nonlocal count
                while not stop:
                    signed.add(credential.headers(REQUEST)["authorization"])
                    count += 1
                    await asyncio.sleep(0)

            workers = [asyncio.create_task(load()) for _ in range(20)]
            for _ in range(60):
                await time.advance(60)
            stop = True
            await asyncio.gather(*workers)
    assert count > 2000
    assert len(signed) >= 8
    assert len(place.asked) < 30


ILL: Mapping[str, Play] = {
    "refuses": Says(401, json.dumps({"error": SECRET, "error_description": SECRET}).encode()),
    "garbage": Says(200, f"<html>{SECRET}".encode()),
    "cut": b"HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\n",
}


@pytest.mark.parametrize("name", ILL)
async def test_no_refusal_tells_a_secret(name: str) -> None:
    time = Time()
    async with endpoint(ILL[name]) as place, client() as http:
        credential = entra(time, place.url, http)
        async with running(credential):
            await time.quiet()
            with pytest.raises(Overloaded) as refused:
                credential.headers(REQUEST)
    texts = [str(refused.value), repr(refused.value), repr(credential), repr(credential.status)]
    assert SECRET not in "".join(texts)
    assert "could not be refreshed: 127.0.0.1 answered" in texts[0] or name == "cut"


async def test_a_slow_endpoint_holds_up_nobody_who_has_a_token() -> None:
    time = Time()
    slow = counted(600, lambda number: Silence() if number > 1 else None)
    async with endpoint(slow) as place, client() as http:
        credential = entra(time, place.url, http)
        async with running(credential):
            await time.quiet()
            place.arrived.clear()
            await time.advance(297)
            await time.jump(unix=1, monotonic=1)
            async with asyncio.timeout(5):
                await place.arrived.wait()
            assert credential.headers(REQUEST) == {"authorization": "Bearer 1"}


async def test_aws_keys_sign_as_soon_as_they_are_there() -> None:
    time = Time()
    made = iter([AwsKeys("A1", "s1", "t1", time.clock.unix + 3600), AwsKeys("A2", "s2", "t2")])

    async def fetch() -> AwsKeys:
        return next(made)

    sigv4 = SigV4(Scope("bedrock", "us-east-1"), time.clock)
    credential = Refreshing("bedrock", fetch, sigv4.sign, time.around())
    for number in (1, 2):
        await credential.refresh()
        headers = credential.headers(REQUEST)
        assert f"Credential=A{number}/" in headers["authorization"]
        assert headers["x-amz-security-token"] == f"t{number}"
