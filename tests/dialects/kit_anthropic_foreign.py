"""Requests of other languages, and what they become for a provider of Claude's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extproc.model.call import Capabilities, Target
from extproc.model.chat import (
    Chat,
    Message,
    Part,
    Role,
    Text,
    ToolResult,
)
from extproc.model.errors import Unsupported

from . import kit_anthropic as kit

ELSEWHERE = "openai_chat"
HELLO = Message(Role.USER, (Text("Hello"),))
OLD = Capabilities(adaptive_thinking=False, json_schema=False)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def chat(*messages: Message, **members: Any) -> Chat:
    return Chat(ELSEWHERE, "claude", messages or (HELLO,), **members)


def user(*parts: Part) -> Message:
    return Message(Role.USER, parts)


def assistant(*parts: Part) -> Message:
    return Message(Role.ASSISTANT, parts)


def result(call_id: str, *parts: Part, **members: Any) -> Message:
    return Message(Role.TOOL, (ToolResult(call_id, parts, **members),))


def both(request: Chat, capabilities: Capabilities | None = None) -> tuple[Any, tuple[str, ...]]:
    rendered = kit.rendered(request, kit.target("claude", capabilities=capabilities))
    return json.loads(rendered.body), rendered.dropped


def sent(request: Chat, capabilities: Capabilities | None = None) -> Any:
    return both(request, capabilities)[0]


def refused(request: Chat, to: Target | None = None) -> str:
    with pytest.raises(Unsupported) as caught:
        kit.rendered(request, to)
    assert "acme" in caught.value.message
    return caught.value.param or ""
