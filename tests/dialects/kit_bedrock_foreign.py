"""Requests of other languages, and what they become in Converse."""

from __future__ import annotations

from typing import Any

from extproc.model.call import Capabilities
from extproc.model.chat import (
    Chat,
    Message,
    Part,
    Role,
    Source,
    Text,
)
from tests.dialects import kit_bedrock as kit

PNG = Source(data="iVBORw0K", media_type="image/png")
PDF = Source(data="JVBERi0=", media_type="application/pdf", name="../secret plans.pdf")
OLDER = Capabilities(adaptive_thinking=False, json_schema=False, reasoning=True)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def said(role: Role, *parts: Part | str) -> Message:
    return Message(role, tuple(Text(p) if isinstance(p, str) else p for p in parts))


def user(*parts: Part | str) -> Message:
    return said(Role.USER, *parts)


def assistant(*parts: Part | str) -> Message:
    return said(Role.ASSISTANT, *parts)


def chat(*messages: Message, **about: Any) -> Chat:
    return Chat("openai_chat", "any", messages or (user("Hi"),), **about)


def dropped(asked: Chat, **about: Any) -> tuple[str, ...]:
    return kit.render(asked, **about).dropped
