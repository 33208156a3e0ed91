"""Ollama requests: in and home again, and what is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from extproc.dialects.ollama_chat import DIALECT
from extproc.dialects.openai_chat import DIALECT as OPENAI
from extproc.model.call import Target
from extproc.model.chat import (
    Image,
    Message,
    OpaquePart,
    Reasoning,
    Role,
    Sampling,
    Source,
    Text,
    ToolCall,
    ToolResult,
)
from extproc.model.errors import InvalidRequest, Unsupported
from tests.dialects.kit_ollama import HI, elsewhere

from . import kit_ollama as kit

PNG = "iVBORw0KGgoAAAANSUhEUg=="
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = {"id": "call_1", "function": {"index": 0, "name": "weather", "arguments": {"city": "Bern"}}}

BODIES: list[dict[str, Any]] = [
    {"model": "m", "messages": [HI]},
    {"model": "m", "messages": [HI], "stream": True, "keep_alive": "5m", "odd": [1, {"a": None}]},
    {"model": "m", "messages": [HI], "stream": False, "format": "", "options": {}, "tools": []},
    {"model": "m", "messages": [HI], "stream": None, "format": None, "tools": None, "think": None},
    {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "User", "content": "Look", "images": [PNG]},
            {"role": "assistant", "content": "", "thinking": "Hm", "tool_calls": [CALL]},
            {"role": "tool", "content": "Rain", "tool_name": "weather", "tool_call_id": "call_1"},
            {"role": "user", "content": None, "images": []},
            {"role": "user"},
            {"role": "assistant", "thinking": "", "tool_calls": [], "content": "x", "odd": 1},
        ],
        "tools": [
            TOOL,
            {"function": {"name": "f"}},
            {"type": "function", "function": {"name": "g"}},
        ],
        "options": {
            "temperature": 0.5,
            "top_p": 1,
            "top_k": 40,
            "num_predict": 100,
            "stop": ["a", "b"],
            "seed": 7,
            "frequency_penalty": 0.1,
            "presence_penalty": 0.2,
            "num_ctx": 4096,
            "mirostat": None,
        },
        "format": {"type": "object"},
        "think": "high",
        "logprobs": True,
        "top_logprobs": 2,
        "truncate": True,
    },
    {"model": "m", "messages": [HI], "options": {"num_predict": -1, "stop": []}, "think": True},
    {"model": "m", "messages": [HI], "format": "json", "think": False, "logprobs": False},
    {"model": "m", "messages": [{"role": "developer", "content": "x"}]},
    {"model": "m", "messages": []},
    {"model": "m", "messages": None, "keep_alive": 0},
    {"model": "m", "keep_alive": -1},
]
PROMPTS: list[dict[str, Any]] = [
    {"model": "m", "prompt": "Hi"},
    {"model": "m", "prompt": "def f(", "suffix": "return x", "stream": False},
    {"model": "m", "prompt": "x", "system": "Be brief", "images": [PNG], "options": {"seed": 1}},
    {"model": "m", "prompt": "x", "context": [1, 2], "raw": True, "template": "{{ .Prompt }}"},
    {"model": "m", "prompt": "", "system": "", "context": [], "raw": False, "images": []},
    {"model": "m"},
    {"model": "m", "keep_alive": 0, "prompt": None},
]


@pytest.mark.parametrize("body", BODIES)
def test_a_chat_comes_back(body: dict[str, Any]) -> None:
    chat = kit.parse(body)
    assert kit.rebuilt(chat) == body
    untouched = DIALECT.render_request(chat, kit.target("m"))
    assert untouched.body is chat.raw
    assert (untouched.path, untouched.dropped) == ("/api/chat", ())


@pytest.mark.parametrize("body", PROMPTS)
def test_a_prompt_comes_back(body: dict[str, Any]) -> None:
    chat = kit.parse(body, "generate")
    assert kit.rebuilt(chat) == body
    rendered = DIALECT.render_request(chat, kit.target("m"))
    assert (rendered.body, rendered.path) == (chat.raw, "/api/generate")


@pytest.mark.parametrize("operation", ["chat", "generate"])
def test_only_the_model_and_our_own_member_are_spliced(operation: str) -> None:
    raw = b'{ "model":"mine", "sluice":{"user":"u"} ,"prompt":"x", "messages":[{"role":"user"}]}'
    chat = kit.parse(raw, operation)
    assert chat.options.user == "u"
    out = DIALECT.render_request(chat, kit.target("theirs")).body
    assert out == b'{ "model":"theirs", "prompt":"x", "messages":[{"role":"user"}]}'
    assert "sluice" not in kit.rebuilt(chat)


@pytest.mark.parametrize(("said", "meant"), [({}, True), ({"stream": None}, True), (
    {"stream": True}, True), ({"stream": False}, False)])  # fmt: skip
def test_trap_22_a_stream_is_the_default(said: dict[str, Any], meant: bool) -> None:
    for operation, body in (("chat", {"messages": [HI]}), ("generate", {"prompt": "x"})):
        assert kit.parse({"model": "m", **body, **said}, operation).stream is meant


@pytest.mark.parametrize("value", [0, "true", [], {}])
def test_trap_22_anything_else_is_no_switch(value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        kit.parse({"model": "m", "messages": [HI], "stream": value})
    assert caught.value.param == "stream"


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"messages": "x"}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{}]}, "messages[0].role"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "images": ["https://x"]}]}, "messages[0].images[0]"),
        ({"messages": [{"role": "user", "images": [1]}]}, "messages[0].images[0]"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].function"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [
                {"function": {"name": "f", "arguments": "{}"}}]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"think": "much"}, "think"),
        ({"think": 1}, "think"),
        ({"format": "xml"}, "format"),
        ({"format": 1}, "format"),
        ({"options": []}, "options"),
        ({"options": {"top_k": "x"}}, "options.top_k"),
        ({"options": {"stop": "x"}}, "options.stop"),
        ({"tools": [{"function": {}}]}, "tools[0].function.name"),
        ({"model": ""}, "model"),
        ({"\0options": 1}, None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(members: dict[str, Any], param: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        kit.parse({"model": "m", "messages": [HI], **members})
    assert caught.value.param == param


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model":1}', b'{"model":"a","model":"b"}'])
def test_bad_bodies_are_refused(body: bytes) -> None:
    for operation in ("chat", "generate", "embed", "embeddings", "show"):
        with pytest.raises(InvalidRequest):
            kit.ask(body, operation)


def test_trap_56_ids_are_minted_once_and_results_find_their_calls() -> None:
    """trap 56: servers of old gave no ids; the same conversation gets the same ids each time."""
    call = {"function": {"name": "weather", "arguments": {"city": "Bern"}}}
    body = {
        "model": "m",
        "messages": [
            HI,
            {"role": "assistant", "tool_calls": [call, call, {"function": {"name": "clock"}}]},
            {"role": "tool", "content": "noon", "tool_name": "clock"},
            {"role": "tool", "content": "rain", "tool_name": "weather"},
            {"role": "tool", "content": "sun"},
        ],
    }
    first, again = kit.parse(body), kit.parse(body)
    assert first == again
    calls = [p for m in first.messages for p in m.parts if isinstance(p, ToolCall)]
    results = [p for m in first.messages for p in m.parts if isinstance(p, ToolResult)]
    assert len({call.id for call in calls}) == 3
    assert [r.call_id for r in results] == [calls[2].id, calls[0].id, calls[1].id]
    assert kit.rebuilt(first) == body


def test_a_result_without_an_id_is_of_the_call_that_still_waits() -> None:
    calls = [{"id": one, "function": {"name": "f", "arguments": {}}} for one in "ab"]
    body = {
        "model": "m",
        "messages": [
            HI,
            {"role": "assistant", "content": "", "tool_calls": calls},
            {"role": "tool", "content": "x", "tool_name": "f", "tool_call_id": "a"},
            {"role": "tool", "content": "y"},
        ],
    }
    chat = kit.parse(body)
    results = [p for m in chat.messages for p in m.parts if isinstance(p, ToolResult)]
    assert [(one.call_id, one.name) for one in results] == [("a", "f"), ("b", None)]
    assert kit.rebuilt(chat) == body


def test_a_schema_that_is_null_comes_back() -> None:
    function = {"name": "f", "description": "x", "parameters": None}
    tool = {"type": "function", "function": function}
    body = {"model": "m", "messages": [HI], "tools": [tool]}
    assert kit.rebuilt(kit.parse(body)) == body


def test_trap_58_a_data_prefix_is_stripped() -> None:
    """trap 58: pictures are bare base64, both ways."""
    body = {"model": "m", "messages": [{"role": "user", "images": ["data:image/png;base64,AAAA"]}]}
    chat = kit.parse(body)
    assert chat.messages[0].parts == (Image(Source(data="AAAA", media_type="image/png")),)
    assert kit.rebuilt(chat)["messages"][0]["images"] == ["AAAA"]
    out = elsewhere(parts=(Text("x"), Image(Source(data="BBBB", media_type="image/gif"))))
    assert kit.rebuilt(out)["messages"] == [{"role": "user", "content": "x", "images": ["BBBB"]}]


def test_a_pictures_type_is_read_from_its_first_bytes() -> None:
    chat = kit.parse(
        {"model": "m", "messages": [{"role": "user", "images": [PNG, "/9j/4AAQ", "AA"]}]}
    )
    sources = [p.source.media_type for p in chat.messages[0].parts if isinstance(p, Image)]
    assert sources == ["image/png", "image/jpeg", None]


@pytest.mark.parametrize(("said", "meant"), [
    (True, Reasoning(budget=-1)),
    (False, Reasoning(effort="none")),
    ("low", Reasoning(effort="low")),
    ("max", Reasoning(effort="max")),
])  # fmt: skip
def test_think(said: Any, meant: Reasoning) -> None:
    chat = kit.parse({"model": "m", "messages": [HI], "think": said})
    assert chat.reasoning == meant
    assert kit.rebuilt(chat)["think"] == said


@pytest.mark.parametrize(
    ("operation", "body", "param"),
    [
        ("chat", {"model": "m", "messages": []}, "messages"),
        ("generate", {"model": "m"}, "prompt"),
        ("generate", {"model": "m", "prompt": "x", "suffix": "y"}, "suffix"),
        ("generate", {"model": "m", "prompt": "x", "context": [1]}, "context"),
    ],
)
def test_what_only_ollama_can_do_is_refused_elsewhere(
    operation: str, body: dict[str, Any], param: str
) -> None:
    """Loading a model, and completing around a suffix: opaque parts, and named."""
    chat = kit.parse(body, operation)
    assert any(isinstance(part, OpaquePart) for part in chat.messages[-1].parts)
    with pytest.raises(Unsupported) as caught:
        OPENAI.render_request(chat, Target("acme", "gpt-4o", "openai_chat"))
    assert caught.value.param == param


def test_what_a_stage_changed_leaves() -> None:
    chat = replace(kit.parse(BODIES[4]), raw=b"", sampling=Sampling(max_tokens=5), stream=False)
    body = kit.rebuilt(chat)
    assert body["options"]["num_predict"] == 5
    assert body["stream"] is False
    asked = kit.parse(PROMPTS[2], "generate")
    more = replace(
        asked, raw=b"", messages=(Message(Role.SYSTEM, (Text("Obey."),)), *asked.messages)
    )
    assert kit.rebuilt(more)["system"] == "Obey.\n\nBe brief"


def test_a_plain_request_loses_nothing_on_its_way_to_another() -> None:
    """`type`, `index` and minted ids are forms of this language, and no wishes."""
    body = {
        "model": "m",
        "messages": [
            HI,
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": "Rain", "tool_name": "weather"},
        ],
        "tools": [TOOL],
        "options": {"temperature": 0.5, "num_predict": 9},
        "format": "json",
        "stream": True,
    }
    out = OPENAI.render_request(kit.parse(body), Target("acme", "gpt-4o", "openai_chat"))
    assert out.dropped == ()
    sent = json.loads(out.body)
    assert sent["messages"][-1]["tool_call_id"] == "call_1"
    assert (sent["temperature"], sent["max_tokens"], sent["stream"]) == (0.5, 9, True)
