"""What is promised of providers that fail: no client hears of it, and each attempt is accounted for.

Beside these: each failure in each place of a list in `test_faults_table`, streams that have
begun in `test_promises_windows`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any, NamedTuple

import pytest

from extproc.mock import MockProvider
from tests.e2e import raw
from tests.e2e.asking import Client, talk
from tests.e2e.faulty import CALM, PATHS, TURNS, elsewhere, model, provider, said, tried
from tests.e2e.harness import Gateway, Line, closed_port, running
from tests.e2e.lengths import length
from tests.e2e.processes import eventually

SOON = {"timeout": "200ms"}
AT_ONCE = 32


class Fault(NamedTuple):
    """What the mock is told, what it is called in the log, and whether a provider hears of it."""

    told: str
    failure: str
    arrives: bool = True


FAULTS: Mapping[str, Fault] = {
    "503": Fault("status=503", "overloaded"),
    "529": Fault("status=529", "overloaded"),
    "429": Fault("status=429;retry-after=0", "rate_limit"),
    "reset": Fault("reset", "reset"),
    "timeout": Fault("delay=9s", "timeout"),
    "refused": Fault("", "connect", arrives=False),
}
PAIRS = tuple(product(FAULTS, FAULTS))


def providers(mock: MockProvider) -> dict[str, Any]:
    """Each language well, and with each fault."""
    found = {letter: provider(mock, letter) for letter in PATHS}
    for letter, (name, fault) in product(PATHS, FAULTS.items()):
        if fault.arrives:
            limit = SOON if name == "timeout" else {}
            found[f"{letter}-{name}"] = provider(mock, letter, fault.told, **limit)
        else:
            found[f"{letter}-{name}"] = elsewhere(letter, f"http://127.0.0.1:{closed_port()}")
    return found


def chains() -> dict[str, Sequence[str]]:
    """The targets of each model: two that fail, in every way, and one that is well."""
    found: dict[str, Sequence[str]] = {}
    for number, (first, second) in enumerate(PAIRS):
        turn = TURNS[number % len(TURNS)]
        found[f"{first}-{second}"] = (f"{turn[0]}-{first}", f"{turn[1]}-{second}", turn[2])
    return found


CHAINS = chains()


@pytest.fixture(scope="module")
def many_seen() -> Iterator[MockProvider]:
    """A provider that forgets nothing."""
    with MockProvider.running(keep=100_000) as mock:
        yield mock


@pytest.fixture(scope="module")
def forgetful(
    many_seen: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway that asks each target each time, whatever it met before."""
    models = {name: model(*targets) for name, targets in CHAINS.items()}
    with running(
        tmp_path_factory.mktemp("forgetful"),
        many_seen,
        providers=providers(many_seen),
        models=models,
        routing=CALM,
    ) as gateway:
        yield gateway


def side_by_side(
    gateway: Gateway, count: int, one: Callable[[Client, int], raw.Answer]
) -> Sequence[raw.Answer]:
    """So many answers, in order."""

    def play(first: int) -> list[raw.Answer]:
        client = Client(gateway)
        return [one(client, number) for number in range(first, count, AT_ONCE)]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        played = [*pool.map(play, range(AT_ONCE))]
    return [played[at % AT_ONCE][at // AT_ONCE] for at in range(count)]


def lines_of(gateway: Gateway, answers: Sequence[raw.Answer]) -> Sequence[Line]:
    """Their lines in the log, one for each."""
    calls = [answer.headers["x-sluice-call-id"] for answer in answers]

    def found() -> dict[str, Line] | None:
        lines = [line for line in gateway.log_lines() if line["event"] == "exchange"]
        by_call = {line["call"]: line for line in lines}
        assert len(by_call) == len(lines), "one line for each call"
        return by_call if by_call.keys() >= set(calls) else None

    lines = eventually(found, 5.0, "all lines")
    return [lines[call] for call in calls]


@pytest.mark.soak
def test_no_client_hears_of_two_that_fail(forgetful: Gateway, many_seen: MockProvider) -> None:
    """C4, S0-6, S3-22: every failure after every failure, over three languages, whole and streamed.
    The log tells of each attempt by itself, and the providers have seen no other."""
    names = tuple(CHAINS)
    many_seen.clear()

    def one(client: Client, number: int) -> raw.Answer:
        body = talk(names[number % len(names)], f"[[mock words=8]] number {number}.")
        return client.ask({**body, "stream": number // len(names) % 2 == 0})

    answers = side_by_side(forgetful, length(2 * len(names), 2016), one)
    assert Counter(answer.status for answer in answers) == {200: len(answers)}
    seen = Counter(re.findall(rb"number (\d+)\.", one.body)[-1] for one in many_seen.requests)
    for number, (answer, line) in enumerate(
        zip(answers, lines_of(forgetful, answers), strict=True)
    ):
        name = names[number % len(names)]
        faults = [FAULTS[fault] for fault in PAIRS[number % len(names)]]
        told = [*(fault.failure for fault in faults), "ok"]
        assert f"number {number}." in said(answer, stream=bool(line["stream"])), answer
        assert tried(line) == list(zip(CHAINS[name], told, strict=True)), line
        arrived = 1 + sum(fault.arrives for fault in faults)
        assert seen[str(number).encode()] == arrived, line


@pytest.mark.soak
def test_who_is_down_costs_nobody_an_answer(
    make_gateway: Callable[..., Gateway], mock: MockProvider
) -> None:
    """C4: with breakers, cooldowns and the budget of retries as they come."""
    gateway = make_gateway(
        providers=providers(mock), models={name: model(f"a-{name}", "b") for name in FAULTS}
    )
    names = tuple(FAULTS)

    def one(client: Client, number: int) -> raw.Answer:
        body = talk(names[number % len(names)], "[[mock words=8]] hi")
        return client.ask({**body, "stream": number // len(names) % 2 == 0})

    answers = side_by_side(gateway, length(50, 2000) * len(names), one)
    found = Counter((one.status, one.headers.get("x-sluice-provider")) for one in answers)
    assert found == {(200, "b"): len(answers)}
