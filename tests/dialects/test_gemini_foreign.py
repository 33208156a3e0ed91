"""Requests of other languages as Gemini is asked them: turns, calls, media, and what is named as lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from google.genai import types

from extproc.dialects.gemini_generate import DIALECT
from extproc.dialects.openai_chat import DIALECT as OPENAI
from extproc.model.chat import (
    Audio,
    Chat,
    Document,
    Extra,
    Image,
    Json,
    Message,
    OpaquePart,
    Output,
    OutputKind,
    Reasoning,
    Role,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from extproc.model.embed import Count
from extproc.model.errors import InvalidRequest, Unsupported
from extproc.model.fields import Field

from . import kit_gemini as kit
from .kit_gemini import GEN_3, HI, elsewhere, model, result, sent, user


def test_turns_system_and_results() -> None:
    """trap 42: results come first, in the order of their calls, in one content."""
    chat = elsewhere(
        Message(Role.SYSTEM, (Text("Be brief."),)),
        user("Tides?"),
        model(ToolCall("a", "get", '{"p":1}'), ToolCall("b", "get", "")),
        result("b", Text("high")),
        result("a", Text('{"level": 3}')),
        user("And?"),
    )
    body, dropped = sent(chat)
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert [content["role"] for content in body["contents"]] == ["user", "model", "user"]
    assert body["contents"][1]["parts"] == [
        {"functionCall": {"name": "get", "args": {"p": 1}, "id": "a"}},
        {"functionCall": {"name": "get", "args": {}, "id": "b"}},
    ]
    assert body["contents"][2]["parts"] == [
        {"functionResponse": {"name": "get", "id": "a", "response": {"level": 3}}},
        {"functionResponse": {"name": "get", "id": "b", "response": {"output": "high"}}},
        {"text": "And?"},
    ]
    assert dropped == ()


@pytest.mark.parametrize(
    ("text", "is_error", "response"),
    [
        ("", False, {"output": ""}),
        ("[1]", False, {"output": "[1]"}),
        ('{"a":1}', False, {"a": 1}),
        ("gone", True, {"error": "gone"}),
    ],
)
def test_results_are_objects(text: str, is_error: bool, response: Json) -> None:
    parts = (Text(text),) if text else ()
    chat = elsewhere(
        user("x"), model(ToolCall("a", "f", "{}")), result("a", *parts, is_error=is_error)
    )
    body, _ = sent(chat)
    assert body["contents"][2]["parts"][0]["functionResponse"]["response"] == response


def test_a_system_text_alone_is_said_by_the_user() -> None:
    body, dropped = sent(elsewhere(Message(Role.SYSTEM, (Text("Hi"),))))
    assert body == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    assert dropped == ("system",)


def test_calls_of_others_get_the_dummy_where_signatures_are_needed() -> None:
    """The first call of each step; never over a real one, never for older models."""
    signed = Thinking("", "real", origin="gemini_generate")
    chat = elsewhere(
        user("x"),
        model(ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}")),
        result("a"),
        result("b"),
        model(signed, ToolCall("c", "f", "{}")),
        result("c"),
    )
    rendered = DIALECT.render_request(chat, kit.target(GEN_3))
    contents = json.loads(rendered.body)["contents"]
    found = [part.get("thoughtSignature") for c in contents for part in c["parts"]]
    dummy = "skip_thought_signature_validator"
    assert found == [None, dummy, None, None, None, "real", None]
    bare = [replace(m, parts=tuple(p for p in m.parts if p != signed)) for m in chat.messages]
    assert sent(elsewhere(*bare), kit.target(GEN_3))[1] == ()
    older = json.loads(DIALECT.render_request(chat, kit.target()).body)["contents"]
    assert [p.get("thoughtSignature") for c in older for p in c["parts"]].count(dummy) == 0


def test_thoughts_of_others_stay_behind() -> None:
    chat = elsewhere(
        user("x"), model(Thinking("Hm", "sig", origin="anthropic_messages"), "So."), user("y")
    )
    body, dropped = sent(chat)
    assert body["contents"][1]["parts"] == [{"text": "So."}]
    assert dropped == ("thinking",)


PNG = Source(data="AAAA", media_type="image/png")


def test_media() -> None:
    chat = elsewhere(
        user(
            Image(PNG),
            Image(Source(url="https://example.com/a.webp?x")),
            Image(Source(url="https://example.com/picture")),
            Audio(Source(data="BBBB"), "mp3"),
            Document(Source(data="CCCC")),
        )
    )
    body, _ = sent(chat)
    assert body["contents"][0]["parts"] == [
        {"inlineData": {"data": "AAAA", "mimeType": "image/png"}},
        {"fileData": {"fileUri": "https://example.com/a.webp?x", "mimeType": "image/webp"}},
        {"fileData": {"fileUri": "https://example.com/picture", "mimeType": "image/jpeg"}},
        {"inlineData": {"data": "BBBB", "mimeType": "audio/mpeg"}},
        {"inlineData": {"data": "CCCC", "mimeType": "application/pdf"}},
    ]
    with pytest.raises(Unsupported, match="file_id"):
        sent(elsewhere(user(Document(Source(file_id="file-1")))))


def test_pictures_in_results() -> None:
    chat = elsewhere(user("x"), model(ToolCall("a", "f", "{}")), result("a", Image(PNG)))
    picture = {"inlineData": {"data": "AAAA", "mimeType": "image/png"}}
    body, dropped = sent(chat)
    assert body["contents"][2]["parts"][1] == picture
    assert dropped == ("tool_result.media",)
    body, dropped = sent(chat, kit.target(GEN_3))
    assert body["contents"][2]["parts"][0]["functionResponse"]["parts"] == [picture]
    assert dropped == ()


def test_what_only_others_know() -> None:
    odd = OpaquePart(Extra("openai_chat", {"type": "odd"}))
    with pytest.raises(Unsupported):
        sent(elsewhere(user("x", odd)))
    _, dropped = sent(elsewhere(user("x", odd), model("y"), user("z")))
    assert dropped == ("messages.content",)
    with pytest.raises(Unsupported, match="tools"):
        sent(elsewhere(user("x"), tools=(Tool("", extra=Extra("openai_chat", {"type": "web"})),)))


def odd(name: str) -> Extra:
    return Extra("openai_chat", {name: 1})


def test_nothing_of_others_is_lost_in_silence() -> None:
    chat = elsewhere(
        Message(Role.USER, (Text("x", extra=odd("a")), Image(PNG, "low", extra=odd("b")))),
        Message(Role.ASSISTANT, (ToolCall("1", "f", "{}", extra=odd("c")),), extra=odd("d")),
        Message(Role.TOOL, (ToolResult("1", (Text("y", extra=odd("e")),), extra=odd("f")),)),
        tools=(Tool("f", extra=odd("g")),),
        tool_choice=ToolChoice(ToolMode.AUTO, extra=odd("h")),
        output=Output(OutputKind.JSON, description="It.", extra=odd("i")),
        reasoning=Reasoning("low", extra=odd("j")),
        extra=odd("k"),
        store=False,
        cache_key="c",
        verbosity="low",
        safety_identifier="s",
    )
    _, dropped = sent(chat, kit.target(GEN_3))
    assert {name for name in dropped if len(name) == 1} == set("abcdefghijk")
    assert {name for name in dropped if len(name) > 1} == {
        "image.detail", "response_format.description", "prompt_cache_key", "verbosity",
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
        (Field.N, 2, lambda chat: chat.sampling.n),
        (Field.LOGPROBS, True, lambda chat: chat.sampling.logprobs),
        (Field.TOP_LOGPROBS, 2, lambda chat: chat.sampling.top_logprobs),
        (Field.METADATA, {"a": "b"}, lambda chat: chat.metadata),
        (Field.SERVICE_TIER, "flex", lambda chat: chat.service_tier),
        (Field.EFFORT, "low", lambda chat: chat.reasoning.effort),
        (Field.BUDGET, 5, lambda chat: chat.reasoning.budget),
        (Field.SUMMARY, True, lambda chat: chat.reasoning.summary == "auto"),
        (Field.OUTPUT, "application/json", lambda chat: "application/" + chat.output.kind),
        (Field.TOOL_CHOICE, {"mode": "AUTO"}, lambda c: {"mode": c.tool_choice.mode.upper()}),
    ],
)
def test_fields_are_called_as_the_client_writes_them(
    field: Field, value: Any, found: Callable[[Chat], Any]
) -> None:
    body: dict[str, Any] = {**HI}
    place = body
    *above, last = DIALECT.field_names[field].split(".")
    for name in above:
        place = place.setdefault(name, {})
    place[last] = value
    assert found(kit.parse(body)) == value


def test_broken_arguments_are_refused() -> None:
    """trap 30: none at all are an empty object."""
    for broken in ('{"a', "[1]", "3"):
        with pytest.raises(InvalidRequest, match="call-7"):
            sent(elsewhere(user("x"), model(ToolCall("call-7", "f", broken))))


def test_an_openai_request_by_the_sdks_types() -> None:
    """What leaves is what Google's own types know."""
    asked = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "Weather and news?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": "rain"},
        ],
        "tools": [
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        ],
    }
    head = kit.RequestHead("POST", "/v1/chat/completions", "", {}, "chat")
    chat = OPENAI.parse_request(head, json.dumps(asked).encode())
    assert isinstance(chat, Chat)
    body, _ = sent(chat)
    for content in (*body["contents"], body["systemInstruction"]):
        types.Content.model_validate(content)
    types.Tool.model_validate(body["tools"][0])


def test_counting_for_others() -> None:
    """trap 60: the Gemini API wants more than contents within a request, and the model named there."""
    asked = elsewhere(Message(Role.SYSTEM, (Text("s"),)), user("x"))
    rendered = DIALECT.render_request(Count(asked), kit.target())
    assert rendered.path == "/v1beta/models/gemini-2.5-flash:countTokens"
    inner = json.loads(rendered.body)["generateContentRequest"]
    assert inner["model"] == "models/gemini-2.5-flash"
    assert "systemInstruction" in inner
    plain = DIALECT.render_request(Count(elsewhere(user("x"))), kit.target())
    assert json.loads(plain.body) == {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}
