"""A provider fails, and the next one answers: through the real Envoy, over three languages.

Each faulty provider is the mock with a fault in its path; good ones have none. `a*` speaks
OpenAI Chat, `b*` Anthropic's, `c*` Gemini's.
"""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from extproc.mock import MockProvider
from tests.e2e import raw
from tests.e2e.asking import CHAT
from tests.e2e.faulty import CALM, PATHS, answered, ask, elsewhere, model, provider
from tests.e2e.harness import PROVIDER_KEY, Gateway, Line, closed_port, running
from tests.e2e.processes import eventually

CAPS = (1, 2, 3, 5)
TWO = (("a", "b"), ("b", "c"), ("c", "a"))
FAULTS = {
    "529": "status=529",
    "429": "status=429;retry-after=0",
    "500": "status=500",
    "reset": "reset",
    "slow": "delay=5s",
    "silent": "stall=forever@{last}",
    "after": "error=4",
}


def blocks(mock: MockProvider) -> dict[str, Any]:
    providers: dict[str, Any] = {}
    for name in PATHS:
        providers[name] = provider(mock, name)
        providers[f"{name}-closed"] = elsewhere(name, f"http://127.0.0.1:{closed_port()}")
        for fault, words in FAULTS.items():
            providers[f"{name}-{fault}"] = provider(mock, name, words)
    models: dict[str, Any] = {}

    def made(*names: str, **more: object) -> None:
        models["_".join(names)] = model(*names, **more)

    window = {"seconds": "500ms"}
    for first, second in TWO:
        made(f"{first}-after", second, window=window)
    for names in (("a-529", "b"), ("b-reset", "c"), ("c-500", "a"), ("a", "b"), ("a-slow", "b")):
        made(*names)
    for names in (("a-529", "b-429", "c"), ("a-529", "b-closed", "c-500"), ("a-529", "b-slow")):
        made(*names)
    made("a-silent", "b-silent", deadline="400ms", window=window)
    for most in CAPS:
        again = {"attempts": most, "same": 1, "base": "1ms"}
        models[f"capped-{most}"] = model("a-529", "b-429", "c-500", retry=again)
    return {"providers": providers, "models": models, "routing": CALM}


@pytest.fixture(scope="module")
def failing(
    shared_mock: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("failing")
    with running(folder, shared_mock, **blocks(shared_mock)) as gateway:
        yield gateway


@pytest.fixture
def gateway(failing: Gateway, mock: MockProvider) -> Gateway:
    return failing


@pytest.mark.parametrize(("first", "second"), TWO)
def test_after_the_window_nobody_else_is_asked(gateway: Gateway, first: str, second: str) -> None:
    try:
        answer = ask(gateway, f"{first}-after_{second}", stream=True)
    except raw.Cut:
        return
    assert answer.headers["x-sluice-provider"] == f"{first}-after"
    assert "error" in answer.body.decode()
    line = gateway.wait_exchange(answer.headers["x-sluice-call-id"])
    assert line["attempts"] == 1


@pytest.mark.parametrize("stream", [False, True])
def test_two_fail(gateway: Gateway, stream: bool) -> None:
    answered(gateway, ask(gateway, "a-529_b-429_c", stream=stream), "c", 3)


@pytest.mark.parametrize("stream", [False, True])
def test_all_fail(gateway: Gateway, stream: bool) -> None:
    answer = ask(gateway, "a-529_b-closed_c-500", stream=stream)
    assert answer.status == 500
    assert answer.headers["x-sluice-provider"] == "c-500"
    assert answer.headers["x-sluice-error-origin"] == "provider"
    assert answer.headers["x-sluice-attempts"] == "3"
    line = gateway.wait_exchange(answer.headers["x-sluice-call-id"])
    assert [one.split()[1] for one in line["tried"]] == ["overloaded", "connect", "server_error"]


@pytest.mark.parametrize("most", CAPS)
def test_there_are_no_more_attempts_than_allowed(
    gateway: Gateway, mock: MockProvider, most: int
) -> None:
    """C5: over targets, and over repetitions of one."""
    answer = ask(gateway, f"capped-{most}")
    assert answer.status >= 400
    assert answer.headers["x-sluice-attempts"] == str(most)
    assert len(mock.requests) == most


def test_the_deadline_is_for_all_of_them(gateway: Gateway) -> None:
    answer = ask(gateway, "a-silent_b-silent", stream=True)
    assert answer.status == 504
    assert answer.headers["x-sluice-error-origin"] == "network"


def test_the_first_one_is_well(gateway: Gateway) -> None:
    for stream in (False, True):
        answered(gateway, ask(gateway, "a_b", stream=stream), "a", 1)


@pytest.mark.parametrize(
    ("size", "stream"), [(2 << 20, False), (100_000, True), (2 << 20, True), (5 << 20, True)]
)
def test_a_large_body_is_sent_anew(
    gateway: Gateway, mock: MockProvider, size: int, stream: bool
) -> None:
    """Also where Envoy is to hold little, for the reply will flow."""
    text = "x" * size
    answered(gateway, ask(gateway, "a-529_b", text=text, stream=stream), "b", 2)
    sent = [request for request in mock.requests if b'"xxx' in request.body]
    assert len(sent) == 2
    for request in sent:
        assert request.headers["content-length"] == str(len(request.body))
        assert "transfer-encoding" not in request.headers


def test_providers_see_nothing_of_the_hop_or_of_each_other(
    gateway: Gateway, mock: MockProvider
) -> None:
    headers = {"cookie": "c=1", "x-sluice-tags": "t"}
    answered(gateway, ask(gateway, "a-529_b-429_c", headers=headers), "c", 3)
    first, second, third = mock.requests
    assert first.headers["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert "authorization" not in second.headers
    assert second.headers["x-api-key"] == PROVIDER_KEY
    for request in (first, second, third):
        assert not [name for name in request.headers if name.startswith("x-sluice")]
        assert "cookie" not in request.headers
    assert "x-api-key" not in third.headers
    assert "anthropic-version" not in third.headers


@pytest.mark.parametrize("name", ["x-sluice-again", "x-sluice-end", "x-sluice-dest"])
def test_a_client_cannot_play_the_hop(gateway: Gateway, name: str) -> None:
    fields = {"model": "a-529_b", "messages": [{"role": "user", "content": "hi"}]}
    request = raw.request("POST", CHAT, json.dumps(fields).encode(), {**gateway.auth, name: "1"})
    answered(gateway, raw.exchange(gateway.port, request), "b", 2)


def test_many_at_once(gateway: Gateway) -> None:
    models = ["a-529_b", "b-reset_c", "c-500_a"]

    def one(number: int) -> tuple[int, str]:
        answer = ask(gateway, models[number % 3], stream=number % 2 == 0)
        return answer.status, answer.headers["x-sluice-attempts"]

    with ThreadPoolExecutor(64) as pool:
        found = Counter(pool.map(one, range(300)))
    assert found == {(200, "2"): 300}


@pytest.mark.parametrize("model", ["a-silent_b-silent", "a-slow_b", "a-529_b-slow"])
def test_the_client_goes(gateway: Gateway, mock: MockProvider, model: str) -> None:
    fields = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    before = len(gateway.log_lines())
    wanted = len(model.split("_")) if model.startswith("a-529") else 1
    with socket.create_connection(("127.0.0.1", gateway.port)) as line:
        line.sendall(raw.request("POST", CHAT, json.dumps(fields).encode(), gateway.auth))
        eventually(lambda: len(mock.requests) >= wanted, 5.0, "the provider is asked")

    def ours() -> Line | None:
        lines = gateway.log_lines()[before:]
        return next((one for one in lines if one.get("asked") == model), None)

    left = eventually(ours, 5.0, "the exchange's end")
    assert left["outcome"] == "aborted"
    assert left["tried"][-1].split()[1] == "left"
    assert len(left["tried"]) == wanted
    assert len(mock.requests) == wanted, "nobody else is asked"
