"""Cohere's wire, driven by the vendor's own SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import cohere
import pytest
from cohere.core.api_error import ApiError

from extproc.mock import MockProvider
from tests.mock.raw import request, send

ASK = "What is the capital of France?"
HI: Any = [{"role": "user", "content": ASK}]
TOOL: Any = {
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
def client(mock: MockProvider) -> Iterator[cohere.ClientV2]:
    yield cohere.ClientV2("key", base_url=mock.url)


def chat(client: cohere.ClientV2, **fields: Any) -> Any:
    asked: Any = {"model": "command-a", "messages": HI, **fields}
    return client.chat(**asked, request_options={"max_retries": 0})


def stream(client: cohere.ClientV2, **fields: Any) -> list[Any]:
    asked: Any = {"model": "command-a", "messages": HI, **fields}
    return list(client.chat_stream(**asked))


def words(events: list[Any], kind: str = "text") -> str:
    deltas = (e.delta.message.content for e in events if e.type == "content-delta")
    return "".join(getattr(delta, kind) or "" for delta in deltas)


def test_whole_and_stream_say_the_same(client: cohere.ClientV2) -> None:
    whole = chat(client)
    assert whole.message.content[0].text.startswith(f"You said: {ASK}")
    events = stream(client)
    assert words(events) == whole.message.content[0].text
    assert (events[0].type, events[-1].type) == ("message-start", "message-end")
    assert events[-1].delta.usage == whole.usage
    assert whole.usage.tokens.input_tokens == len(ASK.split()) + 3
    assert whole.finish_reason == events[-1].delta.finish_reason == "COMPLETE"


@pytest.mark.parametrize("thinks", [True, False])
def test_a_plan_or_thinking_and_then_tools(client: cohere.ClientV2, thinks: bool) -> None:
    fields: dict[str, Any] = {
        "tools": [TOOL], "messages": [{"role": "user", "content": "use get_weather in parallel"}],
    }  # fmt: skip
    if thinks:
        fields["thinking"] = {"type": "enabled", "token_budget": 100}
    whole = chat(client, **fields)
    events = stream(client, **fields)
    assert whole.finish_reason == "TOOL_CALL"
    assert len({call.id for call in whole.message.tool_calls}) == 2
    assert set(json.loads(whole.message.tool_calls[0].function.arguments)) == {"city"}
    starts = [e.delta.message.tool_calls.id for e in events if e.type == "tool-call-start"]
    assert starts == [call.id for call in whole.message.tool_calls]
    said = ["", ""]
    for event in events:
        if event.type == "tool-call-delta":
            said[event.index] += event.delta.message.tool_calls.function.arguments
    assert said == [call.function.arguments for call in whole.message.tool_calls]
    plan = "".join(e.delta.message.tool_plan for e in events if e.type == "tool-plan-delta")
    assert plan == (whole.message.tool_plan or "")
    assert bool(plan) is not thinks
    assert bool(words(events, "thinking")) is thinks


def test_a_result_is_answered_in_words(client: cohere.ClientV2) -> None:
    call = chat(client, tools=[TOOL], tool_choice="REQUIRED").message.tool_calls[0]
    told = [
        *HI,
        {"role": "assistant", "tool_calls": [call.model_dump()], "tool_plan": "I will look."},
        {"role": "tool", "tool_call_id": call.id, "content": "It rains."},
    ]
    assert (
        chat(client, messages=told, tools=[TOOL])
        .message.content[0]
        .text.startswith("You said: It rains.")
    )
    spoken = chat(client, messages=[{"role": "user", "content": "get_weather"}],
                  tools=[TOOL], tool_choice="NONE")  # fmt: skip
    assert spoken.message.tool_calls is None


def test_structure_limits_stops_and_refusals(client: cohere.ClientV2) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = {"type": "json_object", "json_schema": schema}
    assert json.loads(chat(client, response_format=form).message.content[0].text) == {"n": 1}
    short = chat(client, max_tokens=4)
    assert (short.message.content[0].text, short.finish_reason) == (
        "You said: What is",
        "MAX_TOKENS",
    )
    stopped = chat(client, stop_sequences=["is the"])
    assert (stopped.message.content[0].text, stopped.finish_reason) == (
        "You said: What ",
        "STOP_SEQUENCE",
    )
    refused = chat(client, messages=[{"role": "user", "content": "please refuse"}])
    assert "sorry" in refused.message.content[0].text


def test_citations_and_probabilities(client: cohere.ClientV2) -> None:
    documents = [{"data": {"text": "Paris."}}, "Lyon."]
    whole = chat(client, documents=documents, logprobs=True)
    events = stream(client, documents=documents, logprobs=True)
    (cited,) = whole.message.citations
    assert cited.sources[0].document["text"] == "Paris."
    assert [e.delta.message.citations for e in events if e.type == "citation-start"] == [cited]
    probable = [e.logprobs.text for e in events if e.type == "content-delta"]
    assert probable == [one.text for one in whole.logprobs]
    assert chat(client, documents=["Lyon."]).message.citations


def test_embeddings(client: cohere.ClientV2) -> None:
    two = client.embed(
        model="embed-v4.0",
        texts=["one", "two three"],
        input_type="search_query",
        embedding_types=["float", "base64", "int8"],
    )
    assert two.embeddings.float_ is not None and two.embeddings.base64 is not None
    assert len({tuple(vector) for vector in two.embeddings.float_}) == 2
    assert two.meta is not None and two.meta.billed_units is not None
    assert two.meta.billed_units.input_tokens == 3
    small = client.embed(model="m", texts=["x"], input_type="clustering", output_dimension=4)
    assert small.embeddings.float_ is not None and len(small.embeddings.float_[0]) == 4


def test_ranking(client: cohere.ClientV2, mock: MockProvider) -> None:
    documents = ["a cat", "a red dog", "red"]
    found = client.rerank(model="m", query="red dog", documents=documents, top_n=2)
    assert [(one.index, one.relevance_score) for one in found.results] == [(1, 1.0), (2, 0.5)]
    older = cohere.Client("key", base_url=mock.url)
    again = older.rerank(
        model="rerank-v3.5",
        query="cat",
        documents=[{"text": one} for one in documents],
        return_documents=True,
    )
    assert again.results[0].document is not None
    assert again.results[0].document.text == "a cat"


RESULT = {"role": "tool", "tool_call_id": "a", "content": "x"}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = {"role": "assistant", "tool_calls": [CALL]}
USER = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": ""}, "model is required"),
        ({"messages": []}, "messages is required"),
        ({"model": "missing-model"}, "not found"),
        ({"later": 1}, "unknown field"),
        ({"p": 1}, "p must be between"),
        ({"k": 501}, "k must be between"),
        ({"presence_penalty": -1}, "presence_penalty"),
        ({"temperature": "x"}, "should be a number"),
        ({"stop_sequences": list("abcdef")}, "at most 5"),
        ({"stop_sequences": "a"}, "[]string"),
        ({"thinking": {"type": "on"}}, "thinking.type"),
        ({"thinking": {"type": "enabled", "token_budget": 0}}, "positive"),
        ({"thinking": {"type": "enabled"}, "model": "nothink"}, "does not support"),
        ({"response_format": {"type": "json_schema"}}, "response_format.type"),
        ({"response_format": {"type": "json_object"}, "tools": [TOOL]}, "not supported with tools"),
        ({"tool_choice": "AUTO", "tools": [TOOL]}, "REQUIRED, NONE"),
        ({"tool_choice": "NONE"}, "only be used with tools"),
        ({"tools": "x"}, "should be a list"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "name and parameters"),
        ({"tools": [{"type": "function", "function": {"name": "a-b", "parameters": {}}}]},
         "characters"),
        ({"messages": [USER, {"role": "robot", "content": "x"}]}, "role must be one of"),
        ({"messages": [USER, {"role": "system", "content": "x"}]}, "must be the first"),
        ({"messages": [{"role": "user", "content": ""}]}, "must not be empty"),
        ({"messages": [{"role": "user", "content": 7}]}, "string or a list"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "text, image_url"),
        ({"messages": [USER, CALLED, USER]}, "no result of tool calls a"),
        ({"messages": [USER, CALLED]}, "no result of tool calls a"),
        ({"messages": [USER, RESULT]}, "was not called"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [{"id": "a"}]}]}, "is none"),
    ],
)  # fmt: skip
def test_refusals(mock: MockProvider, fields: dict[str, Any], message: str) -> None:
    body = {"model": "command-a", "messages": HI, **fields}
    reply = send(mock, request(json.dumps(body).encode(), path="/any/v2/chat"))
    assert reply.status == (404 if message == "not found" else 400)
    assert message in json.loads(reply.body)["message"]


@pytest.mark.parametrize(
    ("path", "fields", "message"),
    [
        ("/v2/embed", {"texts": ["x"]}, "input_type"),
        ("/v2/embed", {"input_type": "image"}, "one of texts"),
        ("/v2/embed", {"texts": [1], "input_type": "image"}, "[]string"),
        ("/v2/embed", {"texts": ["x"] * 97, "input_type": "image"}, "at most 96"),
        (
            "/v2/embed",
            {"texts": ["x"], "input_type": "image", "embedding_types": ["x"]},
            "of float",
        ),
        ("/v2/embed", {"model": None}, "model is required"),
        ("/v2/rerank", {"query": "q"}, "documents is required"),
        (
            "/v1/rerank",
            {"model": "rerank-v3.5", "query": "q", "documents": ["x"], "top_n": 0},
            "top_n",
        ),
    ],
)
def test_other_refusals(
    mock: MockProvider, path: str, fields: dict[str, Any], message: str
) -> None:
    reply = send(mock, request(json.dumps({"model": "m", **fields}).encode(), path=path))
    assert reply.status == 400
    assert message in json.loads(reply.body)["message"]


def test_faults(client: cohere.ClientV2, mock: MockProvider) -> None:
    with pytest.raises(cohere.TooManyRequestsError):
        chat(client, model="m;status=429")
    last = stream(client, model="m;error=2")[-1]
    assert (last.type, last.delta.finish_reason) == ("message-end", "ERROR")
    assert chat(client, model="m;no-usage").usage is None
    assert chat(client, model="m;usage=3,4").usage.tokens.output_tokens == 4
    assert send(mock, request(b"", method="GET", path="/v2/chat")).status == 405
    assert send(mock, request(b"[", path="/v2/chat")).status == 400
    with pytest.raises(ApiError):
        chat(client, model="m;status=418")
