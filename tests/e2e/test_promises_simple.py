"""What the simple query language promises, member by member, over providers of every kind."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.everyone import CHAT_MODELS
from tests.e2e.harness import Gateway

MOST_TOKENS = {
    "gpt-4o": ("max_tokens",),
    "o3-mini": ("max_completion_tokens",),
    "claude-sonnet-4-5": ("max_tokens",),
    "gemini-2.5-flash": ("generationConfig", "maxOutputTokens"),
    "llama3": ("options", "num_predict"),
    "command-a-03-2025": ("max_tokens",),
    CHAT_MODELS["bedrock"]: ("inferenceConfig", "maxTokens"),
}
"""where each provider's language says how long an answer may be"""


def post(gateway: Gateway, path: str, status: int = 200, /, **members: Any) -> dict[str, Any]:
    with gateway.http() as client:
        answer = client.post(path, json=members)
    assert answer.status_code == status, answer.text
    return answer.json()


def sent(gateway: Gateway) -> dict[str, Any]:
    """The body of the one request that a provider got."""
    (request,) = gateway.mock.requests
    body: Any = request.json
    return body


def test_a_prompt_is_required(everyone: Gateway) -> None:
    """S1-28"""
    answer = post(everyone, "/query", 400)
    assert "'prompt'" in answer["error"]
    assert not everyone.mock.requests


def test_context_stands_before_the_prompt(everyone: Gateway) -> None:
    """S1-29"""
    post(everyone, "/query", prompt="the prompt", context="the context")
    assert [m["content"] for m in sent(everyone)["messages"]] == ["the context", "the prompt"]
    assert sent(everyone)["messages"][0]["role"] == "system"


@pytest.mark.parametrize("name", CHAT_MODELS)
def test_a_provider_s_name_pins_it(everyone: Gateway, name: str) -> None:
    """S1-30, S1-37, S2-1: and one reply shape, whoever answers."""
    answer = post(everyone, "/query", prompt="Hello", provider=name)
    assert answer["provider"] == name
    assert answer["response"].startswith("You said: Hello")
    (request,) = everyone.mock.requests
    assert f"key-of-{name}" in str(request.raw_headers)


def test_an_unknown_provider_is_told_the_known_ones(everyone: Gateway) -> None:
    """S1-30"""
    error = post(everyone, "/query", 400, prompt="x", provider="nobody")["error"]
    assert all(name in error for name in ("auto", *CHAT_MODELS))


def test_a_model_is_passed_on(everyone: Gateway) -> None:
    """S1-31, S2-2, S1-79: changing the model changes who answers; none means the default."""
    for members, model, provider in (
        ({"model": "gpt-4o-mini"}, "gpt-4o-mini", "openai"),
        ({"model": "claude-sonnet-4-5"}, "claude-sonnet-4-5", "anthropic"),
        ({"model": "fast"}, "gpt-4o-mini", "openai"),
        ({}, "gpt-4o", "openai"),
    ):
        everyone.mock.clear()
        assert post(everyone, "/query", prompt="x", **members)["provider"] == provider
        assert sent(everyone)["model"] == model


def test_the_range_of_temperature_is_of_this_language_alone(everyone: Gateway) -> None:
    """S1-32"""
    assert "temperature" in post(everyone, "/query", 400, prompt="x", temperature=1.5)["error"]
    messages = [{"role": "user", "content": "x"}]
    post(everyone, "/v1/chat/completions", model="gpt-4o", messages=messages, temperature=1.5)
    assert sent(everyone)["temperature"] == 1.5


@pytest.mark.parametrize("model", MOST_TOKENS)
def test_max_tokens_is_called_what_the_provider_calls_it(everyone: Gateway, model: str) -> None:
    """S1-33"""
    post(everyone, "/query", prompt="x", model=model, max_tokens=1024)
    value: Any = sent(everyone)
    for name in MOST_TOKENS[model]:
        value = value[name]
    assert value == 1024
    assert ("max_tokens" in sent(everyone)) == (MOST_TOKENS[model] == ("max_tokens",))


def test_the_numbers_of_an_answer(everyone: Gateway) -> None:
    """S1-36, S1-38, S1-39, S1-40: the provider's text and count, our clock and the price."""
    prompt = "[[mock usage=120,36 words=4 delay=200ms]] hi there"
    answer = post(everyone, "/query", prompt=prompt)
    assert answer["response"] == "You said: hi there"
    assert answer["tokens_used"] == 156
    assert 0.2 <= answer["processing_time"] < 10
    assert answer["cost"] == pytest.approx(0.156)
    assert post(everyone, "/query", prompt=prompt, provider="ollama")["cost"] == 0


def test_the_correlation_id_is_the_call_s_everywhere(everyone: Gateway) -> None:
    """S1-42"""
    with everyone.http() as client:
        answer = client.post("/query", json={"prompt": "x"})
    call = answer.json()["correlation_id"]
    assert call.startswith("gw-")
    assert answer.headers["x-sluice-call-id"] == call
    assert everyone.wait_exchange(call)["path"] == "/query"


def test_chat_takes_just_its_four(everyone: Gateway) -> None:
    """S1-43"""
    four = {"prompt": "x", "context": "y", "conversation_id": "c-1", "user_id": "u"}
    assert post(everyone, "/chat", **four)["conversation_id"] == "c-1"
    assert sent(everyone)["user"] == "u"
    assert "'model'" in post(everyone, "/chat", 400, **four, model="gpt-4o")["error"]


def test_one_text_s_vector(everyone: Gateway) -> None:
    """S1-45, S1-46: flat, with its length; an SDK without `/v1` in its base URL gets OpenAI's."""
    members = {"text": "a", "model": "text-embedding-ada-002", "provider": "openai", "user_id": "u"}
    for asked in ({"text": "a"}, members):
        answer = post(everyone, "/embeddings", **asked)
        assert answer.keys() == {"embeddings", "model", "provider", "dimensions"}
        assert len(answer["embeddings"]) == answer["dimensions"] > 0
        assert all(isinstance(one, float) for one in answer["embeddings"])
    assert answer["model"] == "text-embedding-ada-002"
    made = everyone.openai(base_url=everyone.url).embeddings.create(
        model="text-embedding-ada-002", input="a"
    )
    assert made.data[0].embedding == pytest.approx(answer["embeddings"], abs=1e-6)


@pytest.mark.parametrize("name", CHAT_MODELS)
def test_a_stream_of_chunks(everyone: Gateway, name: str) -> None:
    """S1-47, S1-48, S1-49, S1-98: whoever speaks, each event is one chunk, and `[DONE]` ends it."""
    body = {"prompt": "[[mock words=6]] Write a story", "provider": name}
    with everyone.http() as client, client.stream("POST", "/stream", json=body) as reply:
        assert reply.headers["content-type"].partition(";")[0] == "text/event-stream"
        lines = [line for line in reply.iter_lines() if line]
    assert lines.pop() == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert all(event.keys() == {"chunk", "finished"} for event in events)
    assert [event["finished"] for event in events] == [False] * (len(events) - 1) + [True]
    assert "".join(event["chunk"] for event in events).startswith("You said: Write a story")
    assert len(events) > 2
