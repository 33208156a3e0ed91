"""The OpenAI wire, driven by the vendor's own SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal

import openai
import pytest
from openai.types.chat import (
    ChatCompletionMessageFunctionToolCallParam,
    ChatCompletionToolParam,
)
from pydantic import BaseModel

from extproc.mock import MockProvider
from tests.mock.raw import request, send

ASK = "What is the capital of France?"


@pytest.fixture
def client(mock: MockProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=mock.base_url, api_key="k", max_retries=0) as client:
        yield client


def tool(name: str) -> ChatCompletionToolParam:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
        "required": ["city", "days"],
    }
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLS = [tool("get_weather"), tool("get_news")]


def test_whole_and_stream_say_the_same(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": ASK}]
    )
    text = whole.choices[0].message.content or ""
    assert text.startswith(f"You said: {ASK}")
    assert whole.choices[0].finish_reason == "stop"
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "user", "content": ASK}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == text
    assert chunks[-1].usage == whole.usage
    assert chunks[-1].choices == []
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].id != whole.id


def test_without_include_usage_no_chunk_speaks_of_it(client: openai.OpenAI) -> None:
    chunks = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": ASK}], stream=True
    )
    assert all("usage" not in chunk.model_fields_set for chunk in chunks)


async def test_async(mock: MockProvider) -> None:
    async with openai.AsyncOpenAI(base_url=mock.base_url, api_key="k") as client:
        stream = await client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": ASK}], stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert text.startswith(f"You said: {ASK}")
        assert len((await client.models.list()).data) > 1


def test_tokens_are_words(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": ASK}]
    )
    assert reply.usage
    assert reply.usage.prompt_tokens == len(ASK.split()) + 3
    assert reply.usage.completion_tokens == len((reply.choices[0].message.content or "").split())


@pytest.mark.parametrize("stream", [False, True])
def test_n_choices_differ(client: openai.OpenAI, stream: bool) -> None:
    texts = ["", "", ""]
    if stream:
        for chunk in client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": ASK}], n=3, stream=True
        ):
            texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    else:
        reply = client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": ASK}], n=3
        )
        texts = [choice.message.content or "" for choice in reply.choices]
    assert len(set(texts)) == 3


def test_max_tokens(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": ASK}], max_completion_tokens=4
    )
    assert reply.choices[0].message.content == "You said: What is"
    assert reply.choices[0].finish_reason == "length"


def test_stop_across_words(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": ASK}], stop=["zzz", "is the cap"]
    )
    assert reply.choices[0].message.content == "You said: What "
    assert reply.choices[0].finish_reason == "stop"


def test_logprobs(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": ASK}], logprobs=True
    )
    probable = reply.choices[0].logprobs
    assert probable
    assert "".join(one.token for one in probable.content or ()) == reply.choices[0].message.content


def test_a_required_tool_is_called(client: openai.OpenAI) -> None:
    choice = client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": ASK}],
        tools=TOOLS,
        tool_choice="required",
    ).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "What is the capital", "days": 2}


def test_a_named_tool_is_called(client: openai.OpenAI) -> None:
    choice = client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": ASK}],
        tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "get_news"}},
    ).choices[0]
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_news"


@pytest.mark.parametrize(
    ("prompt", "choice", "called"),
    [
        (ASK, "auto", 0),
        ("use a tool", "auto", 1),
        ("use a tool", "none", 0),
        ("get_news please", "auto", 1),
        ("use tools in parallel", "auto", 2),
        ("in parallel", "required", 2),
    ],
)
def test_when_tools_are_called(
    client: openai.OpenAI, prompt: str, choice: Literal["auto", "none", "required"], called: int
) -> None:
    reply = client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": prompt}],
        tools=TOOLS,
        tool_choice=choice,
    )
    assert len(reply.choices[0].message.tool_calls or ()) == called


def test_a_tool_result_is_answered_in_words(client: openai.OpenAI) -> None:
    call: ChatCompletionMessageFunctionToolCallParam = {
        "id": "c1",
        "type": "function",
        "function": {"name": "get_news", "arguments": "{}"},
    }
    reply = client.chat.completions.create(
        model="gpt-4o",
        messages=[
            {"role": "user", "content": "get_news please"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "It rains."},
        ],
        tools=TOOLS,
    )
    assert (reply.choices[0].message.content or "").startswith("You said: It rains.")


def test_parallel_calls_streamed_add_up(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="gpt-4o",
        messages=[{"role": "user", "content": "in parallel"}],
        tools=TOOLS,
        tool_choice="required",
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    calls = message.tool_calls or ()
    assert [call.function.name for call in calls] == ["get_weather", "get_news"]
    assert len({call.id for call in calls}) == 2
    assert all(json.loads(call.function.arguments)["days"] == 2 for call in calls)


class Trip(BaseModel):
    city: str
    days: int
    stops: list[str]


def test_structured_output(client: openai.OpenAI) -> None:
    reply = client.chat.completions.parse(
        model="gpt-4o", messages=[{"role": "user", "content": ASK}], response_format=Trip
    )
    assert isinstance(reply.choices[0].message.parsed, Trip)


def test_json_object(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": ASK + " Answer with JSON."}],
        response_format={"type": "json_object"},
    )
    assert "answer" in json.loads(reply.choices[0].message.content or "")


def test_models(client: openai.OpenAI) -> None:
    assert "gpt-4o" in [model.id for model in client.models.list()]
    assert client.models.retrieve("gpt-4o").id == "gpt-4o"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (529, openai.InternalServerError),
    ],
)
def test_exception_classes(
    client: openai.OpenAI, status: int, error: type[openai.APIStatusError]
) -> None:
    with pytest.raises(error) as caught:
        client.chat.completions.create(
            model=f"gpt-4o;status={status}", messages=[{"role": "user", "content": ASK}]
        )
    assert f"status {status}" in caught.value.message


def test_a_stream_that_fails_raises(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="gpt-4o;error=2", messages=[{"role": "user", "content": ASK}], stream=True
    )
    with pytest.raises(openai.APIError, match="had an error"):
        list(stream)


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (b"{", 400, None, None),
        (b"[]", 400, None, None),
        (b"", 400, None, None),
        (b'{"messages":[]}', 400, None, None),
        (b'{"model":"m"}', 400, "missing_required_parameter", "messages"),
        (b'{"model":"m","messages":"x"}', 400, "invalid_type", "messages"),
        (b'{"model":"m","messages":[]}', 400, "empty_array", "messages"),
        (b'{"model":"missing-model","messages":[{}]}', 404, "model_not_found", None),
    ],
)
def test_refusals(
    mock: MockProvider, body: bytes, status: int, code: str | None, param: str | None
) -> None:
    reply = send(mock, request(body))
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"], error["param"]) == (status, code, param)
    assert error["type"] == "invalid_request_error"


def test_odd_fields_never_break_it(mock: MockProvider) -> None:
    odd = {
        "model": "m",
        "messages": [{"content": [{"text": 5}, 3]}, {}],
        "n": "x",
        "stop": 5,
        "tools": [1, {}, {"function": {"name": "f"}}],
        "tool_choice": 7,
        "response_format": [],
        "max_tokens": -1,
        "stream_options": 1,
    }
    reply = send(mock, request(json.dumps(odd).encode()))
    assert (reply.status, json.loads(reply.body)["error"]["param"]) == (400, "tools[0]")
    mild = {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}
    assert (
        send(
            mock, request(json.dumps({**odd, "tools": None, "tool_choice": None, **mild}).encode())
        ).status
        == 200
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v1/nothing", 404),
        ("POST", "/any/base/chat/completions", 400),
        ("GET", "/v1/models", 200),
    ],
)
def test_paths(mock: MockProvider, method: str, path: str, status: int) -> None:
    assert send(mock, request(b"", method=method, path=path)).status == status
