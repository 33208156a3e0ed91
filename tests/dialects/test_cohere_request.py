"""Cohere requests: in and home again, and what the requests of other languages become."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from extproc.dialects.anthropic_messages import DIALECT as ANTHROPIC
from extproc.dialects.cohere_chat import DIALECT
from extproc.dialects.openai_chat import DIALECT as OPENAI
from extproc.mock.speakers.cohere_rules import wrong
from extproc.model.call import Capabilities, OnLossy, Target
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
from extproc.model.errors import InvalidRequest, Unsupported

from . import kit_cohere as kit

HI = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}}
EVERYTHING: dict[str, Any] = json.loads(kit.fixture("request_everything.json"))

BODIES: list[dict[str, Any]] = [
    EVERYTHING,
    {"model": "m", "messages": [HI]},
    {"model": "m", "messages": [HI], "stream": False, "tools": [], "stop_sequences": []},
    {"model": "m", "messages": [HI], "stream": None, "tools": None, "thinking": None, "p": None},
    {"model": "m", "messages": [HI], "documents": [], "strict_tools": False, "logprobs": False},
    {"model": "m", "messages": [HI], "strict_tools": True, "tool_choice": "NONE"},
    {"model": "m", "messages": [HI], "thinking": {"type": "disabled"}, "documents": None},
    {"model": "m", "messages": [HI], "thinking": {"type": "enabled", "later": 1}},
    {"model": "m", "messages": [HI], "thinking": {"type": "enabled", "token_budget": 0}},
    {"model": "m", "messages": [HI], "response_format": {"type": "text"}},
    {"model": "m", "messages": [HI], "response_format": {"type": "json_object", "schema": {}}},
    {"model": "m", "messages": [{"role": "system", "content": "x"}], "documents": ["alone"]},
    {"model": "m", "messages": [HI], "tools": [TOOL, {"type": "later", "x": 1}]},
    {
        "model": "m",
        "messages": [
            {"role": "user", "content": [{"type": "later", "x": 1}]},
            {"role": "assistant", "tool_plan": None, "tool_calls": [
                {"function": {"name": "f"}},
                {"id": None, "type": "later", "function": {"name": "f", "arguments": None}},
            ]},
            {"role": "tool", "tool_call_id": "", "content": []},
        ],
    },
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_a_request_comes_back(body: dict[str, Any]) -> None:
    chat = kit.parse(body)
    assert kit.rebuilt(chat) == body
    untouched = DIALECT.render_request(chat, kit.target(chat.model))
    assert untouched.body is chat.raw
    assert (untouched.path, untouched.dropped) == ("/v2/chat", ())
    assert untouched.stream is (body.get("stream") is True)


def test_only_the_model_and_our_own_member_are_spliced() -> None:
    raw = b'{ "model":"mine", "sluice":{"user":"u"} ,"messages":[{"role":"user","content":"x"}]}'
    chat = kit.parse(raw)
    assert chat.options.user == "u"
    out = DIALECT.render_request(chat, kit.target("theirs")).body
    assert out == b'{ "model":"theirs", "messages":[{"role":"user","content":"x"}]}'
    assert "sluice" not in kit.rebuilt(chat)


def test_what_is_canonical() -> None:
    chat = kit.parse(EVERYTHING)
    assert chat.stream
    assert chat.sampling == Sampling(0.5, 0.9, 40, 100, ("END", "\n\n"), 7, 0.1, 0, logprobs=True)
    assert chat.tool_choice == ToolChoice(ToolMode.REQUIRED)
    assert [(tool.name, tool.strict) for tool in chat.tools] == [("tide", True), ("wind", True)]
    assert chat.output == Output(OutputKind.SCHEMA, {"type": "object"})
    assert chat.reasoning == Reasoning(budget=512)
    assistant = chat.messages[2].parts
    assert isinstance(assistant[0], Thinking) and assistant[0].origin == "cohere_chat"
    assert [p.id for p in assistant if isinstance(p, ToolCall)] == ["tide_1", "wind_1"]
    (result,) = chat.messages[3].parts
    assert isinstance(result, ToolResult) and result.call_id == "tide_1"
    first = result.parts[0]
    assert isinstance(first, Text) and first.text == '{"height":"7 m","when":"noon"}'


def test_documents_stand_before_the_last_question() -> None:
    parts = kit.parse(EVERYTHING).messages[-1].parts
    found = [p.source for p in parts if isinstance(p, Document)]
    assert [base64.b64decode(s.data or "") for s in found] == [
        b"Spring tides come twice a month.", b"Neap tides are small.", b'{"a":1}',
    ]  # fmt: skip
    assert [s.name for s in found] == [None, "Neap", None]
    assert isinstance(parts[-1], Text)


@pytest.mark.parametrize("other", [OPENAI, ANTHROPIC])
def test_documents_reach_other_providers(other: Any) -> None:
    asked = {"model": "m", "messages": [HI], "documents": ["Neap tides are small."]}
    chat = kit.parse(asked)
    to = Target("acme", "m", other.name)
    assert "Neap tides are small." in other.render_request(chat, to).body.decode()
    lonely = {"model": "m", "messages": [{"role": "system", "content": "x"}], "documents": ["y"]}
    with pytest.raises(Unsupported, match="documents"):
        other.render_request(kit.parse(lonely), to)


def test_what_only_cohere_knows_is_named_elsewhere() -> None:
    asked = {
        "model": "m", "messages": [HI], "safety_mode": "OFF", "priority": 3,
        "citation_options": {"mode": "FAST"}, "strict_tools": True, "tools": [TOOL],
    }  # fmt: skip
    out = OPENAI.render_request(kit.parse(asked), Target("acme", "m", "openai_chat"))
    assert out.dropped == ("safety_mode", "priority", "citation_options")
    assert json.loads(out.body)["tools"][0]["function"]["strict"] is True


@pytest.mark.parametrize("value", [0, "true", [], {}])
def test_trap_22_anything_else_is_no_switch(value: Any) -> None:
    """trap 22: `stream` is true, false, or not said."""
    with pytest.raises(InvalidRequest) as caught:
        kit.parse({"model": "m", "messages": [HI], "stream": value})
    assert caught.value.param == "stream"
    assert not kit.parse({"model": "m", "messages": [HI]}).stream


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": ""}, {"content": []}])
def test_trap_21_no_content(role: str, content: dict[str, Any]) -> None:
    """trap 21: four forms of nothing, each comes back as it was."""
    body = {"model": "m", "messages": [HI, {"role": role, **content}]}
    chat = kit.parse(body)
    assert chat.messages[1].parts == ()
    assert kit.rebuilt(chat) == body


def test_trap_17_and_18_odd_values() -> None:
    """trap 17: half a pair stays on the untouched path; trap 18: long integers are exact."""
    raw = (
        b'{"model":"m","messages":[{"role":"user","content":"a\\ud800"}],'
        b'"later":123456789012345678901234567890}'
    )
    chat = kit.parse(raw)
    assert DIALECT.render_request(chat, kit.target("m")).body is raw
    again = kit.rendered(chat).body
    assert "a\ufffd" in again.decode() and b"123456789012345678901234567890" in again


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"model":1}',
        b'{"model":"a","model":"b","messages":[]}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"p":1e400}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"p":NaN}',
        b'{"model":"m","messages":' + b"[" * 10_000,
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"\\u0000plan":1}',
    ],
)
@pytest.mark.parametrize("path", ["/v2/chat", "/v2/embed", "/v2/rerank", "/v1/rerank"])
def test_trap_16_18_19_20_bad_bodies(body: bytes, path: str) -> None:
    """traps 16, 18, 19, 20: a key twice, infinite numbers, NaN, deep nesting."""
    with pytest.raises(InvalidRequest):
        kit.ask(body, path)


CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": ""}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{}]}, "messages[0].role"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 0}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]},
         "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
         "messages[0].content[0].image_url.url"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]},
         "messages[0].tool_calls[0].function"),
        ({"messages": [{"role": "assistant", "tool_calls": [{**CALL, "function": {}}]}]},
         "messages[0].tool_calls[0].function.name"),
        ({"documents": "x"}, "documents"),
        ({"documents": [1]}, "documents[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"function": {"name": ""}}]}, "tools[0].function.name"),
        ({"tool_choice": "AUTO"}, "tool_choice"),
        ({"thinking": {"type": "much"}}, "thinking.type"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_object", "json_schema": 1}},
         "response_format.json_schema"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"k": 1.5}, "k"),
        ({"strict_tools": "x"}, "strict_tools"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        kit.parse({"model": "m", "messages": [HI], **members})
    assert caught.value.param == param


# --- from other languages -------------------------------------------------------------------


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


def test_a_stage_may_add_to_a_request_of_ours() -> None:
    chat = kit.parse(EVERYTHING)
    more = Message(Role.DEVELOPER, (Text("Hush."),))
    both = Message(Role.USER, (ToolResult("tide_1", (Text("7"),)), Text("So?")))
    body = kit.rebuilt(replace(chat, messages=(more, *chat.messages, both), tools=(Tool("f"),)))
    assert body["messages"][0] == {"role": "system", "content": "Hush."}
    assert body["messages"][-2:] == [
        {"role": "tool", "tool_call_id": "tide_1", "content": "7"},
        {"role": "user", "content": "So?"},
    ]
    assert body["tools"] == [{"type": "function", "function": {"name": "f"}}]
    with pytest.raises(Unsupported):
        kit.rendered(replace(chat, messages=(Message(Role.USER, (Audio(Source(data="A")),)),)))


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
