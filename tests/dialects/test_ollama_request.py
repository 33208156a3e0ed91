"""Ollama requests: in and home again, and what the requests of other languages become."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ollama
import pytest

from extproc.dialects.ollama_chat import DIALECT
from extproc.dialects.openai_chat import DIALECT as OPENAI
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
from extproc.model.fields import Field

from . import kit_ollama as kit

PNG = "iVBORw0KGgoAAAANSUhEUg=="
HI = {"role": "user", "content": "Hi"}
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


# --- from other languages -------------------------------------------------------------------


def elsewhere(*messages: Message, parts: tuple[Part, ...] = (Text("Hi"),), **fields: Any) -> Chat:
    return Chat("elsewhere", "m", messages or (Message(Role.USER, parts),), **fields)


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
