"""OpenAI Responses requests: read, written again at home, or refused by name; and other endpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.dialects.openai_responses import DIALECT
from extproc.model.chat import (
    Sampling,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from extproc.model.embed import Count, Opaque
from extproc.model.errors import InvalidRequest
from tests.dialects import kit_responses as kit
from tests.dialects.kit_responses import SCHEMA, USER, chat

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


@pytest.mark.parametrize(
    ("version", "path"),
    [("2025-04-01", "/responses?api-version=2025-04-01"), ("", "/responses")],
)
def test_azure(version: str, path: str) -> None:
    target = kit.target(variant="azure", details=(("api_version", version),))
    assert DIALECT.render_request(kit.parse(kit.ASK), target).path == path
