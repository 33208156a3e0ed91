"""A model that is asked for by another name: the reply has the client's name, the header the real one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.harness import Gateway

CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}
SPOKEN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "openai/gpt-4o": ("/v1/chat/completions", "gpt-4o", CHAT),
    "fast": ("/v1/chat/completions", "gpt-4o-mini", CHAT),
    "responses/gpt-5": ("/v1/responses", "gpt-5", {"input": "hi"}),
    "anthropic/claude-sonnet-4-5": ("/v1/messages", "claude-sonnet-4-5", CHAT),
    "ollama/llama3.2": ("/api/chat", "llama3.2", CHAT),
}


def said(text: str) -> list[dict[str, Any]]:
    """The objects of a reply, whole or in pieces."""
    lines = [line.removeprefix("data:").strip() for line in text.splitlines()]
    return [json.loads(line) for line in lines if line.startswith("{")]


def named(event: dict[str, Any]) -> list[str]:
    inner = [event, event.get("message"), event.get("response")]
    return [one["model"] for one in inner if isinstance(one, dict) and "model" in one]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("asked", SPOKEN)
def test_the_reply_has_the_name_that_was_asked_for(
    everyone: Gateway, asked: str, stream: bool
) -> None:
    path, model, body = SPOKEN[asked]
    with everyone.http() as client:
        reply = client.post(
            path,
            json={**body, "model": asked, "stream": stream},
            headers={"anthropic-version": "2023-06-01"} if path == "/v1/messages" else None,
        )
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-sluice-model"] == model
    names = [name for event in said(reply.text) for name in named(event)]
    assert names
    assert set(names) == {asked}
    (seen,) = everyone.mock.requests
    assert json.loads(seen.body)["model"] == model
