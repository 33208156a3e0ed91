"""Requests of other languages as Cohere is asked them: what is carried, named, or refused."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from extproc.mock.speakers.cohere_rules import wrong
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
    Part,
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
from extproc.model.errors import Unsupported

from . import kit_cohere as kit


def elsewhere(*messages: Message, parts: tuple[Part, ...] = (Text("Hi"),), **fields: Any) -> Chat:
    return Chat("elsewhere", "m", messages or (Message(Role.USER, parts),), **fields)


def test_a_foreign_request_in_full() -> None:
    chat = elsewhere(
        Message(Role.SYSTEM, (Text("One", CacheMark()), Text("Two"))),
        Message(Role.USER, (Text("What is it like there?"),)),
        Message(
            Role.ASSISTANT,
            (Thinking("They ask", signature="s", origin="x"), Text("Let me see."),
             ToolCall("toolu_1", "tide-height", '{"port": "Brest"}'),
             ToolCall("toolu_2", "wind", "")),
        ),
        Message(Role.USER, (
            Text("And?"),
            ToolResult("toolu_1", (Text("7 m"), Image(Source(data="AAAA", media_type="image/png")))),
            ToolResult("toolu_2", (Text("none"),), is_error=True))),
        Message(Role.SYSTEM, (Text("Now in French"),)),
        Message(
            Role.USER,
            (Text("So?"), Image(Source(url="https://e.com/a.png"), "original")),
            name="Ann",
        ),
        stream=True,
        tools=(Tool("tide-height", "Heights", {"properties": {}}, strict=True), Tool("wind")),
        tool_choice=ToolChoice(ToolMode.NONE),
        sampling=Sampling(1.5, 1.0, 900, 100, ("a",), 7, -0.5, 2, 1),
        reasoning=Reasoning(effort="high"),
        user="u",
        metadata={"a": "b"},
        service_tier="flex",
        store=False,
        cache_key="k",
        verbosity="low",
        safety_identifier="s",
        parallel_tools=False,
        extra=Extra("elsewhere", {"later": 1, "stream_options": {}}),
    )  # fmt: skip
    out = kit.rendered(chat)
    assert (out.path, out.stream, out.operation) == ("/v2/chat", True, "chat")
    body = json.loads(out.body)
    (renamed,) = out.renamed
    assert out.renamed == {renamed: "tide-height"}
    assert renamed.startswith("tide_height_")
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "One\n\nTwo"},
            {"role": "user", "content": "What is it like there?"},
            {"role": "assistant", "content": "Let me see.", "tool_calls": [
                {"id": "toolu_1", "type": "function",
                 "function": {"name": renamed, "arguments": '{"port": "Brest"}'}},
                {"id": "toolu_2", "type": "function",
                 "function": {"name": "wind", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "7 m"},
            {"role": "tool", "tool_call_id": "toolu_2", "content": "ERROR: none"},
            {"role": "user", "content": [
                {"type": "text", "text": "From the result of tool call toolu_1:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "text", "text": "And?"},
                {"type": "text", "text": "<system>\nNow in French\n</system>"},
                {"type": "text", "text": "So?"},
                {"type": "image_url", "image_url": {"url": "https://e.com/a.png"}}]},
        ],
        "stream": True,
        "tools": [
            {"type": "function", "function": {
                "name": renamed, "description": "Heights",
                "parameters": {"type": "object", "properties": {}}}},
            {"type": "function", "function": {
                "name": "wind", "parameters": {"type": "object", "properties": {}}}},
        ],
        "tool_choice": "NONE",
        "max_tokens": 100, "temperature": 1.5, "p": 0.99, "k": 500, "seed": 7,
        "frequency_penalty": 0, "presence_penalty": 1, "stop_sequences": ["a"],
        "thinking": {"type": "enabled", "token_budget": 99},
    }  # fmt: skip
    assert out.dropped == (
        "later", "user", "metadata", "service_tier", "prompt_cache_key", "verbosity",
        "safety_identifier", "messages.name", "system", "cache", "thinking",
        "tool_result.media", "tool_result.is_error", "image.detail", "tools.strict",
        "parallel_tool_calls", "top_p", "top_k", "frequency_penalty", "presence_penalty",
    )  # fmt: skip


def test_an_empty_result_says_so() -> None:
    chat = elsewhere(
        Message(Role.ASSISTANT, (ToolCall("a", "f", "{}"),)),
        Message(Role.TOOL, (ToolResult("a", ()),)),
    )
    assert kit.rebuilt(chat)["messages"][1]["content"] == "(no output)"


def test_a_named_tool_is_the_only_one_offered() -> None:
    tools = (Tool("tide"), Tool("wind"))
    chat = elsewhere(tools=tools, tool_choice=ToolChoice(ToolMode.NAMED, ("wind",)))
    body = kit.rebuilt(chat)
    assert body["tool_choice"] == "REQUIRED"
    assert [tool["function"]["name"] for tool in body["tools"]] == ["wind"]
    some = elsewhere(tools=tools, tool_choice=ToolChoice(ToolMode.AUTO, ("tide",)))
    assert [t["function"]["name"] for t in kit.rebuilt(some)["tools"]] == ["tide"]
    assert "tool_choice" not in kit.rebuilt(some)
    both = elsewhere(tools=(replace(tools[0], strict=True), replace(tools[1], strict=True)))
    assert kit.rebuilt(both)["strict_tools"] is True
    with pytest.raises(Unsupported, match="names no tool"):
        kit.rendered(replace(chat, tool_choice=ToolChoice(ToolMode.NAMED, ("rain",))))


def test_a_calls_name_comes_back() -> None:
    """Names that Cohere does not take are changed, and the client hears its own again."""
    chat = elsewhere(tools=(Tool("9-lives.now"), Tool("x" * 80)))
    out = kit.rendered(chat)
    sent = [tool["function"]["name"] for tool in json.loads(out.body)["tools"]]
    assert [out.renamed[name] for name in sent] == ["9-lives.now", "x" * 80]
    assert all(len(name) <= 64 and name.isidentifier() for name in sent)


SCHEMA: Any = {"type": "object", "properties": {"a": {"type": "integer"}}}


def test_forms_of_the_answer() -> None:
    chat = elsewhere(output=Output(OutputKind.SCHEMA, SCHEMA, "answer", "what", strict=True))
    out = kit.rendered(chat)
    assert json.loads(out.body)["response_format"] == {"type": "json_object", "json_schema": SCHEMA}
    assert out.dropped == ("response_format.description",)
    plain = elsewhere(output=Output(OutputKind.JSON))
    body = kit.rebuilt(plain)
    assert body["response_format"] == {"type": "json_object"}
    assert body["messages"][0]["role"] == "system" and "JSON" in body["messages"][0]["content"]
    asked = elsewhere(parts=(Text("Give me json"),), output=Output(OutputKind.JSON))
    assert len(kit.rebuilt(asked)["messages"]) == 1
    assert "response_format" not in kit.rebuilt(elsewhere(output=Output(OutputKind.TEXT)))


def test_a_form_beside_tools_is_said_in_words_or_refused() -> None:
    """Cohere takes no `response_format` with tools or documents."""
    chat = elsewhere(
        Message(Role.SYSTEM, (Text("Be brief."),)),
        Message(Role.USER, (Text("x"),)),
        tools=(Tool("tide"),),
        output=Output(OutputKind.SCHEMA, SCHEMA),
    )
    out = kit.rendered(chat)
    body = json.loads(out.body)
    assert "response_format" not in body and out.dropped == ("response_format",)
    assert body["messages"][0]["content"].startswith("Be brief.\n\nAnswer with JSON that fits")
    with pytest.raises(Unsupported, match="beside tools"):
        kit.rendered(chat, kit.target(on_lossy=OnLossy.REJECT))


TEXT = base64.b64encode(b"High water at noon.").decode()


def test_documents_of_text_stand_beside_the_conversation() -> None:
    named = Document(Source(data=TEXT, media_type="text/plain; charset=utf-8", name="Tides"))
    result = ToolResult("a", (Document(Source(data=TEXT, media_type="text/csv")),))
    chat = elsewhere(
        Message(Role.USER, (named, Text("When?"))),
        Message(Role.ASSISTANT, (ToolCall("a", "f", "{}"),)),
        Message(Role.TOOL, (result,)),
    )
    body = kit.rebuilt(chat)
    words = "High water at noon."
    assert body["documents"] == [
        {"data": {"title": "Tides", "text": words}},
        {"data": {"text": words}},
    ]
    assert body["messages"][0] == {"role": "user", "content": "When?"}


@pytest.mark.parametrize(
    ("part", "what"),
    [
        (Audio(Source(data="AA")), "audio"),
        (Document(Source(data="AA", media_type="application/pdf")), "document"),
        (Document(Source(data="!", media_type="text/plain")), "document"),
        (Document(Source(url="https://e.com/x")), "document"),
        (Document(Source(file_id="f")), "file_id"),
        (Image(Source(file_id="f")), "file_id"),
        (OpaquePart(Extra("elsewhere", {"type": "video"})), "messages.content"),
    ],
)
def test_parts_that_cannot_go(part: Part, what: str) -> None:
    with pytest.raises(Unsupported) as caught:
        kit.rendered(elsewhere(parts=(Text("x"), part)))
    assert caught.value.param == what
    assert "acme" in caught.value.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"sampling": Sampling(n=2)}, "n"),
        ({"sampling": Sampling(logprobs=True)}, "logprobs"),
        ({"sampling": Sampling(top_logprobs=1)}, "logprobs"),
        ({"sampling": Sampling(logit_bias={"1": 1})}, "logit_bias"),
        ({"sampling": Sampling(stop=tuple("abcdef"))}, "stop"),
        ({"tools": (Tool("", extra=Extra("x", {"type": "web_search"})),)}, "tools"),
        ({"extra": Extra("x", {"previous_response_id": "r"})}, "previous_response_id"),
    ],
)
def test_fields_that_cannot_go(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Unsupported) as caught:
        kit.rendered(elsewhere(**fields))
    assert caught.value.param == param


def test_a_model_that_cannot_is_not_asked() -> None:
    blind = kit.target(capabilities=Capabilities(vision=False, tools=False, reasoning=False))
    with pytest.raises(Unsupported, match="pictures"):
        kit.rendered(elsewhere(parts=(Image(Source(url="https://e.com/x")),)), blind)
    with pytest.raises(Unsupported, match="calls no tools"):
        kit.rendered(elsewhere(tools=(Tool("f"),)), blind)
    out = kit.rendered(elsewhere(reasoning=Reasoning(effort="low")), blind)
    assert out.dropped == ("reasoning.effort",) and b"thinking" not in out.body
    assert kit.rendered(elsewhere(reasoning=Reasoning(effort="none")), blind).dropped == ()


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        (Reasoning(effort="none"), {"type": "disabled"}),
        (Reasoning(budget=0), {"type": "disabled"}),
        (Reasoning(budget=-1), {"type": "enabled"}),
        (Reasoning(budget=700), {"type": "enabled", "token_budget": 700}),
        (Reasoning(effort="minimal"), {"type": "enabled", "token_budget": 2048}),
        (Reasoning(effort="max"), {"type": "enabled"}),
        (Reasoning(summary="auto"), None),
    ],
)
def test_reasoning(asked: Reasoning, sent: Any) -> None:
    assert kit.rebuilt(elsewhere(reasoning=asked)).get("thinking") == sent


def test_history_of_other_kinds() -> None:
    chat = elsewhere(
        Message(Role.USER, (Text("x"), OpaquePart(Extra("e", {"type": "video"})))),
        Message(Role.ASSISTANT, (Refusal("No."), Image(Source(data="A")))),
        Message(Role.ASSISTANT, (Thinking("hm", origin="e"),)),
        Message(Role.USER, (Refusal("odd"), Text("y"))),
    )
    out = kit.rendered(chat)
    assert json.loads(out.body)["messages"] == [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "No."},
        {"role": "user", "content": [{"type": "text", "text": "odd"}, {"type": "text", "text": "y"}]},
    ]  # fmt: skip
    assert out.dropped == ("messages.content", "image", "thinking")


KNOWN_ELSEWHERE = Extra("elsewhere", {"later": {"a": 1}, "index": 0, "nothing": None})


@pytest.mark.parametrize(
    "fields",
    [
        {"extra": KNOWN_ELSEWHERE},
        {"messages": (Message(Role.USER, (Text("x"),), extra=KNOWN_ELSEWHERE),)},
        {"messages": (Message(Role.SYSTEM, (Text("x", extra=KNOWN_ELSEWHERE),)),)},
        {"parts": (Text("x", extra=KNOWN_ELSEWHERE),)},
        {"parts": (Refusal("x", extra=KNOWN_ELSEWHERE),)},
        {"parts": (Image(Source(url="https://e.com/x"), extra=KNOWN_ELSEWHERE),)},
        {"parts": (Document(Source(data=TEXT, media_type="text/plain"), extra=KNOWN_ELSEWHERE),)},
        {"parts": (ToolResult("a", (), extra=KNOWN_ELSEWHERE),)},
        {"parts": (ToolResult("a", (Text("x", extra=KNOWN_ELSEWHERE),)),)},
        {"messages": (Message(Role.ASSISTANT, (ToolCall("a", "f", "", extra=KNOWN_ELSEWHERE),)),)},
        {"tools": (Tool("f", extra=KNOWN_ELSEWHERE),)},
        {"tools": (Tool("f"),), "tool_choice": ToolChoice(ToolMode.AUTO, extra=KNOWN_ELSEWHERE)},
        {"tool_choice": ToolChoice(ToolMode.AUTO, extra=KNOWN_ELSEWHERE)},
        {"output": Output(OutputKind.TEXT, extra=KNOWN_ELSEWHERE)},
        {"reasoning": Reasoning(extra=KNOWN_ELSEWHERE)},
    ],
)
def test_what_only_another_language_knows_is_named_wherever_it_stands(
    fields: dict[str, Any],
) -> None:
    messages = fields.pop("messages", ())
    assert kit.rendered(elsewhere(*messages, **fields)).dropped == ("later",)


def test_a_part_that_is_lost_is_named_as_a_whole() -> None:
    thought = Thinking("hm", origin="e", extra=KNOWN_ELSEWHERE)
    chat = elsewhere(Message(Role.ASSISTANT, (thought,)), Message(Role.USER, (Text("x"),)))
    assert kit.rendered(chat).dropped == ("thinking",)


@pytest.mark.parametrize(
    "fields",
    [
        {"sampling": Sampling(1.5, 1.0, 900, 100, ("a",), 7, -2, 2, 1)},
        {"tools": (Tool("a-b"),), "tool_choice": ToolChoice(ToolMode.REQUIRED)},
        {"tools": (Tool("f"),), "output": Output(OutputKind.SCHEMA, SCHEMA)},
        {"tool_choice": ToolChoice(ToolMode.NONE)},
        {"reasoning": Reasoning(effort="low"), "sampling": Sampling(max_tokens=1)},
        {"parts": (Text("x"), Document(Source(data=TEXT, media_type="text/plain")))},
        {"parts": (ToolResult("a", ()), Text(" "), Text("x"))},
    ],
)
def test_cohere_takes_what_is_written(fields: dict[str, Any]) -> None:
    """The mock refuses what Cohere refuses."""
    before: tuple[Message, ...] = (Message(Role.USER, (Text("Hi"),)),)
    parts = fields.pop("parts", (Text("Hi"),))
    if isinstance(parts[0], ToolResult):
        before += (Message(Role.ASSISTANT, (Text("\n"), ToolCall("a", "f", ""))),)
    asked = elsewhere(*before, Message(Role.USER, parts), **fields)
    assert wrong(kit.rebuilt(asked)) is None
    assert wrong({**kit.rebuilt(asked), "p": 2}) is not None
