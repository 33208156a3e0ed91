"""What is promised of streams: one that fails before its first word is never seen by a client.

Every language of providers, broken behind each of the events that come before content (a role,
`message_start`, `response.created`, pings), in front of clients of four languages. Beside these:
what happens after the first content in `test_faults_time`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from extproc.mock import MockProvider
from tests.e2e import raw
from tests.e2e.asking import CHAT
from tests.e2e.faulty import CALM, answered, asking, model, tried
from tests.e2e.harness import Gateway, running

PREAMBLES: Mapping[str, tuple[str, int]] = {
    "openai_chat": ("/v1", 1),
    "openai_responses": ("/v1", 4),
    "openai_completions": ("/v1", 0),
    "anthropic_messages": ("", 3),
    "gemini_generate": ("", 0),
    "bedrock_converse": ("", 1),
    "cohere_chat": ("", 2),
    "ollama_chat": ("", 0),
}
"""each language of providers: where it is served, and how many events come before content"""
FAULTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "error": ("error={}", ("stream_error",)),
    "end": ("end={}", ("empty", "stream_error")),
    "fin": ("cut=fin@{}", ("empty", "reset")),
    "rst": ("cut=rst@{}", ("reset",)),
    "silence": ("stall=9s@{}", ("first_event",)),
}
"""after so many events; and what the log may call it"""
BROKEN = {
    f"{language}-{name}-{events}".replace("_", "-"): (language, told.format(events), failures)
    for language, (_, last) in PREAMBLES.items()
    for name, (told, failures) in FAULTS.items()
    for events in range(last + 1)
}
CLIENTS: Mapping[str, str] = {
    "openai_chat": CHAT,
    "openai_responses": "/v1/responses",
    "anthropic_messages": "/v1/messages",
    "gemini_generate": "/v1beta/models/{}:streamGenerateContent?alt=sse",
}
PATIENCE, MUCH = "400ms", "9s"
"""that a window waits for the first content, where it must wait, and elsewhere"""
HELD = 1024
"""bytes, the fewest that a window may be bounded by"""
SILENCE = 1.5


def blocks(mock: MockProvider) -> dict[str, Any]:
    def served(language: str, fault: str = "") -> dict[str, Any]:
        path = (f"/fault/{fault}" if fault else "") + PREAMBLES[language][0]
        return {
            "dialect": language,
            "endpoint": mock.url + path,
            "api_key": "${ACME_KEY}",
            "models": ["m"],
        }

    providers = {
        "well": served("openai_chat"),
        "chatty": served("openai_responses", f"stall={SILENCE}s@4"),
    }
    models = {
        "alone": model("well"),
        "chatty": model("chatty", "well", window={"seconds": MUCH, "bytes": HELD}),
    }
    for name, (language, fault, _) in BROKEN.items():
        providers[name] = served(language, fault)
        patience = PATIENCE if fault.startswith("stall") else MUCH
        models[name] = model(name, "well", window={"seconds": patience})
    return {"providers": providers, "models": models, "routing": CALM}


@pytest.fixture(scope="module")
def gateway(
    shared_mock: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("windows"), shared_mock, **blocks(shared_mock)) as gateway:
        yield gateway


def stream(gateway: Gateway, client: str, model: str) -> raw.Answer:
    """A stream that this model gives to a client of this language."""
    said = [{"role": "user", "content": "hi"}]
    body: dict[str, object] = {"model": model, "stream": True}
    match client:
        case "openai_responses":
            body["input"] = "hi"
        case "gemini_generate":
            body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
        case "anthropic_messages":
            body |= {"messages": said, "max_tokens": 99}
        case _:
            body["messages"] = said
    path = CLIENTS[client].format(model)
    return raw.exchange(gateway.port, raw.request("POST", path, json.dumps(body).encode()))


def timeless(answer: raw.Answer) -> str:
    """Its body, without what differs from one reply to the next: ids, names, and when it was."""
    own = answer.headers["x-sluice-call-id"].removeprefix("gw-").replace("-", "-?")
    text = re.sub(rf"(?:gw-)?{own}|mock\d{{16}}", "ID", answer.body.decode())
    return re.sub(r'("(?:created\w*|model|modelVersion)":)("[^"]*"|[\d.]+)', r"\1-", text)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_sees_one_clean_stream(gateway: Gateway, mock: MockProvider, client: str) -> None:
    """C8, S3-32: the very stream that it would get if nobody had failed."""
    clean = timeless(stream(gateway, client, "alone"))
    assert "You" in clean
    assert '"error":{' not in clean

    def one(name: str) -> None:
        answer = stream(gateway, client, name)
        assert timeless(answer) == clean, name
        (first, failure), _ = tried(answered(gateway, answer, "well", 2))
        assert first == name
        assert failure in BROKEN[name][2], (name, failure)

    with ThreadPoolExecutor(16) as pool:
        assert len(list(pool.map(one, BROKEN))) == len(BROKEN)


def test_a_window_is_bounded_in_bytes(gateway: Gateway, mock: MockProvider) -> None:
    """C8: who says much and nothing of content is not held for as long as the window lasts."""
    began = time.monotonic()
    with raw.connected(gateway.port) as line:
        line.sendall(asking(gateway, "chatty", stream=True))
        seen = line.recv(65536)
        took = time.monotonic() - began
        assert b"x-sluice-provider: chatty" in seen
        assert took < SILENCE / 2, took
        while not seen.endswith(b"0\r\n\r\n"):
            piece = line.recv(65536)
            assert piece
            seen += piece
    assert b"[DONE]" in seen
