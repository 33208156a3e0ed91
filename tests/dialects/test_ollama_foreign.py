"""Requests of other languages as Ollama is asked them: what is carried, named, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import ollama
import pytest

from extproc.dialects.ollama_chat import DIALECT
from extproc.model.call import Capabilities, OnLossy
from extproc.model.chat import (
    Audio,
    CacheMark,
    Chat,
    Document,
    Extra,
    Image,
    Message,
    OpaquePart,
    Output,
    OutputKind,
    Reasoning,
    Refusal,
    Role,
    Sampling,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from extproc.model.errors import InvalidRequest, Unsupported
from extproc.model.fields import Field
from tests.dialects.kit_ollama import HI, elsewhere

from . import kit_ollama as kit


def test_a_foreign_request_in_full() -> None:
    chat = elsewhere(
        Message(Role.SYSTEM, (Text("One"), Text("Two"))),
        Message(Role.DEVELOPER, (Text("Three"),)),
        Message(Role.USER, (Text("What is it like there?"),)),
        Message(
            Role.ASSISTANT,
            (Thinking("They ask", signature="s", origin="x"), Text("Let me see."),
             ToolCall("toolu_1", "weather", '{"city": "Bern"}'), ToolCall("toolu_2", "clock", "")),
        ),
        Message(Role.TOOL, (ToolResult("toolu_1", (Text("Rain"), Text("all day"))),
                            ToolResult("toolu_2", (Text("none"),), is_error=True))),
        stream=True,
        tools=(Tool("weather", "Tells", {"properties": {}}, strict=True), Tool("clock")),
        sampling=Sampling(0.5, 0.9, 40, 100, ("a",), 7, 0.1, 0.2, 1, True, 3),
        output=Output(OutputKind.SCHEMA, {"type": "object"}, "answer"),
        reasoning=Reasoning(effort="xhigh"),
        user="u",
        metadata={"a": "b"},
        service_tier="flex",
        parallel_tools=False,
        extra=Extra("elsewhere", {"verbosity": "low", "stream_options": {}, "store": False}),
    )  # fmt: skip
    to = kit.target("llama", Capabilities(context=8192))
    rendered = kit.rendered(chat, to)
    assert (rendered.path, rendered.stream) == ("/api/chat", True)
    assert json.loads(rendered.body) == {
        "model": "llama",
        "messages": [
            {"role": "system", "content": "One\nTwo"},
            {"role": "system", "content": "Three"},
            {"role": "user", "content": "What is it like there?"},
            {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [
                    {"id": "toolu_1", "function": {"name": "weather", "arguments": {"city": "Bern"}}},
                    {"id": "toolu_2", "function": {"name": "clock", "arguments": {}}},
                ],
            },
            {"role": "tool", "content": "Rain\nall day", "tool_name": "weather", "tool_call_id": "toolu_1"},
            {"role": "tool", "content": "ERROR: none", "tool_name": "clock", "tool_call_id": "toolu_2"},
        ],
        "stream": True,
        "tools": [
            {"type": "function", "function": {
                "name": "weather", "description": "Tells",
                "parameters": {"type": "object", "properties": {}}}},
            {"type": "function", "function": {
                "name": "clock", "parameters": {"type": "object", "properties": {}}}},
        ],
        "options": {
            "temperature": 0.5, "top_p": 0.9, "top_k": 40, "num_predict": 100, "seed": 7,
            "frequency_penalty": 0.1, "presence_penalty": 0.2, "stop": ["a"], "num_ctx": 8192,
        },
        "logprobs": True,
        "top_logprobs": 3,
        "format": {"type": "object"},
        "think": "max",
        "truncate": False,
    }  # fmt: skip
    assert rendered.dropped == (
        "verbosity", "thinking", "tool_result.is_error", "tools.strict", "parallel_tool_calls",
        "user", "metadata", "service_tier",
    )  # fmt: skip
    ollama.ChatResponse(message=ollama.Message(**json.loads(rendered.body)["messages"][3]))


def test_too_long_a_prompt_is_refused_and_not_cut_short() -> None:
    assert kit.rebuilt(elsewhere())["truncate"] is False
    assert "options" not in kit.rebuilt(elsewhere())
    assert "truncate" not in kit.rebuilt(kit.parse({"model": "m", "messages": [HI]}))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"sampling": Sampling(n=2)}, "n"),
        ({"sampling": Sampling(logit_bias={"5": 1.0})}, "logit_bias"),
        ({"tools": (Tool("f"),), "tool_choice": ToolChoice(ToolMode.REQUIRED)}, "tool_choice"),
        ({"tools": (Tool("f"),), "tool_choice": ToolChoice(ToolMode.NAMED, ("f",))}, "tool_choice"),
        ({"tools": (Tool("", extra=Extra("elsewhere", {"type": "web"})),)}, "tools"),
        ({"parts": (Image(Source(url="https://x/y.png")),)}, "image"),
        ({"parts": (Image(Source(file_id="f")),)}, "file_id"),
        ({"parts": (Audio(Source(data="AA")),)}, "audio"),
        ({"parts": (Document(Source(data="AA")),)}, "document"),
        ({"parts": (OpaquePart(Extra("elsewhere", {"a": 1})),)}, "messages.content"),
        ({"extra": Extra("elsewhere", {"previous_response_id": "r"})}, "previous_response_id"),
        ({"store": True}, "store"),
    ],
)
def test_what_would_change_the_meaning_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Unsupported) as caught:
        kit.rendered(elsewhere(**fields))
    assert caught.value.param == param
    assert "acme" in caught.value.message


def test_arguments_must_be_an_object() -> None:
    said = Message(Role.ASSISTANT, (ToolCall("c", "f", "[1]"),))
    with pytest.raises(InvalidRequest, match="tool call 'c'"):
        kit.rendered(elsewhere(said))


def test_what_is_harmless_is_dropped_and_named() -> None:
    said = Message(Role.USER, (Text("x", CacheMark()), Image(Source(data="A"), "low")), name="Ada")
    old = Message(Role.ASSISTANT, (OpaquePart(Extra("elsewhere", {})), Refusal("No.")))
    rendered = kit.rendered(elsewhere(old, said, reasoning=Reasoning(budget=5000, summary="auto")))
    assert rendered.dropped == (
        "messages.content",
        "messages.name",
        "cache",
        "image.detail",
        "reasoning.summary",
        "reasoning.budget",
    )
    body = json.loads(rendered.body)
    assert body["messages"][0] == {"role": "assistant", "content": "No."}
    assert body["think"] == "medium"


def odd(name: str) -> Extra:
    return Extra("openai_chat", {name: 1})


def test_nothing_of_others_is_lost_in_silence() -> None:
    picture = Image(Source(data="AAAA"), extra=odd("b"))
    rendered = kit.rendered(
        elsewhere(
            Message(Role.USER, (Text("x", extra=odd("a")), picture)),
            Message(Role.ASSISTANT, (ToolCall("1", "f", "{}", extra=odd("c")),), extra=odd("d")),
            Message(Role.TOOL, (ToolResult("1", (Text("y", extra=odd("e")),), extra=odd("f")),)),
            tools=(Tool("f", extra=odd("g")),),
            tool_choice=ToolChoice(ToolMode.AUTO, extra=odd("h")),
            output=Output(OutputKind.JSON, description="It.", extra=odd("i")),
            reasoning=Reasoning("low", 900, extra=odd("j")),
            extra=odd("k"),
            store=False,
            cache_key="c",
            verbosity="low",
            safety_identifier="s",
        )
    )
    assert {name for name in rendered.dropped if len(name) == 1} == set("abcdefghijk")
    assert {name for name in rendered.dropped if len(name) > 1} == {
        "response_format.description", "reasoning.budget", "prompt_cache_key", "verbosity",
        "safety_identifier",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        (Field.TEMPERATURE, 0.5, lambda chat: chat.sampling.temperature),
        (Field.TOP_P, 0.5, lambda chat: chat.sampling.top_p),
        (Field.TOP_K, 5, lambda chat: chat.sampling.top_k),
        (Field.MAX_TOKENS, 5, lambda chat: chat.sampling.max_tokens),
        (Field.STOP, ["a"], lambda chat: [*chat.sampling.stop]),
        (Field.SEED, 5, lambda chat: chat.sampling.seed),
        (Field.FREQUENCY_PENALTY, 0.5, lambda chat: chat.sampling.frequency_penalty),
        (Field.PRESENCE_PENALTY, 0.5, lambda chat: chat.sampling.presence_penalty),
        (Field.LOGPROBS, True, lambda chat: chat.sampling.logprobs),
        (Field.TOP_LOGPROBS, 2, lambda chat: chat.sampling.top_logprobs),
        (Field.EFFORT, "low", lambda chat: chat.reasoning.effort),
        (Field.BUDGET, True, lambda chat: chat.reasoning.budget == -1),
        (Field.OUTPUT, "json", lambda chat: chat.output.kind),
    ],
)
def test_fields_are_called_as_the_client_writes_them(
    field: Field, value: Any, found: Callable[[Chat], Any]
) -> None:
    body: dict[str, Any] = {"model": "m", "messages": [HI]}
    place = body
    *above, last = DIALECT.field_names.get(field, field.value).split(".")
    for name in above:
        place = place.setdefault(name, {})
    place[last] = value
    assert found(kit.parse(body)) == value


@pytest.mark.parametrize(("asked", "think"), [
    (Reasoning("none"), False), (Reasoning("minimal"), "low"), (Reasoning("max"), "max"),
    (Reasoning(budget=0), False), (Reasoning(budget=-1), True), (Reasoning(budget=99999), "max"),
    (Reasoning("low", 99), "low"),
])  # fmt: skip
def test_levels_of_thinking(asked: Reasoning, think: Any) -> None:
    assert kit.rebuilt(elsewhere(reasoning=asked))["think"] == think


def test_a_model_that_cannot_think_is_not_asked_to() -> None:
    chat, cannot = elsewhere(reasoning=Reasoning("high")), Capabilities(reasoning=False)
    rendered = kit.rendered(chat, kit.target("m", cannot))
    assert "think" not in json.loads(rendered.body)
    assert rendered.dropped == ("reasoning.effort",)
    with pytest.raises(Unsupported):
        kit.rendered(chat, kit.target("m", cannot, OnLossy.REJECT))
    off = kit.rendered(elsewhere(reasoning=Reasoning("none")), kit.target("m", cannot))
    assert (off.dropped, "think" in json.loads(off.body)) == ((), False)


def test_tool_choice() -> None:
    tools = (Tool("f"), Tool("g"))
    none = ToolChoice(ToolMode.NONE)
    assert "tools" not in kit.rebuilt(elsewhere(tools=tools, tool_choice=none))
    called = (Message(Role.ASSISTANT, (ToolCall("c", "f", "{}"),)),
              Message(Role.TOOL, (ToolResult("c", ()),)))  # fmt: skip
    rendered = kit.rendered(elsewhere(*called, tools=tools, tool_choice=none))
    assert (len(json.loads(rendered.body)["tools"]), rendered.dropped) == (2, ("tool_choice",))
    some = ToolChoice(ToolMode.AUTO, ("g",))
    (one,) = kit.rebuilt(elsewhere(tools=tools, tool_choice=some))["tools"]
    assert one["function"]["name"] == "g"


def test_a_picture_in_a_result_follows_in_a_message_of_its_own() -> None:
    result = ToolResult("c", (Text("See:"), Image(Source(data="AAAA"))), name="draw")
    rendered = kit.rendered(elsewhere(Message(Role.USER, (result, Text("Well?")))))
    assert json.loads(rendered.body)["messages"] == [
        {"role": "tool", "content": "See:", "tool_name": "draw", "tool_call_id": "c"},
        {"role": "user", "content": "Well?", "images": ["AAAA"]},
    ]
    assert rendered.dropped == ("tool_result.media",)
