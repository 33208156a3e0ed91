"""OpenAI Responses requests: read, written again at home, and written for clients of other languages."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.dialects._loss import Losses
from extproc.dialects._signatures import wrap
from extproc.dialects.openai_responses import DIALECT
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
from extproc.model.embed import Count, Opaque
from extproc.model.errors import InvalidRequest, Unsupported
from tests.dialects import kit_responses as kit

SCHEMA = {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}
PNG = "data:image/png;base64,iVBORw0KGgo="
CALL = {"type": "function_call", "call_id": "call_1", "name": "tide_at", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "six"}

REQUESTS: list[dict[str, Any]] = [
    {"input": "Hello"},
    {"input": ""},
    {"input": [], "previous_response_id": "resp_1"},
    {"prompt": {"id": "pmpt_1", "version": "2", "variables": {"a": "b"}}},
    {"input": None, "conversation": "conv_1"},
    {"input": "x", "instructions": "Be brief.", "stream": True},
    {"input": "x", "instructions": None, "stream": None, "tools": [], "tool_choice": None},
    {"input": "x", "stream": False, "store": False, "background": True, "metadata": {"a": "b"}},
    {"input": "x", "instructions": ""},
    {
        "input": [
            {"role": "developer", "content": "Speak Dutch."},
            {"role": "user", "content": [{"type": "input_text", "text": "One"}]},
            {
                "type": "message",
                "role": "user",
                "status": "completed",
                "content": [
                    {
                        "type": "input_text",
                        "text": "Two",
                        "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"},
                    },
                    {"type": "input_image", "image_url": PNG, "detail": "low"},
                    {"type": "input_image", "file_id": "file-1", "detail": "auto"},
                    {"type": "input_image", "image_url": "https://a.example/b.png"},
                    {
                        "type": "input_file",
                        "filename": "a.pdf",
                        "file_data": "data:a/b;base64,QQ==",
                    },
                    {"type": "input_file", "file_url": "https://a.example/a.pdf"},
                    {"type": "input_file", "file_id": "file-2"},
                    {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}},
                    {"type": "input_hologram", "depth": 3},
                ],
            },
        ]
    },
    {
        "input": [
            {"role": "user", "content": "Hi"},
            {
                "id": "rs_1",
                "type": "reasoning",
                "summary": [
                    {"type": "summary_text", "text": "A"},
                    {"type": "summary_text", "text": "B"},
                ],
                "encrypted_content": "gAAA",
            },
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "phase": "commentary",
                "content": [
                    {"type": "output_text", "text": "One", "annotations": [], "logprobs": []},
                    {"type": "refusal", "refusal": "No"},
                    {"type": "output_song", "bars": 4},
                ],
            },
            {"role": "assistant", "content": "Easy"},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Listed"}]},
            {"role": "assistant", "content": ""},
            {**CALL, "id": "fc_1", "status": "completed", "namespace": "n"},
            {"type": "custom_tool_call", "call_id": "call_2", "name": "sql", "input": "SELECT 1"},
            {
                "type": "web_search_call",
                "id": "ws_1",
                "status": "completed",
                "action": {"type": "x"},
            },
            OUTPUT,
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": "1", "id": "o_1"},
            {**OUTPUT, "output": [{"type": "input_image", "image_url": PNG, "detail": "auto"}]},
            {**OUTPUT, "output": [{"type": "input_text", "text": "six"}], "status": "completed"},
            {**OUTPUT, "output": ""},
            {**OUTPUT, "output": [], "name": "tide_at"},
            {"type": "item_reference", "id": "msg_9"},
            {"id": "rs_2", "type": "reasoning", "summary": [], "encrypted_content": None},
            {
                "type": "reasoning",
                "id": "rs_3",
                "summary": [],
                "content": [{"type": "reasoning_text", "text": "Hm"}],
            },
            {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"},
        ]
    },
    {
        "input": "x",
        "tools": [
            {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True},
            {
                "type": "function",
                "name": "g",
                "parameters": None,
                "strict": None,
                "defer_loading": True,
            },
            {"type": "custom", "name": "sql", "format": {"type": "text"}},
            {"type": "web_search", "search_context_size": "low"},
        ],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
    },
    {"input": "x", "tool_choice": {"type": "web_search"}},
    {"input": "x", "tool_choice": "some_new_mode"},
    {
        "input": "x",
        "tool_choice": {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "f"}],
        },
    },
    {
        "input": "x",
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]},
    },
    {
        "input": "x",
        "text": {
            "verbosity": "low",
            "format": {"type": "json_schema", "name": "a", "schema": SCHEMA, "strict": None},
        },
    },
    {"input": "x", "text": {"format": {"type": "json_object"}}},
    {"input": "x", "text": {"format": {"type": "grammar", "syntax": "lark"}}},
    {"input": "x", "text": {"verbosity": "high"}},
    {"input": "x", "text": {"format": None}},
    {"input": "x", "text": {}},
    {"input": "x", "text": {"verbosity": None}},
    {"input": "x", "text": {"verbosity": "low", "format": {"type": "grammar"}}},
    {"input": "x", "store": True, "prompt_cache_retention": "24h"},
    {"input": "x", "store": False, "prompt_cache_retention": None},
    {"input": "x", "store": None, "safety_identifier": None, "prompt_cache_key": None},
    {"input": "x", "reasoning": {"effort": "high", "summary": "auto", "context": "all_turns"}},
    {"input": "x", "reasoning": {}},
    {"input": "x", "reasoning": {"effort": None}},
    {
        "input": "x",
        "temperature": 0.5,
        "top_p": 1,
        "max_output_tokens": 20,
        "top_logprobs": 3,
        "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
        "service_tier": "flex",
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "truncation": "auto",
        "stream_options": {"include_obfuscation": False},
        "some_new_field": [1, {"a": None}],
    },
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: ",".join(r))
def test_what_is_read_is_written_again(request_: dict[str, Any]) -> None:
    body = {"model": "gpt-5.6", **request_}
    chat = kit.parse(body)
    assert kit.rebuilt(chat) == body
    rendered = DIALECT.render_request(chat, kit.target())
    assert rendered.body is chat.raw
    assert rendered.dropped == ()


@pytest.mark.parametrize("role", ["user", "system", "developer", "assistant"])
@pytest.mark.parametrize("content", [{"content": None}, {}, {"content": ""}, {"content": []}])
def test_content_that_says_nothing(role: str, content: dict[str, Any]) -> None:
    """Trap 21: null, absent, empty text and an empty list, in every role."""
    body = {"model": "m", "input": [{"role": role, **content}, {"role": "user", "content": "x"}]}
    assert kit.rebuilt(kit.parse(body)) == body


def test_untouched_bytes_pass_and_only_members_change() -> None:
    raw = b'{ "sluice": {"tags": ["a"]}, "model" : "mine", "input":"x" , "stream":true}'
    chat = kit.parse(raw)
    assert chat.options.tags == ("a",)
    rendered = DIALECT.render_request(chat, kit.target("theirs"))
    assert rendered.body == b'{  "model" : "theirs", "input":"x" , "stream":true}'
    assert (rendered.path, rendered.stream, rendered.withhold_usage) == ("/responses", True, False)


def test_the_model_makes_one_turn() -> None:
    """So that other languages find calls that belong together in one message."""
    chat = kit.parse({"model": "m", **REQUESTS[10]})
    roles = [message.role.value for message in chat.messages]
    assert roles == ["user", "assistant", *["tool"] * 6, "assistant"]
    kinds = [type(part).__name__ for part in chat.messages[1].parts]
    assert kinds == [
        "Thinking", "Text", "Refusal", "OpaquePart", "Text", "Text", "OpaquePart",
        "ToolCall", "ToolCall", "OpaquePart",
    ]  # fmt: skip


def test_results_link_by_call_id() -> None:
    """Trap 36: the item's own `id` is something else."""
    items = [
        {**CALL, "id": "call_2"},
        {**CALL, "call_id": "call_2", "id": "call_1"},
        {**OUTPUT, "id": "call_2"},
    ]
    chat = kit.parse({"model": "m", "input": items})
    found = [part for message in chat.messages for part in message.parts]
    assert isinstance(found[0], ToolCall) and isinstance(found[2], ToolResult)
    assert found[0].id == found[2].call_id == "call_1"


def test_what_a_stage_changed_is_what_leaves() -> None:
    chat = kit.parse({"model": "m", **REQUESTS[10]})
    turn = chat.messages[1]
    thinking, said = turn.parts[0], turn.parts[1]
    assert isinstance(said, Text) and isinstance(thinking, Thinking)
    parts = (replace(thinking, text="Redacted"), replace(said, text="Changed"), *turn.parts[2:])
    messages = (chat.messages[0], replace(turn, parts=parts), *chat.messages[2:])
    body = kit.rebuilt(replace(chat, messages=messages))
    assert body["input"][2]["content"][0]["text"] == "Changed"
    assert body["input"][1]["summary"] == [{"type": "summary_text", "text": "Redacted"}]


# --- what is refused

BAD: list[tuple[dict[str, Any], str]] = [
    ({"input": 7}, "input"),
    ({"input": [7]}, "input[0]"),
    ({}, "input"),
    ({"input": [{"content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": 7}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": [{"text": "x"}]}]}, "input[0].content[0].type"),
    ({"input": [{"type": 7}]}, "input[0].type"),
    ({"input": [{"type": "function_call", "call_id": "a", "name": "b"}]}, "input[0].arguments"),
    ({"input": [{**CALL, "arguments": {}}]}, "input[0].arguments"),
    ({"input": [{"type": "function_call_output", "call_id": "a"}]}, "input[0].output"),
    ({"input": [{**OUTPUT, "output": 7}]}, "input[0].output"),
    ({"input": "x", "model": 7}, "model"),
    ({"input": "x", "model": ""}, "model"),
    ({"input": "x", "instructions": []}, "instructions"),
    ({"input": "x", "stream": 0}, "stream"),
    ({"input": "x", "stream": "true"}, "stream"),
    ({"input": "x", "tools": {}}, "tools"),
    ({"input": "x", "tools": [{"name": "f"}]}, "tools[0].type"),
    ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
    ({"input": "x", "tools": [{"type": "function", "name": ""}]}, "tools[0].name"),
    ({"input": "x", "tools": [{"type": "function", "name": "f", "parameters": 1}]}, "tools[0].parameters"),
    ({"input": "x", "tool_choice": 7}, "tool_choice"),
    ({"input": "x", "tool_choice": {"type": "function"}}, "tool_choice.name"),
    ({"input": "x", "text": "x"}, "text"),
    ({"input": "x", "text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
    ({"input": "x", "text": {"format": {"type": 7}}}, "text.format.type"),
    ({"input": "x", "reasoning": {"effort": 7}}, "reasoning.effort"),
    ({"input": "x", "metadata": {"a": 7}}, "metadata.a"),
    ({"input": "x", "temperature": "hot"}, "temperature"),
    ({"input": "x", "max_output_tokens": 1.5}, "max_output_tokens"),
    ({"input": "x", "include": "x"}, "include"),
    ({"input": "x", "store": 1}, "store"),
    ({"input": "x", "previous_response_id": 1}, "previous_response_id"),
    ({"input": "x", "conversation": 1}, "conversation"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "param"), BAD, ids=lambda x: x if isinstance(x, str) else "")
def test_a_bad_request_names_the_place(members: dict[str, Any], param: str) -> None:
    """Trap 22 among them: `stream` is true or not."""
    with pytest.raises(InvalidRequest) as raised:
        kit.parse({"model": "m", **members})
    assert raised.value.param == param


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b"[" * 10_000,
        b'{"model":"a","model":"b","input":"x"}',
        b'{"a":NaN}',
        b'{"a":1e400}',
    ],
)
def test_bodies_that_are_no_json(body: bytes) -> None:
    """Traps 16, 18, 19, 20."""
    with pytest.raises(InvalidRequest):
        kit.parse(body)


def test_a_clients_member_is_not_mistaken_for_ours() -> None:
    with pytest.raises(InvalidRequest):
        kit.parse(b'{"model":"m","input":[{"role":"user","content":"x","\\u0000item":{}}]}')


WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "text", "call_id", "name", "output", "summary"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(sorted({k for r in REQUESTS for k in r})), WILD))
def test_nothing_but_the_documented_error_is_raised(members: dict[str, Any]) -> None:
    body = {"model": "m", "input": "x", **members}
    try:
        chat = kit.parse(body)
    except InvalidRequest:
        return
    kit.rebuilt(chat)


# --- for clients of other languages


def chat(*messages: Message, **more: Any) -> Chat:
    return Chat("anthropic_messages", "client-name", messages, **more)


USER = Message(Role.USER, (Text("Hello"),))


def rendered(asked: Chat, **more: Any) -> Any:
    return DIALECT.render_request(asked, kit.target(**more))


def body(asked: Chat, **more: Any) -> Any:
    return json.loads(rendered(asked, **more).body)


def test_a_foreign_conversation() -> None:
    asked = chat(
        Message(Role.SYSTEM, (Text("Be brief."), Text("Be kind."))),
        USER,
        Message(
            Role.ASSISTANT,
            (Text("Let me look."), ToolCall("toolu_1", "tide.at", '{"port": "Oban"}')),
        ),
        Message(
            Role.USER,
            (
                ToolResult(
                    "toolu_1", (Text("six"), Image(Source(data="QQ==", media_type="image/png")))
                ),
                Text("And now?"),
            ),
        ),
        Message(Role.SYSTEM, (Text("Only Dutch."),)),
        tools=(Tool("tide.at", "When", SCHEMA), Tool("g")),
        tool_choice=ToolChoice(ToolMode.NAMED, ("tide.at",)),
        stream=True,
    )
    made = rendered(asked)
    (sent,) = made.renamed
    assert made.renamed == {sent: "tide.at"}
    assert json.loads(made.body) == {
        "model": "gpt-5.6",
        "instructions": "Be brief.\n\nBe kind.",
        "input": [
            {"type": "message", "role": "user", "content": "Hello"},
            {"type": "message", "role": "assistant", "content": "Let me look."},
            {
                "type": "function_call",
                "call_id": "toolu_1",
                "name": sent,
                "arguments": '{"port": "Oban"}',
            },
            {
                "type": "function_call_output",
                "call_id": "toolu_1",
                "output": [
                    {"type": "input_text", "text": "six"},
                    {"type": "input_image", "image_url": "data:image/png;base64,QQ=="},
                ],
            },
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "And now?"}],
            },
            {"type": "message", "role": "system", "content": "Only Dutch."},
        ],
        "stream": True,
        "tools": [
            {"type": "function", "name": sent, "description": "When", "parameters": SCHEMA, "strict": False},
            {
                "type": "function",
                "name": "g",
                "parameters": {"type": "object", "properties": {}},
                "strict": False,
            },
        ],
        "tool_choice": {"type": "function", "name": sent},
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }  # fmt: skip
    assert made.dropped == ()


def test_settings_of_others() -> None:
    asked = chat(
        USER,
        sampling=Sampling(
            temperature=0.3, top_p=0.9, max_tokens=50, logprobs=True, top_logprobs=2,
            seed=1, top_k=3, frequency_penalty=0.1, presence_penalty=0.2, n=1,
        ),
        output=Output(OutputKind.SCHEMA, SCHEMA, strict=True),
        reasoning=Reasoning(effort="high"),
        parallel_tools=False,
        user="u",
        metadata={"a": "b"},
        service_tier="standard_only",
        extra=Extra("anthropic_messages", {"container": "c", "speed": None}),
    )  # fmt: skip
    made = rendered(asked, model="gpt-4.1")
    assert json.loads(made.body) == {
        "model": "gpt-4.1",
        "input": [{"type": "message", "role": "user", "content": "Hello"}],
        "temperature": 0.3,
        "top_p": 0.9,
        "max_output_tokens": 50,
        "top_logprobs": 2,
        "include": ["message.output_text.logprobs"],
        "text": {
            "format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}
        },
        "parallel_tool_calls": False,
        "user": "u",
        "metadata": {"a": "b"},
        "service_tier": "default",
        "store": False,
    }
    assert set(made.dropped) == {
        "seed", "top_k", "frequency_penalty", "presence_penalty", "container",
        "reasoning.effort",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (Reasoning(budget=0), {"effort": "none"}),
        (Reasoning(budget=1024), {"effort": "low", "summary": "auto"}),
        (Reasoning(budget=9000), {"effort": "high", "summary": "auto"}),
        (Reasoning(budget=99_000), {"effort": "xhigh", "summary": "auto"}),
        (Reasoning(budget=-1), {"summary": "auto"}),
        (Reasoning(effort="low", summary="detailed"), {"effort": "low", "summary": "detailed"}),
        (Reasoning(), None),
    ],
)
def test_reasoning_of_others(asked: Reasoning, wanted: Any) -> None:
    assert body(chat(USER, reasoning=asked)).get("reasoning") == wanted


def test_an_effort_that_the_model_lacks_is_the_next_one() -> None:
    asked = chat(USER, reasoning=Reasoning(effort="max"))
    assert body(asked, model="o4-mini")["reasoning"] == {"effort": "high"}
    assert rendered(asked, model="o4-mini").dropped == ("reasoning.effort",)


@pytest.mark.parametrize(
    ("model", "reasons", "asks"),
    [("o4-mini", None, True), ("gpt-5.2", None, True), ("gpt-4.1", None, False),
     ("gpt-4.1", True, True), ("openai/gpt-5", None, True), ("gpt-5", False, False)],
)  # fmt: skip
def test_signed_reasoning_is_asked_of_models_that_have_it(
    model: str, reasons: bool | None, asks: bool
) -> None:
    found = body(chat(USER), model=model, capabilities=Capabilities(reasoning=reasons))
    assert ("include" in found) is asks


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"sampling": Sampling(stop=("x",))}, "stop"),
        ({"sampling": Sampling(n=2)}, "n"),
        ({"sampling": Sampling(logit_bias={"1": 1.0})}, "logit_bias"),
        ({"tools": (Tool("", extra=Extra("anthropic_messages", {"type": "bash"})),)}, "tools"),
    ],
)
def test_what_would_change_the_meaning_is_refused(more: dict[str, Any], field: str) -> None:
    with pytest.raises(Unsupported) as raised:
        rendered(chat(USER, **more))
    assert raised.value.param == field


@pytest.mark.parametrize(
    "part",
    [
        Audio(Source(data="QQ==")),
        Image(Source(file_id="file-1")),
        Document(Source(file_id="file-1")),
        OpaquePart(Extra("gemini_generate", {"type": "video"})),
    ],
)
def test_parts_that_cannot_be_sent_are_refused(part: Any) -> None:
    with pytest.raises(Unsupported):
        rendered(chat(Message(Role.USER, (part,))))


def test_in_the_past_such_parts_are_named() -> None:
    part = OpaquePart(Extra("anthropic_messages", {"type": "web_search_tool_result"}))
    asked = chat(USER, Message(Role.ASSISTANT, (Text("a"), part)), USER)
    assert rendered(asked).dropped == ("messages.content",)


def test_few_tokens_become_the_least() -> None:
    asked = chat(USER, sampling=Sampling(max_tokens=5))
    assert body(asked)["max_output_tokens"] == 16
    assert rendered(asked).dropped == ("max_tokens",)
    with pytest.raises(Unsupported):
        rendered(asked, on_lossy=OnLossy.REJECT)


def test_errors_marks_and_names_of_others_are_named() -> None:
    asked = chat(
        Message(Role.USER, (Text("Hi", CacheMark(300)),), name="Mira"),
        Message(Role.ASSISTANT, (ToolCall("c", "f", "", CacheMark()),)),
        Message(Role.TOOL, (ToolResult("c", (Text("boom"),), is_error=True),)),
        tools=(Tool("f", cache=CacheMark()),),
    )
    made = rendered(asked)
    assert set(made.dropped) == {"cache", "messages.name", "tool_result.is_error"}
    items = json.loads(made.body)["input"]
    assert items[1]["arguments"] == "{}"
    assert items[2]["output"] == "ERROR: boom"


def test_ids_that_are_too_long_change_alike() -> None:
    call_id = "c" * 80
    asked = chat(
        USER,
        Message(Role.ASSISTANT, (ToolCall(call_id, "f", "{}"),)),
        Message(Role.TOOL, (ToolResult(call_id, (Text("x"),)),)),
    )
    items = body(asked)["input"]
    assert items[1]["call_id"] == items[2]["call_id"]
    assert len(items[1]["call_id"]) <= 64


# --- signatures travel home


def test_reasoning_signed_here_comes_back_from_any_client() -> None:
    thought = Thinking("Hm", "gAAA", origin=kit.NAME)
    asked = chat(USER, Message(Role.ASSISTANT, (thought, ToolCall("c", "f", "{}"))))
    assert body(asked)["input"][1] == {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "Hm"}],
        "encrypted_content": "gAAA",
    }


@pytest.mark.parametrize("origin", ["anthropic_messages", ""])
def test_reasoning_of_others_stays_away(origin: str) -> None:
    thought = Thinking("Hm", "sig", origin=origin)
    made = rendered(chat(USER, Message(Role.ASSISTANT, (thought, Text("a")))))
    assert b'reasoning"' not in made.body
    assert made.dropped == ("thinking",)


def test_what_we_sealed_does_not_reach_a_provider_of_this_language() -> None:
    sealed = wrap("sig", "anthropic_messages", kit.NAME)
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed}
    request = {"model": "gpt-5.6", "input": [item, {"role": "user", "content": "x"}]}
    asked = kit.parse(request)
    (thought,) = asked.messages[0].parts
    assert isinstance(thought, Thinking)
    assert (thought.signature, thought.origin) == ("sig", "anthropic_messages")
    made = DIALECT.render_request(asked, kit.target())
    assert json.loads(made.body)["input"] == [{"role": "user", "content": "x"}]
    assert made.dropped == ("thinking",)


@pytest.mark.parametrize("junk", ["sluice1.", "sluice1.x", "sluice1.x.!!!", "sluice1..QQ"])
def test_a_broken_seal_is_nobodys(junk: str) -> None:
    item = {"type": "reasoning", "summary": [], "encrypted_content": junk}
    asked = kit.parse({"model": "m", "input": [item, {"role": "user", "content": "x"}]})
    made = DIALECT.render_request(asked, kit.target())
    assert b"sluice1" not in made.body


# --- what only home can serve


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "item_reference"),
        ({"input": [{"type": "compaction", "encrypted_content": "g"}]}, "compaction"),
    ],
)
def test_what_is_stored_cannot_leave(members: dict[str, Any], name: str) -> None:
    asked = kit.parse({**kit.ASK, **members})
    with pytest.raises(Unsupported) as raised:
        Losses(Target("other", "m", "elsewhere")).foreign(asked.extra, "elsewhere")
    assert raised.value.param == name


@pytest.mark.parametrize("members", [{}, {"store": False}, {"store": None}, {"background": False}])
def test_not_to_store_is_no_loss(members: dict[str, Any]) -> None:
    losses = Losses(Target("other", "m", "elsewhere"))
    asked = kit.parse({**kit.ASK, **members})
    losses.foreign(asked.extra, "elsewhere")
    assert losses.names == ()
    assert asked.store is members.get("store")


# --- other endpoints and variants


def operation_of(path: str, method: str = "POST") -> str:
    exact = [e for e in DIALECT.endpoints if (e.method, e.path) == (method, path)]
    return exact[0].operation if exact else "opaque"


def test_counting() -> None:
    raw = json.dumps({"model": "mine", "input": "x", "tools": []}).encode()
    path = "/v1/responses/input_tokens"
    request = DIALECT.parse_request(kit.head(operation_of(path), path), raw)
    assert isinstance(request, Count)
    made = DIALECT.render_request(request, kit.target("theirs"))
    assert made.path == "/responses/input_tokens"
    assert json.loads(made.body) == {"model": "theirs", "input": "x", "tools": []}
    foreign = Count(chat(USER, sampling=Sampling(max_tokens=9), stream=True))
    made = DIALECT.render_request(foreign, kit.target("theirs"))
    assert json.loads(made.body).keys() == {"model", "input"}


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        ("GET", "/v1/responses/resp_1", "/responses/resp_1"),
        ("GET", "/responses/resp_1/input_items?limit=2", "/responses/resp_1/input_items?limit=2"),
        ("DELETE", "/v1/responses/resp_1", "/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel", "/responses/resp_1/cancel"),
    ],
)
def test_stored_responses_pass_at_home(method: str, path: str, wanted: str) -> None:
    request = DIALECT.parse_request(kit.head("opaque", path, method), b"")
    assert isinstance(request, Opaque)
    made = DIALECT.render_request(request, kit.target())
    assert (made.method, made.path, made.body) == (method, wanted, b"")


def test_a_path_that_climbs_is_refused() -> None:
    """Trap 63."""
    with pytest.raises(InvalidRequest):
        DIALECT.parse_request(kit.head("opaque", "/v1/responses/%2e%2e/files", "GET"), b"")


def test_opaque_requests_of_others_do_not_come_here() -> None:
    request = Opaque("openai_chat", "GET", "/files", "")
    with pytest.raises(Unsupported):
        DIALECT.render_request(request, kit.target())


@pytest.mark.parametrize(
    ("version", "path"),
    [("2025-04-01", "/responses?api-version=2025-04-01"), ("", "/responses")],
)
def test_azure(version: str, path: str) -> None:
    target = kit.target(variant="azure", details=(("api_version", version),))
    assert DIALECT.render_request(kit.parse(kit.ASK), target).path == path


# --- speed
