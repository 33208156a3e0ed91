"""Every reason to ask the next target, whole and streamed, in each place of a list of three languages.

Position 1: the first fails. Position 2: the first two fail. Position 3: all of them do, and the
client hears of it in its own language. Every attempt is made once, and is told of once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from extproc.mock import MockProvider
from tests.e2e import raw
from tests.e2e.asking import events
from tests.e2e.faulty import (
    CALM,
    PATHS,
    TURNS,
    answered,
    ask,
    asked_of,
    elsewhere,
    model,
    provider,
    said,
    tried,
)
from tests.e2e.harness import Gateway, closed_port, running
from tests.e2e.threads import in_a_thread

CERTS = Path(__file__).parents[1] / "envoygen" / "certs"

WINDOW = {"seconds": "400ms"}
BODIES = ["context_length", "content_filter", "bad_output"]
_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
JSON: Any = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": _SCHEMA, "strict": True},
    }
}


@dataclass(frozen=True, slots=True)
class Row:
    """A fault, and how it is told: `failures` are its names, by place or language they may differ.

    `status` is what the client gets when all targets fail so; 200: the last reply as it came.
    `arrives`: the provider has seen the request. `fields` go into it.
    """

    name: str
    failures: tuple[str, ...]
    fault: str = ""
    status: tuple[int, ...] = (502,)
    whole: bool = True
    streamed: bool = True
    window: bool = False
    arrives: bool = True
    provider: dict[str, object] = field(default_factory=dict[str, object])
    model: dict[str, object] = field(default_factory=dict[str, object])
    fields: dict[str, object] = field(default_factory=dict[str, object])


def _body(kind: str, fault: str, **more: Any) -> Row:
    return Row(kind, (kind,), fault, model={"retry": {"on": BODIES}}, **more)


LATE: dict[str, object] = {"timeout": "300ms"}
ROWS = (
    Row("connect", ("connect",), arrives=False),
    Row("dns", ("dns",), arrives=False),
    Row("tls", ("tls",), arrives=False),
    Row("reset", ("reset",), "reset"),
    Row("timeout", ("timeout",), "delay=5s", (504,), provider=LATE),
    Row("slow-headers", ("timeout",), "slow-headers=20", (504,), provider=LATE),
    Row("rate-limit", ("rate_limit",), "status=429;retry-after=0", (429,)),
    Row("529", ("overloaded",), "status=529", (503,)),
    Row("503", ("overloaded",), "status=503", (503,)),
    Row("500", ("server_error",), "status=500", (500,)),
    Row("page", ("server_error",), "status=502;body=html"),
    Row("401", ("credential",), "status=401"),
    Row("402", ("credential",), "status=402", (402, 429)),
    Row("empty", ("empty",), "status=200;body=empty"),
    _body("context_length", "refuse=context_length", status=(400,)),
    _body("content_filter", "refuse=content_filter", status=(200, 400), window=True),
    _body("bad_output", "say=no%20JSON", status=(200,), streamed=False, fields=JSON),
    Row("error", ("stream_error",), "error={last}", window=True, whole=False, status=(200,)),
    Row("at-once", ("stream_error",), "error=0", window=True, whole=False, status=(200,)),
    Row("end", ("empty", "stream_error"), "end={last}", window=True, whole=False, status=(200,)),
    Row("fin", ("empty", "reset"), "cut=fin@{last}", window=True, whole=False),
    Row("rst", ("reset",), "cut=rst@{last}", window=True, whole=False),
    Row("broken", ("stream_error",), "malformed=1", window=True, whole=False, status=(200,)),
    Row("silent", ("first_event",), "stall=700ms@{last}", window=True, whole=False, status=(200,)),
)
PASSING = ("silent", "bad_output", "content_filter")
"""the last target's reply is better than none"""
CASES = [
    pytest.param(row, stream, id=f"{row.name}-{'streamed' if stream else 'whole'}")
    for row in ROWS
    for stream in (False, True)
    if (row.streamed if stream else row.whole)
]


def _provider(mock: MockProvider, stranger: int, letter: str, row: Row) -> dict[str, Any]:
    match row.name:
        case "connect":
            return elsewhere(letter, f"http://127.0.0.1:{closed_port()}")
        case "dns":
            return elsewhere(letter, "http://nowhere.invalid:81")
        case "tls":
            return elsewhere(letter, f"https://127.0.0.1:{stranger}")
        case _:
            return provider(mock, letter, row.fault, **row.provider)


def _targets(turn: str, row: Row, position: int) -> list[str]:
    return [f"{one}-{row.name}" if at < position else one for at, one in enumerate(turn)]


def _name(turn: str, row: Row, position: int) -> str:
    return f"{row.name}-{turn}-{position}"


@asynccontextmanager
async def _unknown() -> AsyncIterator[int]:
    """The port of a server whose certificate nobody has signed whom we trust."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTS / "server.crt", CERTS / "server.key")
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture(scope="module")
def stranger() -> Iterator[int]:
    with in_a_thread(_unknown) as port:
        yield port


@pytest.fixture(scope="module")
def gateway(
    shared_mock: MockProvider, stranger: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    providers = {letter: provider(shared_mock, letter) for letter in PATHS}
    models: dict[str, Any] = {}
    for row in ROWS:
        for letter in PATHS:
            providers[f"{letter}-{row.name}"] = _provider(shared_mock, stranger, letter, row)
        window = {"window": WINDOW} if row.window else {}
        for turn in TURNS:
            for position in (1, 2, 3):
                made = model(*_targets(turn, row, position), **row.model, **window)
                models[_name(turn, row, position)] = made
    with running(
        tmp_path_factory.mktemp("faults"),
        shared_mock,
        providers=providers,
        models=models,
        routing=CALM,
    ) as gateway:
        yield gateway


@pytest.mark.parametrize(("row", "stream"), CASES)
def test_the_next_one_answers(gateway: Gateway, mock: MockProvider, row: Row, stream: bool) -> None:
    """Rows C4, C8: no client hears of a failure while somebody is left who can answer."""

    def one(turn: str, position: int) -> None:
        name, good = _name(turn, row, position), turn[position]
        text = f"case {name}"
        answer = ask(gateway, name, stream=stream, text=text, **row.fields)
        line = answered(gateway, answer, good, position + 1)
        assert text in said(answer, stream=stream)
        found = tried(line)
        asked = _targets(turn, row, position)[: position + 1]
        assert [name for name, _ in found] == asked
        assert {failure for _, failure in found[:-1]} <= set(row.failures), line
        assert found[-1][1] == "ok"
        why = answer.headers["x-sluice-why"].split(",")
        assert [one for one in why if one.startswith("fallback:")] == [
            f"fallback:{failure}" for _, failure in found[:-1]
        ]
        assert len(asked_of(mock, text)) == (position + 1 if row.arrives else 1)

    _side_by_side(one, (1, 2))


@pytest.mark.parametrize(("row", "stream"), CASES)
def test_when_nobody_is_left(gateway: Gateway, mock: MockProvider, row: Row, stream: bool) -> None:
    """All down: one error in the client's language, or the last reply if it is one."""

    def one(turn: str, position: int) -> None:
        name = _name(turn, row, position)
        text = f"case {name}"
        try:
            answer = ask(gateway, name, stream=stream, text=text, **row.fields)
        except raw.Cut:
            assert row.name in ("rst", "fin"), name
            line = gateway.wait_log(lambda line: line.get("asked") == name)
        else:
            _told(answer, row, stream=stream)
            line = gateway.wait_exchange(answer.headers["x-sluice-call-id"])
        found = tried(line)
        assert [name for name, _ in found] == _targets(turn, row, 3)
        good = line["outcome"] == "ok"
        assert good is (found[-1][1] == "ok"), line
        assert not good or row.name in PASSING, line
        assert {failure for _, failure in found[:2]} <= set(row.failures), line
        assert len(asked_of(mock, text)) == (3 if row.arrives else 0)

    _side_by_side(one, (3,))


def _told(answer: raw.Answer, row: Row, *, stream: bool) -> None:
    assert answer.status in row.status, answer
    assert answer.headers["x-sluice-attempts"] == "3"
    if row.name in ("silent", "bad_output"):
        assert said(answer, stream=stream)
        return
    if answer.status == 200 and row.name == "content_filter":
        assert b'"finish_reason":"content_filter"' in answer.body
        return
    if answer.status == 200:
        last = events(answer.body)[-1]
        assert last["error"].keys() >= {"message", "type", "code"}
        return
    assert answer.headers["x-sluice-error-origin"] in ("provider", "network")
    assert answer.json["error"].keys() >= {"message", "type", "param", "code"}


def _side_by_side(one: Any, positions: tuple[int, ...]) -> None:
    with ThreadPoolExecutor(9) as pool:
        running = [pool.submit(one, turn, at) for turn in TURNS for at in positions]
    for each in running:
        each.result()
