"""The stock `openai` SDK, sync and async, as its users use it."""

from __future__ import annotations

import asyncio
import json

import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from tests.e2e.harness import Gateway
from tests.e2e.processes import eventually

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello out there"}]


def ask(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def tool(name: str) -> ChatCompletionToolParam:
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": "Looks something up.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }


class Place(BaseModel):
    city: str
    people: int


def test_chat(gateway: Gateway) -> None:
    reply = gateway.openai().chat.completions.create(model="gpt-4o", messages=HELLO)
    assert (reply.choices[0].message.content or "").startswith("You said: Hello out there")
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


async def test_chat_async(gateway: Gateway) -> None:
    async with gateway.async_openai() as client:
        reply = await client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert (reply.choices[0].message.content or "").startswith("You said: Hello out there")


def test_the_whole_reply_is_the_providers_own_bytes(gateway: Gateway) -> None:
    body = json.dumps({"model": "gpt-4o", "messages": HELLO}).encode()
    with gateway.http(gateway.key) as client:
        through = client.post("/v1/chat/completions", content=body)
    assert through.headers["x-sluice-provider"] == "acme"
    assert through.headers["x-sluice-model"] == "gpt-4o"
    with gateway.http() as client:
        direct = client.post(f"{gateway.mock.base_url}/chat/completions", content=body)
    # Each reply has an id of its own, of one length.
    assert through.content.replace(through.json()["id"].encode(), b"") == direct.content.replace(
        direct.json()["id"].encode(), b""
    )


def test_an_alias_is_resolved_and_nothing_else_is_changed(gateway: Gateway) -> None:
    body = b'{ "messages" : [{"role":"user","content":"caf\\u00e9 \xc3\xa9"}],  "model":"fast" }'
    with gateway.http(gateway.key) as client:
        assert client.post("/v1/chat/completions", content=body).status_code == 200
    (seen,) = gateway.mock.requests
    assert seen.body == body.replace(b'"fast"', b'"gpt-4o-mini"')
    assert seen.headers["content-length"] == str(len(seen.body))


def test_a_request_that_needs_no_change_arrives_byte_for_byte(gateway: Gateway) -> None:
    """S0-17, S0-19"""
    body = (
        b'{"model":"gpt-4o", "messages":[{"role":"user","content":"x","new_part":[1.50,1e2]}],\n'
        b'\t"seed":123456789012345678901234567890, "unheard_of":{"a":[null,{"b":"\\u0000"}]},'
        b'"metadata":{"k":"v"}}'
    )
    with gateway.http(gateway.key) as client:
        assert client.post("/v1/chat/completions", content=body).status_code == 200
    (seen,) = gateway.mock.requests
    assert seen.body == body
    assert seen.path == "/v1/chat/completions"


def test_stream(gateway: Gateway) -> None:
    chunks = list(
        gateway.openai().chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text.startswith("You said: Hello out there")
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert len({c.id for c in chunks}) == 1


async def test_stream_async(gateway: Gateway) -> None:
    async with gateway.async_openai() as client:
        stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
        text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
    assert text.startswith("You said: Hello out there")


def test_a_stream_without_usage_asked_shows_none_and_yet_it_was_counted(gateway: Gateway) -> None:
    response = gateway.openai().chat.completions.with_raw_response.create(
        model="gpt-4o", messages=HELLO, stream=True
    )
    chunks = list(response.parse())
    assert all(c.choices for c in chunks)
    assert all(c.usage is None for c in chunks)
    (seen,) = gateway.mock.requests
    assert json.loads(seen.body)["stream_options"]["include_usage"] is True
    line = gateway.wait_exchange(response.headers["x-sluice-call-id"])
    assert line["input_tokens"] > 0
    assert line["output_tokens"] > 0


def test_a_stream_with_usage_asked_ends_with_it(gateway: Gateway) -> None:
    chunks = list(
        gateway.openai().chat.completions.create(
            model="gpt-4o",
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert [c.usage is not None for c in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].choices == []


def test_usage_refused_and_other_options_are_kept(gateway: Gateway) -> None:
    body = json.dumps(
        {
            "model": "gpt-4o",
            "messages": HELLO,
            "stream": True,
            "stream_options": {"include_usage": False, "include_obfuscation": False, "new": [1]},
        }
    ).encode()
    with gateway.http(gateway.key) as client:
        reply = client.post("/v1/chat/completions", content=body)
    assert reply.text.endswith("data: [DONE]\n\n")
    assert '"choices":[]' not in reply.text
    (seen,) = gateway.mock.requests
    assert json.loads(seen.body)["stream_options"] == {
        "include_usage": True,
        "include_obfuscation": False,
        "new": [1],
    }


def test_the_first_event_comes_before_the_provider_sent_the_last(gateway: Gateway) -> None:
    """S0-3, S4-37"""
    stream = gateway.openai().chat.completions.create(
        model="gpt-4o", messages=ask("[[mock stall=forever@3 words=20]] hi"), stream=True
    )
    with stream:
        first = [next(stream), next(stream), next(stream)]
        assert first[-1].choices[0].delta.content
        (seen,) = gateway.mock.requests
        eventually(lambda: seen.events == 3, 5.0, "the mock has counted what it sent")
        assert seen.ended == "open"


def test_parallel_tools(gateway: Gateway) -> None:
    """S4-38"""
    reply = gateway.openai().chat.completions.create(
        model="gpt-4o",
        messages=ask("Call weather and tides in parallel for Oslo"),
        tools=[tool("weather"), tool("tides")],
    )
    calls = reply.choices[0].message.tool_calls or []
    assert reply.choices[0].finish_reason == "tool_calls"
    assert [c.function.name for c in calls if c.type == "function"] == ["weather", "tides"]
    assert all("city" in json.loads(c.function.arguments) for c in calls if c.type == "function")


def test_a_forced_tool_streams(gateway: Gateway) -> None:
    stream = gateway.openai().chat.completions.create(
        model="gpt-4o",
        messages=HELLO,
        tools=[tool("weather"), tool("tides")],
        tool_choice={"type": "function", "function": {"name": "tides"}},
        stream=True,
    )
    name, arguments = "", ""
    for chunk in stream:
        for call in chunk.choices[0].delta.tool_calls or [] if chunk.choices else []:
            assert call.function is not None
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    assert name == "tides"
    assert set(json.loads(arguments)) == {"city"}


def test_a_turn_with_a_tools_result(gateway: Gateway) -> None:
    reply = gateway.openai().chat.completions.create(
        model="gpt-4o",
        messages=[
            {"role": "user", "content": "weather?"},
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "rain all day"},
        ],
        tools=[tool("weather")],
    )
    assert "rain all day" in (reply.choices[0].message.content or "")


def test_structured_output(gateway: Gateway) -> None:
    reply = gateway.openai().chat.completions.parse(
        model="gpt-4o", messages=ask("Where do people live?"), response_format=Place
    )
    assert isinstance(reply.choices[0].message.parsed, Place)


def test_two_choices(gateway: Gateway) -> None:
    reply = gateway.openai().chat.completions.create(model="gpt-4o", messages=HELLO, n=2)
    assert [c.index for c in reply.choices] == [0, 1]
    chunks = gateway.openai().chat.completions.create(
        model="gpt-4o", messages=HELLO, n=2, stream=True
    )
    assert {c.choices[0].index for c in chunks if c.choices} == {0, 1}


def test_models(gateway: Gateway) -> None:
    ids = [card.id for card in gateway.openai().models.list()]
    assert {"gpt-4o", "gpt-4o-mini", "fast", "quick-model"} <= set(ids)
    assert gateway.mock.requests == ()


async def test_many_at_once_keep_apart(gateway: Gateway) -> None:
    async with gateway.async_openai() as client:

        async def one(number: int) -> str:
            reply = await client.chat.completions.create(
                model="gpt-4o", messages=ask(f"number {number}")
            )
            return reply.choices[0].message.content or ""

        texts = await asyncio.gather(*(one(n) for n in range(40)))
    assert all(f"number {n} " in text for n, text in enumerate(texts))


@pytest.mark.parametrize("stream", [False, True])
def test_the_exchange_is_logged_as_a_success(gateway: Gateway, stream: bool) -> None:
    response = gateway.openai().chat.completions.with_raw_response.create(
        model="gpt-4o", messages=HELLO, stream=stream
    )
    response.http_response.read()
    line = gateway.wait_exchange(response.headers["x-sluice-call-id"])
    assert (line["outcome"], line["status"], line["stream"]) == ("ok", 200, stream)
    eventually(lambda: gateway.mock.requests[-1].ended == "whole")
