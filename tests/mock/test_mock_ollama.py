"""Ollama's wire, driven by the vendor's own SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from extproc.mock import MockProvider
from tests.mock.raw import request, send

ASK = "What is the capital of France?"
HI = [{"role": "user", "content": ASK}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture
def client(mock: MockProvider) -> Iterator[ollama.Client]:
    yield ollama.Client(mock.url)


def chat(client: ollama.Client, **fields: Any) -> ollama.ChatResponse:
    return client.chat(**{"model": "llama3.2", "messages": HI, **fields})


def stream(client: ollama.Client, **fields: Any) -> list[ollama.ChatResponse]:
    return list(client.chat(**{"model": "llama3.2", "messages": HI, "stream": True, **fields}))


def test_whole_and_stream_say_the_same(client: ollama.Client) -> None:
    whole = chat(client)
    assert (whole.message.content or "").startswith(f"You said: {ASK}")
    parts = stream(client)
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == whole.eval_count
    assert whole.prompt_eval_count == len(ASK.split()) + 3
    assert whole.done_reason == "stop"


def test_a_stream_is_the_default(mock: MockProvider) -> None:
    body = json.dumps({"model": "m", "messages": HI}).encode()
    reply = send(mock, request(body, path="/any/api/chat"))
    assert reply.header("content-type") == "application/x-ndjson"
    assert json.loads(reply.stream.splitlines()[-1])["done"] is True


@pytest.mark.parametrize("streamed", [True, False])
def test_thinking_then_a_tool(client: ollama.Client, streamed: bool) -> None:
    asked: dict[str, Any] = {"tools": [TOOL], "think": "low"}
    asked["messages"] = [{"role": "user", "content": "use get_weather in parallel"}]
    parts = stream(client, **asked) if streamed else [chat(client, **asked)]
    assert "".join(part.message.thinking or "" for part in parts) == "Let me think about that."
    calls = [call for part in parts for call in part.message.tool_calls or []]
    assert [call.function.name for call in calls] == ["get_weather", "get_weather"]
    assert set(calls[0].function.arguments) == {"city"}
    raw = [part.model_dump_json() for part in parts]
    assert parts[-1].done_reason == "stop", raw


def test_ids_of_calls_and_old_servers_without(mock: MockProvider) -> None:
    for model, ids in (("llama3.2", 2), ("noids", 0)):
        asked = [{"role": "user", "content": "in parallel get_weather"}]
        body = {"model": model, "messages": asked, "tools": [TOOL], "stream": False}
        reply = send(mock, request(json.dumps(body).encode(), path="/api/chat"))
        calls = json.loads(reply.body)["message"]["tool_calls"]
        assert len({call["id"] for call in calls if "id" in call}) == ids


def test_a_result_is_answered_in_words(client: ollama.Client) -> None:
    call = {"function": {"name": "get_weather", "arguments": {"city": "Bern"}}}
    told = [
        {"role": "user", "content": "get_weather"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "get_weather", "content": "It rains."},
    ]
    reply = chat(client, messages=told, tools=[TOOL])
    assert (reply.message.content or "").startswith("You said: It rains.")


def test_structure_limits_and_stops(client: ollama.Client) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    assert json.loads(chat(client, format=schema).message.content or "") == {"n": 1}
    assert "answer" in json.loads(chat(client, format="json").message.content or "")
    short = chat(client, options={"num_predict": 4})
    assert (short.message.content, short.done_reason) == ("You said: What is", "length")
    assert chat(client, options={"stop": ["is the"]}).message.content == "You said: What "


def test_generate(client: ollama.Client) -> None:
    whole = client.generate("llama3.2", ASK, system="Be brief", think=True)
    assert (whole.response or "").startswith(f"You said: {ASK}")
    assert whole.thinking
    parts = list(client.generate("llama3.2", ASK, stream=True))
    assert "".join(part.response or "" for part in parts) == whole.response


def test_loading_and_unloading(client: ollama.Client) -> None:
    assert chat(client, messages=[]).done_reason == "load"
    assert client.generate("llama3.2", keep_alive=0).done_reason == "unload"


def test_embeddings(client: ollama.Client) -> None:
    two = client.embed("all-minilm", ["one", "two three"])
    assert len({tuple(vector) for vector in two.embeddings}) == 2
    assert two.prompt_eval_count == 3
    assert len(client.embed("all-minilm", "one", dimensions=4).embeddings[0]) == 4
    assert client.embeddings("all-minilm", "one").embedding == two.embeddings[0]


def test_models(client: ollama.Client, mock: MockProvider) -> None:
    assert "llama3.2" in [model.model for model in client.list().models]
    assert client.show("llama3.2").modelinfo
    assert b"version" in send(mock, request(b"", method="GET", path="/api/version")).body


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "missing-model"}, "not found"),
        ({"model": "nothink", "think": True}, "does not support thinking"),
        ({"model": "notools", "tools": [TOOL]}, "does not support tools"),
        ({"think": "much"}, "invalid think value"),
        ({"options": {"num_ctx": 2}, "truncate": False}, "exceeds the context length"),
        ({"options": {"temperature": "x"}}, "must be of type"),
        ({"options": {"stop": "x"}}, "must be of type array"),
        ({"format": "xml"}, "invalid format"),
        ({"stream": "true"}, "stream"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "content"),
        ({"messages": [{"role": "user", "images": ["data:x,y"]}]}, "illegal base64"),
        (
            {"messages": [{"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
            "arguments",
        ),
        ({"model": ""}, "model is required"),
    ],
)
def test_refusals(mock: MockProvider, fields: dict[str, Any], message: str) -> None:
    body = {"model": "llama3.2", "messages": HI, **fields}
    reply = send(mock, request(json.dumps(body).encode(), path="/api/chat"))
    assert reply.status == (404 if message == "not found" else 400)
    assert message in json.loads(reply.body)["error"]


def test_faults(client: ollama.Client, mock: MockProvider) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        chat(client, model="llama3.2;status=429")
    assert caught.value.status_code == 429
    with pytest.raises(ollama.ResponseError, match="while running the model"):
        stream(client, model="llama3.2;error=2")
    assert chat(client, model="llama3.2;no-usage").prompt_eval_count is None
    assert chat(client, model="llama3.2;usage=3,4").eval_count == 4
    assert send(mock, request(b"", method="GET", path="/api/chat")).status == 405
