"""What the mock refuses as OpenAI does, and the shapes it has beside OpenAI's own chat."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from extproc.mock import MockProvider
from extproc.mock.speakers.openai_rules import wrong
from tests.mock.raw import request, send

USER: dict[str, Any] = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


@pytest.fixture
def client(mock: MockProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=mock.base_url, api_key="k", max_retries=0) as client:
        yield client


def call(ident: str, name: str = "f") -> dict[str, Any]:
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": "{}"}}


def asked(*idents: str) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [call(one) for one in idents]}


def told(ident: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": ident, "content": "x"}


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([USER, asked("a"), told("a"), USER], None),
        ([USER, asked("a", "b"), told("b"), told("a")], None),
        ([USER, asked("a", "b"), told("a"), USER], "messages[3].role"),
        ([USER, asked("a")], "messages[2].role"),
        ([USER, told("a")], "messages[1].role"),
        ([USER, asked("a"), told("a"), told("a")], "messages[3].role"),
        ([USER, asked("a"), told("b")], "messages[2].role"),
        ([USER, asked("x" * 41), told("x" * 41)], "messages[1].tool_calls[0].id"),
        (
            [USER, {"role": "assistant", "tool_calls": [call("a", "no name")]}, told("a")],
            "messages[1].tool_calls[0].function.name",
        ),
        ([{"role": "critic", "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([USER, {"role": "assistant", "content": None}], "messages[1].content"),
        (
            [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}],
            "messages[0].content[0].type",
        ),
        ([{"role": "user", "content": [{"type": "refusal"}]}], "messages[0].content[0].type"),
    ],
)
def test_conversations(messages: list[dict[str, Any]], param: str | None) -> None:
    found = wrong("gpt-4o", {}, messages)
    assert (found and found.param) == param


@pytest.mark.parametrize(
    ("model", "fields", "param"),
    [
        ("gpt-4o", {"max_tokens": 5, "stop": ["a"] * 4, "tools": [TOOL]}, None),
        ("o3", {"max_tokens": 5}, "max_tokens"),
        ("gpt-5", {"max_tokens": 5}, "max_tokens"),
        ("o3", {"stop": "a"}, "stop"),
        ("o3-mini", {"stop": "a"}, None),
        ("gpt-4o", {"stop": ["a"] * 5}, "stop"),
        ("gpt-4o", {"reasoning_effort": "low"}, "reasoning_effort"),
        ("gpt-4o", {"top_logprobs": 2}, "top_logprobs"),
        ("gpt-4o", {"tool_choice": "auto"}, "tool_choice"),
        ("gpt-4o", {"parallel_tool_calls": False}, "parallel_tool_calls"),
        ("gpt-4o", {"tools": []}, "tools"),
        (
            "gpt-4o",
            {"tools": [{"type": "function", "function": {"name": "a.b"}}]},
            "tools[0].function.name",
        ),
        ("gpt-4o", {"tools": [{"type": "function"}]}, "tools[0]"),
        ("gpt-4o", {"response_format": {"type": "json_object"}}, "messages"),
        (
            "gpt-4o",
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
            "response_format.json_schema.name",
        ),
    ],
)
def test_settings(model: str, fields: dict[str, Any], param: str | None) -> None:
    found = wrong(model, fields, [USER])
    assert (found and found.param) == param


def test_a_refusal_is_openais(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="did not have response messages: a"):
        client.chat.completions.create(model="gpt-4o", messages=[USER, asked("a"), USER])  # type: ignore[list-item]


@pytest.mark.parametrize("stream", [False, True])
def test_the_model_can_say_no(client: openai.OpenAI, stream: bool) -> None:
    ask: Any = [{"role": "user", "content": "Please refuse this."}]
    if stream:
        chunks = client.chat.completions.create(model="gpt-4o", messages=ask, stream=True)
        said = "".join(c.choices[0].delta.refusal or "" for c in chunks)
    else:
        message = client.chat.completions.create(model="gpt-4o", messages=ask).choices[0].message
        assert message.content is None
        said = message.refusal or ""
    assert said.startswith("I am sorry")


@pytest.mark.parametrize(
    ("model", "shown", "beside"),
    [("qwen3", True, False), ("o4-mini", False, False), ("grok-3-mini", True, True)],
)
def test_thinking_when_it_is_asked_for(
    client: openai.OpenAI, model: str, shown: bool, beside: bool
) -> None:
    reply = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "hi"}], reasoning_effort="low"
    )
    assert bool(getattr(reply.choices[0].message, "reasoning_content", "")) is shown
    usage = reply.usage
    assert usage
    assert usage.completion_tokens_details
    thought = usage.completion_tokens_details.reasoning_tokens or 0
    assert thought > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens + thought * beside
    chunks = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "hi"}],
        reasoning_effort="low",
        stream=True,
    )
    thoughts = [getattr(c.choices[0].delta, "reasoning_content", None) for c in chunks]
    assert any(thoughts) is shown


def test_embeddings(client: openai.OpenAI) -> None:
    packed = client.embeddings.create(model="text-embedding-3-small", input=["a", "b", "a"])
    plain = client.embeddings.create(
        model="text-embedding-3-small", input=["a", "b", "a"], encoding_format="float"
    )
    vectors = [one.embedding for one in plain.data]
    assert vectors[0] == vectors[2] != vectors[1]
    assert [one.index for one in plain.data] == [0, 1, 2]
    assert sum(value * value for value in vectors[0]) == pytest.approx(1)
    for one, other in zip(packed.data, vectors, strict=True):
        assert one.embedding == pytest.approx(other)
    assert plain.usage.prompt_tokens == 3
    sized = client.embeddings.create(model="m", input=[[1, 2], [3]], dimensions=5)
    assert [len(one.embedding) for one in sized.data] == [5, 5]
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="m", input=[])
    for chats in ("gpt-4o", "o3-mini"):
        with pytest.raises(openai.PermissionDeniedError, match="not allowed to generate embed"):
            client.embeddings.create(model=chats, input="x")


def test_azure_paths_need_a_version(mock: MockProvider) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=mock.url, api_key="k", api_version="2025-01-01", max_retries=0
    ) as client:
        reply = client.chat.completions.create(
            model="my-dep", messages=[{"role": "user", "content": "hi"}]
        )
        assert reply.model == "my-dep"
        assert len(client.embeddings.create(model="dep", input="x").data) == 1
    path, key = "/openai/deployments/d/chat/completions", "api-key: k\r\n"
    reply_ = send(mock, request(b'{"messages":[]}', path=path, headers=key))
    assert (reply_.status, json.loads(reply_.body)["error"]["code"]) == (404, "404")


def test_xais_errors(mock: MockProvider) -> None:
    body = {"model": "grok-wrong-key", "messages": [USER]}
    reply = send(mock, request(json.dumps(body).encode()))
    said = json.loads(reply.body)
    assert reply.status == 400
    assert said["error"].startswith("Incorrect API key")
    body = {"model": "grok-4", "messages": []}
    assert isinstance(json.loads(send(mock, request(json.dumps(body).encode())).body)["error"], str)


def test_what_else_the_api_has(client: openai.OpenAI) -> None:
    picture = client.images.generate(model="gpt-image-1", prompt="a cat")
    assert picture.data
    assert base64.b64decode(picture.data[0].b64_json or "").startswith(b"\x89PNG")
    assert picture.usage
    assert picture.usage.total_tokens == 150
    events = list(client.images.generate(model="gpt-image-1", prompt="a cat", stream=True))
    assert [event.type for event in events][-1] == "image_generation.completed"
    speech = client.audio.speech.create(model="tts-1", voice="alloy", input="hi")
    assert speech.content.startswith(b"ID3")
    heard: Any = client.audio.transcriptions.create(model="whisper-1", file=("a.mp3", b"x" * 1000))
    assert heard.received == {"model": len("whisper-1"), "file": 1000}
    file = client.files.create(file=("data.jsonl", b"{}\n" * 9), purpose="batch")
    assert file.bytes == 27
    assert client.files.content(file.id).content == b'{"custom_id":"one"}\n'
    assert client.files.delete(file.id).deleted
    assert [one.id for one in client.files.list()] == [file.id]
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h"
    )
    assert batch.endpoint == "/v1/embeddings"
    results = client.moderations.create(input=["violence", "peace"]).results
    assert [one.flagged for one in results] == [True, False]
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.list()


def test_base64_is_little_endian_float32(mock: MockProvider) -> None:
    body = json.dumps({"model": "m", "input": "x", "encoding_format": "base64", "dimensions": 2})
    reply = send(mock, request(body.encode(), path="/v1/embeddings"))
    packed = json.loads(reply.body)["data"][0]["embedding"]
    assert len(struct.unpack("<2f", base64.b64decode(packed))) == 2


# --- rankings


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"documents": ["x"]}, "query"),
        ({"query": "q"}, "documents"),
        ({"query": "q", "documents": "x"}, "documents"),
        ({"query": "q", "documents": ["x"], "top_n": 0}, "top_n"),
    ],
)
def test_rankings_it_refuses(mock: MockProvider, fields: dict[str, Any], param: str) -> None:
    raw = json.dumps({"model": "bge-reranker", **fields}).encode()
    reply = send(mock, request(raw, path="/v1/rerank"))
    assert (reply.status, json.loads(reply.body)["error"]["param"]) == (400, param)


def test_a_ranking(mock: MockProvider) -> None:
    asked = {"model": "m", "query": "red dog", "documents": ["a cat", {"text": "a red dog"}]}
    reply = json.loads(send(mock, request(json.dumps(asked).encode(), path="/v1/rerank")).body)
    first, second = reply["results"]
    assert first == {"index": 1, "relevance_score": 1.0, "document": {"text": "a red dog"}}
    assert second["relevance_score"] == 0
    assert reply["usage"]["total_tokens"] == 9
