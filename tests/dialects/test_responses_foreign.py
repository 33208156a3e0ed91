"""Requests of other languages as a Responses provider is asked them, and what of its own cannot leave."""

from __future__ import annotations

import json
from typing import Any

import pytest

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
from extproc.model.embed import Opaque
from extproc.model.errors import Unsupported
from tests.dialects import kit_responses as kit
from tests.dialects.kit_responses import SCHEMA, USER, chat


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


def test_opaque_requests_of_others_do_not_come_here() -> None:
    request = Opaque("openai_chat", "GET", "/files", "")
    with pytest.raises(Unsupported):
        DIALECT.render_request(request, kit.target())
