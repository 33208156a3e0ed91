"""Providers that speak OpenAI's language and are not OpenAI: what each takes, refuses and says otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from extproc.mock import MockProvider

USER: Any = {"role": "user", "content": "hi"}
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
LARGE, DEEP, QWEN = "mistral-large-latest", "deepseek-chat", "Qwen/Qwen3-32B"


@pytest.fixture
def client(mock: MockProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=mock.base_url, api_key="k", max_retries=0) as client:
        yield client


def refused(client: openai.OpenAI, model: str, *messages: Any, **fields: Any) -> tuple[int, str]:
    """Status and words of a refusal; the SDK shows only OpenAI's own form of them."""
    with pytest.raises(openai.APIStatusError) as caught:
        say(client, model, *messages, **fields)
    return caught.value.status_code, json.dumps(caught.value.body)


def say(client: openai.OpenAI, model: str, *messages: Any, **fields: Any) -> Any:
    return client.chat.completions.create(model=model, messages=messages or (USER,), **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"max_completion_tokens": 9},
        {"seed": 1},
        {"store": False},
        {"stream": True, "stream_options": {"include_usage": True}},
    ],
)
def test_mistral_forbids_what_it_does_not_know(client: openai.OpenAI, fields: Any) -> None:
    status, said = refused(client, LARGE, **fields)
    assert status == 422
    assert "extra_forbidden" in said


def test_mistrals_messages_have_their_own_members(client: openai.OpenAI) -> None:
    said = say(client, LARGE, tools=[TOOL], tool_choice="required").choices[0].message
    assert len(said.tool_calls[0].id) == 9
    result = {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "x"}
    assert say(client, LARGE, USER, said.to_dict(), result).choices[0].message.content
    thought = {"role": "assistant", "content": "a", "reasoning_content": "b"}
    assert "reasoning_content" in refused(client, LARGE, USER, thought)[1]
    call = {
        "id": "call_longer_1",
        "type": "function",
        "function": {"name": "look", "arguments": "{}"},
    }
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert (
        "with a length of 9"
        in refused(client, LARGE, USER, asked, {**result, "tool_call_id": "call_longer_1"})[1]
    )


def test_mistral_thinks_in_parts_and_tells_usage_unasked(client: openai.OpenAI) -> None:
    whole = say(client, "magistral-medium-latest").choices[0].message.content
    assert [part["type"] for part in whole] == ["thinking", "text"]
    chunks = list(say(client, LARGE, stream=True))
    assert chunks[-1].usage.completion_tokens > 0
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_deepseek_overlooks_and_sees_nothing(client: openai.OpenAI) -> None:
    assert say(client, DEEP, max_completion_tokens=2).choices[0].finish_reason == "stop"
    assert say(client, DEEP, max_tokens=2).choices[0].finish_reason == "length"
    assert say(client, "deepseek-reasoner").choices[0].message.reasoning_content
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}
    with pytest.raises(openai.BadRequestError, match="unavailable"):
        say(client, DEEP, response_format=schema)
    assert "only n = 1" in refused(client, DEEP, n=2)[1]
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    with pytest.raises(openai.BadRequestError, match="unknown variant `image_url`"):
        say(client, DEEP, {"role": "user", "content": [picture]})


def test_vllm_has_long_ids_and_its_own_word_for_thinking(client: openai.OpenAI) -> None:
    said = say(client, QWEN, tools=[TOOL], tool_choice="required").choices[0].message
    assert len(said.tool_calls[0].id) > 40
    result = {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "x"}
    assert say(client, QWEN, USER, said.to_dict(), result).choices[0].message.content
    with pytest.raises(openai.BadRequestError, match="too long"):
        say(client, "gpt-4o", USER, said.to_dict(), result)
    assert say(client, QWEN, reasoning_effort="low").choices[0].message.reasoning


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("grok-4", {"stop": ["a"]}),
        ("grok-4", {"presence_penalty": 1}),
        ("grok-4", {"reasoning_effort": "low"}),
        ("grok-3", {"reasoning_effort": "low"}),
        ("grok-3-mini", {"reasoning_effort": "medium"}),
    ],
)
def test_grok_says_which_parameter(client: openai.OpenAI, model: str, fields: Any) -> None:
    status, said = refused(client, model, **fields)
    assert status == 400
    assert next(iter(fields)) in said


def test_a_tool_may_ask_for_the_next(client: openai.OpenAI) -> None:
    said = say(client, "gpt-4o", tools=[TOOL], tool_choice="required").choices[0].message
    asked = said.to_dict()
    result = {"role": "tool", "tool_call_id": said.tool_calls[0].id}
    again = say(client, "gpt-4o", USER, asked, {**result, "content": "then use look"}, tools=[TOOL])
    assert again.choices[0].finish_reason == "tool_calls"
    done = say(client, "gpt-4o", USER, asked, {**result, "content": "look, done"}, tools=[TOOL])
    assert done.choices[0].finish_reason == "stop"
