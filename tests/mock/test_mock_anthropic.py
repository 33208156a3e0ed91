"""Anthropic's wire, driven by the vendor's own SDK: its own API, Bedrock's and Vertex's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic.lib.bedrock import AnthropicBedrock
from anthropic.lib.vertex import AnthropicVertex

from extproc.mock import MockProvider
from extproc.mock.speakers.anthropic_rules import SIGNATURE

ASK = "What is the capital of France?"
MODEL = "claude-opus-4-8"
HELLO: Any = {"role": "user", "content": ASK}


@pytest.fixture
def client(mock: MockProvider) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=mock.url, api_key="k", max_retries=0) as client:
        yield client


def tool(name: str) -> Any:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return {"name": name, "description": name, "input_schema": schema}


TOOLS = [tool("get_weather"), tool("get_news")]


def say(client: Any, *messages: Any, **settings: Any) -> Any:
    asked = {"model": MODEL, "max_tokens": 200, "messages": messages or [HELLO], **settings}
    return client.messages.create(**asked)


def stream(client: Any, *messages: Any, **settings: Any) -> Any:
    asked = {"model": MODEL, "max_tokens": 200, "messages": messages or [HELLO], **settings}
    with client.messages.stream(**asked) as found:
        return found.get_final_message()


def refusal(client: Any, *messages: Any, **settings: Any) -> str:
    with pytest.raises(anthropic.BadRequestError) as caught:
        say(client, *messages, **settings)
    assert caught.value.type == "invalid_request_error"
    return str(caught.value.api_message)


def bare(message: Any) -> Any:
    found = message.to_dict()
    del found["id"]
    for block in found["content"]:
        block.pop("parsed_output", None)
    return found


def test_whole_and_stream_say_the_same(client: anthropic.Anthropic) -> None:
    whole, streamed = say(client), stream(client)
    assert whole.content[0].text.startswith(f"You said: {ASK}")
    assert whole.stop_reason == "end_turn"
    assert bare(whole) == bare(streamed)
    assert whole.id != streamed.id


def test_on_bedrock_and_on_vertex(mock: MockProvider) -> None:
    """InvokeModel answers in an AWS event stream, Vertex in events."""
    bedrock = AnthropicBedrock(api_key="k", aws_region="us-east-1", base_url=mock.url)
    vertex = AnthropicVertex(
        region="europe-west1", project_id="p", access_token="t", base_url=f"{mock.url}/v1"
    )
    for client, model in (
        (bedrock, "us.anthropic.claude-opus-4-8"),
        (vertex, "claude-opus-4-8@20260501"),
    ):
        whole, streamed = say(client, model=model), stream(client, model=model)
        assert whole.content[0].text.startswith("You said:")
        assert bare(whole) == bare(streamed)
        with pytest.raises(anthropic.BadRequestError) as caught:
            say(client, model=model, extra_body={"temperature": 0.5})
        assert "temperature" in str(caught.value.body)
        # AWS has an envelope of its own.
        assert caught.value.type == (None if client is bedrock else "invalid_request_error")


def test_tools_are_called_and_answered(client: anthropic.Anthropic) -> None:
    ask: Any = {"role": "user", "content": "Call get_weather and get_news in parallel"}
    for message in (say(client, ask, tools=TOOLS), stream(client, ask, tools=TOOLS)):
        assert message.stop_reason == "tool_use"
        assert [block.name for block in message.content] == ["get_weather", "get_news"]
        assert "city" in message.content[0].input
    calls = [block.to_dict() for block in say(client, ask, tools=TOOLS).content]
    results = [{"type": "tool_result", "tool_use_id": c["id"], "content": "12"} for c in calls]
    answered = say(
        client,
        ask,
        {"role": "assistant", "content": calls},
        {"role": "user", "content": results},
        tools=TOOLS,
    )
    assert answered.stop_reason == "end_turn"
    single = {"type": "any", "disable_parallel_tool_use": True}
    assert len(say(client, ask, tools=TOOLS, tool_choice=single).content) == 1
    named = {"type": "tool", "name": "get_news"}
    assert say(client, tools=TOOLS, tool_choice=named).content[0].name == "get_news"
    assert say(client, ask, tools=TOOLS, tool_choice={"type": "none"}).stop_reason == "end_turn"


def test_it_thinks_and_signs(client: anthropic.Anthropic) -> None:
    for thinking in ({"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive"}):
        settings: Any = {"thinking": thinking, "max_tokens": 4000}
        for message in (say(client, **settings), stream(client, **settings)):
            assert [block.type for block in message.content] == ["thinking", "text"]
            assert (message.content[0].signature, message.content[0].thinking != "") == (
                SIGNATURE,
                True,
            )
            assert message.usage.output_tokens_details.thinking_tokens > 0
    hidden = say(client, thinking={"type": "adaptive", "display": "omitted"})
    assert (hidden.content[0].thinking, hidden.content[0].signature) == ("", SIGNATURE)


def test_structured_output(client: anthropic.Anthropic) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    form = {"format": {"type": "json_schema", "schema": schema}}
    assert "city" in json.loads(say(client, output_config=form).content[0].text)


def test_stops(client: anthropic.Anthropic) -> None:
    cut = say(client, max_tokens=3)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 3)
    stopped = say(client, stop_sequences=["France"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "France")
    no = say(client, {"role": "user", "content": "please refuse"})
    assert (no.stop_reason, no.stop_details.type) == ("refusal", "refusal")


def test_counting(client: anthropic.Anthropic) -> None:
    count = client.messages.count_tokens(model=MODEL, messages=[HELLO])
    assert count.input_tokens == say(client).usage.input_tokens


def test_batches(client: anthropic.Anthropic) -> None:
    assert client.messages.batches.retrieve("msgbatch_mock").processing_status == "in_progress"
    assert len(client.messages.batches.list().data) == 1


def test_errors_are_the_sdks_own(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        say(client, model="missing-model")
    for status, raised in (
        (401, anthropic.AuthenticationError),
        (429, anthropic.RateLimitError),
        (529, anthropic.InternalServerError),
    ):
        with pytest.raises(raised):
            say(client, model=f"claude;status={status}")
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        stream(client, model="claude;error=2")


CALL: Any = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
CALLED: Any = {"role": "assistant", "content": [CALL]}
RESULT: Any = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "12"}
TEXT: Any = {"type": "text", "text": "And?"}


def said(*blocks: Any) -> Any:
    return {"role": "user", "content": list(blocks)}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"role": "assistant", "content": "x"}, HELLO], "first message must use"),
        ([said()], "non-empty content"),
        ([said({"type": "text", "text": ""})], "must be non-empty"),
        ([said({"type": "text", "text": " \n"})], "non-whitespace"),
        ([HELLO, {"role": "assistant", "content": "x "}], "trailing whitespace"),
        ([HELLO, CALLED, said(TEXT)], "without `tool_result` blocks immediately after"),
        ([HELLO, CALLED, said(TEXT, RESULT)], "without `tool_result` blocks immediately after"),
        ([HELLO, CALLED], "without `tool_result` blocks immediately after"),
        ([said(RESULT)], "unexpected `tool_use_id`"),
        ([HELLO, {"role": "assistant", "content": [{**CALL, "id": "a:b"}]}], "should match"),
        ([HELLO, {"role": "assistant", "content": [{**CALL, "name": "a b"}]}], "should match"),
        ([HELLO, {"role": "assistant", "content": [{**CALL, "input": "{}"}]}], "dictionary"),
        (
            [
                HELLO,
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "thinking": "x", "signature": "other"}],
                },
                HELLO,
            ],
            "Invalid `signature`",
        ),
        (
            [said({"type": "image", "source": {"type": "base64", "media_type": "image/bmp"}})],
            "media_type",
        ),
        ([{"role": "tool", "content": "x"}], "role"),
    ],
)
def test_conversations_that_are_refused(
    client: anthropic.Anthropic, messages: Any, expected: str
) -> None:
    assert expected in refusal(client, *messages)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"extra_body": {"seed": 1}}, "seed: Extra inputs"),
        ({"extra_body": {"temperature": 1.5}}, "temperature: range"),
        ({"stop_sequences": [" "]}, "non-whitespace"),
        ({"tool_choice": {"type": "auto"}}, "while providing tools"),
        ({"tools": [tool("a"), tool("a")]}, "unique"),
        ({"tools": [tool("a b")]}, "should match"),
        ({"tools": [{"name": "a", "input_schema": {"type": "array"}}]}, "'object'"),
        ({"thinking": {"type": "enabled", "budget_tokens": 100}}, "1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "must be greater"),
        (
            {"thinking": {"type": "adaptive"}, "tools": TOOLS, "tool_choice": {"type": "any"}},
            "forces tool use",
        ),
        (
            {"thinking": {"type": "adaptive"}, "extra_body": {"temperature": 0.5}},
            "only be set to 1",
        ),
        ({"output_config": {"effort": "ultra"}}, "effort"),
        (
            {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5},
            "maximum of 4",
        ),
    ],
)
def test_settings_that_are_refused(
    client: anthropic.Anthropic, settings: Any, expected: str
) -> None:
    assert expected in refusal(client, **settings)


def test_manual_thinking_wants_its_thoughts_back(client: anthropic.Anthropic) -> None:
    settings: Any = {
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "max_tokens": 4000,
        "tools": TOOLS,
    }
    assert "but found `tool_use`" in refusal(client, HELLO, CALLED, said(RESULT), **settings)
    thought = {"type": "thinking", "thinking": "x", "signature": SIGNATURE}
    turn: Any = {"role": "assistant", "content": [thought, CALL]}
    assert say(client, HELLO, turn, said(RESULT), **settings).stop_reason == "end_turn"
