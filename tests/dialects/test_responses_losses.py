"""What gets lost between OpenAI Responses and other languages, in both directions, and what does not."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from extproc.dialects.openai_chat import DIALECT as CHAT
from extproc.dialects.openai_responses import DIALECT
from extproc.model.call import Target
from extproc.model.chat import (
    Chat,
    Extra,
    Image,
    Message,
    Output,
    OutputKind,
    Reasoning,
    Role,
    Source,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from tests.dialects import kit_chat
from tests.dialects import kit_responses as kit

CALL = {"type": "function_call", "call_id": "call_1", "name": "tide_at", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "six"}


def test_every_extra_that_stays_behind_is_named() -> None:
    def only(name: str) -> Extra:
        return Extra("anthropic_messages", {name: 1, "id": "x", "type": "y", "\0shape": 1})

    image = Image(Source(url="u"), extra=only("of_image"))
    messages = (
        Message(Role.SYSTEM, (Text("a", extra=only("of_system")),), extra=only("of_first")),
        Message(Role.USER, (Text("b"), image), extra=only("of_message")),
        Message(Role.ASSISTANT, (ToolCall("1", "f", "{}", extra=only("of_call")),)),
        Message(
            Role.TOOL,
            (ToolResult("1", (Text("d", extra=only("of_inner")),), extra=only("of_result")),),
        ),
    )
    asked = Chat(
        "anthropic_messages",
        "m",
        messages,
        tools=(Tool("f", extra=only("of_tool")),),
        tool_choice=ToolChoice(ToolMode.AUTO, extra=only("of_choice")),
        output=Output(OutputKind.TEXT, extra=only("of_output")),
        reasoning=Reasoning(effort="low", extra=only("of_reasoning")),
        extra=only("of_chat"),
    )
    places = "chat system first message image call inner result tool choice output reasoning"
    assert set(DIALECT.render_request(asked, kit.target()).dropped) == {
        f"of_{place}" for place in places.split()
    }


def test_what_items_say_beside_their_content_is_a_loss_elsewhere() -> None:
    """`phase` is more than which item it is; ids, and what every reply fulfils, are not."""
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]},
        {
            "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "phase": "commentary",
            "content": [{"type": "output_text", "text": "a", "annotations": [], "logprobs": []}],
        },
        {"type": "message", "role": "assistant", "content": "b"},
        {**CALL, "id": "fc_1", "status": "completed"},
        {**OUTPUT, "id": "fo_1", "status": "completed"},
    ]  # fmt: skip
    asked = kit.parse({"model": "m", "input": items, "truncation": "disabled"})
    made = CHAT.render_request(asked, Target("acme", "m", "openai_chat"))
    assert made.dropped == ("phase",)
    assert kit.rebuilt(asked)["input"] == items
    cut = kit.parse({"model": "m", "input": "x", "truncation": "auto"})
    assert CHAT.render_request(cut, Target("acme", "m", "openai_chat")).dropped == ("truncation",)


_TEXTS = st.sampled_from(["a", "b"])
_ITEMS = st.lists(
    st.one_of(
        st.builds(
            lambda typed, role, text: {**typed, "role": role, "content": text},
            st.sampled_from([{}, {"type": "message"}, {"type": "message", "id": "msg_1"}]),
            st.sampled_from(["user", "assistant", "system"]),
            _TEXTS
            | st.lists(
                st.builds(lambda text: {"type": "output_text", "text": text}, _TEXTS),
                min_size=1,
                max_size=2,
            ),
        ),
        st.sampled_from(
            [CALL, {**CALL, "id": "fc_1"}, OUTPUT, {"type": "reasoning", "id": "r", "summary": []}]
        ),
    ),
    min_size=1,
    max_size=6,
)


_SAID = {"role": "assistant", "content": "a"}
_TYPED = {"type": "message", **_SAID}


@given(_ITEMS)
@example([_TYPED, _SAID, _TYPED, CALL, _SAID])
@example([_SAID, _TYPED, CALL, _TYPED])
def test_any_turn_goes_back_into_its_items(items: list[Any]) -> None:
    body = {"model": "m", "input": items}
    assert kit.rebuilt(kit.parse(body)) == body


def test_an_effort_asks_for_no_summary() -> None:
    """OpenAI refuses `summary` to whom it has not verified, and no client of Chat could take it back."""
    said = {"role": "user", "content": "x"}
    asked = kit_chat.parse({"model": "m", "messages": [said], "reasoning_effort": "high"})
    body = json.loads(DIALECT.render_request(asked, kit.target()).body)
    assert body["reasoning"] == {"effort": "high"}
