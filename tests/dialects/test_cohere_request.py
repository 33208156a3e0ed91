"""Cohere requests: in and home again, and what is refused by name."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from extproc.dialects.anthropic_messages import DIALECT as ANTHROPIC
from extproc.dialects.cohere_chat import DIALECT
from extproc.dialects.openai_chat import DIALECT as OPENAI
from extproc.model.call import Target
from extproc.model.chat import (
    Audio,
    Document,
    Message,
    Output,
    OutputKind,
    Reasoning,
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
