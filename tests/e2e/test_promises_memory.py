"""Conversations through the real Envoy and two workers: remembered by all of them, for one key alone."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from extproc.mock import MockProvider
from tests.e2e.harness import ALICE_KEY, BOB_KEY, KEYS, Gateway
from tests.e2e.processes import eventually


@pytest.fixture(scope="module")
def module_remembering(
    shared_mock: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    keys = [{**key, "models": ["*"]} for key in KEYS]
    gateway = Gateway(tmp_path_factory.mktemp("memory"), shared_mock, key=ALICE_KEY, keys=keys)
    try:
        gateway.wait_until_ready()
        yield gateway
    finally:
        gateway.destroy()


@pytest.fixture
def remembering(module_remembering: Gateway, mock: MockProvider) -> Gateway:
    return module_remembering


def say(gateway: Gateway, prompt: str, name: str, key: str | None = ALICE_KEY) -> dict[str, Any]:
    """A turn, over a connection of its own: Envoy's next worker gets it."""
    with gateway.http(key) as client:
        answer = client.post("/chat", json={"prompt": prompt, "conversation_id": name})
    assert answer.status_code == 200, answer.text
    assert "x-sluice-dropped" not in answer.headers
    return answer.json()


def heard(gateway: Gateway) -> list[tuple[str, str]]:
    """What the provider was told last."""
    body: Any = gateway.mock.requests[-1].json
    return [(m["role"], m["content"]) for m in body["messages"]]


def test_who_am_i(remembering: Gateway) -> None:
    """S1-44, S4-39: many turns, so that both workers have some of them."""
    expected: list[tuple[str, str]] = []
    calls: set[str] = set()
    for prompt in ("I am Ada", "I like rivers", "I live in Rome", "Who am I?"):
        answer = say(remembering, prompt, "ada")
        assert answer["conversation_id"] == "ada"
        calls.add(answer["correlation_id"])
        assert heard(remembering) == [*expected, ("user", prompt)]
        expected += [("user", prompt), ("assistant", answer["response"])]
    for call in calls:
        remembering.wait_exchange(call)
    say(remembering, "Who am I?", "ada", BOB_KEY)
    assert heard(remembering) == [("user", "Who am I?")], "another key's same name"
    text = remembering.log_text()
    assert "Ada" not in text
    assert "rivers" not in text


def test_it_is_there_as_soon_as_the_answer_is(remembering: Gateway) -> None:
    """Whichever worker is asked next: nineteen turns in a row, streamed, without a pause."""
    sdk = remembering.openai(default_headers={"x-sluice-conversation": "quick"})
    for number in range(19):
        messages: Any = [{"role": "user", "content": f"[[mock words=3]] turn {number}"}]
        stream = sdk.chat.completions.create(model="gpt-4o", messages=messages, stream=True)
        assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
        assert len(heard(remembering)) == 2 * number + 1


def test_it_survives_workers(remembering: Gateway) -> None:
    say(remembering, "I am Ada", "survivor")
    pids = {part: pid for part, pid in remembering.pids().items() if part.startswith("worker-")}
    assert len(pids) == 2
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: (
            not set(pids.values()) & set(remembering.pids().values())
            and {"worker-1", "worker-2"} <= remembering.pids().keys()
            and remembering.is_ready()
        ),
        15.0,
    )
    for _ in range(2):
        say(remembering, "Who am I?", "survivor")
        assert heard(remembering)[0] == ("user", "I am Ada")


def test_nobody_else_may_read_its_file(remembering: Gateway) -> None:
    say(remembering, "I am Ada", "private")
    folder = remembering.data / "memory"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_off_and_bounds_are_configuration(make_gateway: Callable[..., Gateway]) -> None:
    """A conversation that nobody remembers is named; without keys all callers are one."""
    off = make_gateway(workers=1, memory="off")
    with off.http() as client:
        answer = client.post("/chat", json={"prompt": "I am Ada", "conversation_id": "c"})
    assert answer.headers["x-sluice-dropped"] == "conversation_id"
    assert not (off.data / "memory").exists()
    short = make_gateway(workers=1, memory={"turns": 1, "ttl": "5m", "bytes": "1KiB"})
    for prompt in ("one", "two", "three"):
        say(short, prompt, "c", None)
    assert [text for role, text in heard(short) if role == "user"] == ["two", "three"]


def test_a_file_that_cannot_be_used_is_a_refusal(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(workers=1)
    folder = gateway.data / "memory"
    assert gateway.stop() == 0
    for path in folder.iterdir():
        path.write_bytes(b"not what it was" * 300)
    again = Gateway(gateway.folder, gateway.mock, workers=1)
    try:
        again.wait_until_ready()
        with again.http() as client:
            refused = client.post("/chat", json={"prompt": "x", "conversation_id": "c"})
            assert refused.status_code == 503
            assert "earlier turns" in refused.json()["error"]
            assert client.post("/chat", json={"prompt": "x"}).status_code == 200
    finally:
        again.destroy()
