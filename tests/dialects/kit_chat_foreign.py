"""Requests of other languages, and what they become in OpenAI's chat language."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from extproc.dialects.openai_chat import DIALECT
from extproc.model.chat import (
    Chat,
    Image,
    Message,
    Part,
    Role,
    Source,
    Text,
)
from extproc.model.dialect import Rendered
from extproc.model.errors import Unsupported

from . import kit_chat as kit

PNG = Image(Source(data="iVBORw0=", media_type="image/png"))
ASK = Message(Role.USER, (Text("hi"),))
FOREIGN = "anthropic_messages"


def chat(*messages: Message, **fields: Any) -> Chat:
    return Chat(FOREIGN, "x", messages or (ASK,), **fields)


def user(*parts: Part) -> Message:
    return Message(Role.USER, parts)


def assistant(*parts: Part) -> Message:
    return Message(Role.ASSISTANT, parts)


def render(request: Chat, model: str = "gpt-4o", **fields: Any) -> Rendered:
    return DIALECT.render_request(request, replace(kit.target(model), **fields))


def sent(request: Chat, model: str = "gpt-4o", **fields: Any) -> Any:
    return json.loads(render(request, model, **fields).body)


def refused(request: Chat, model: str = "gpt-4o", **fields: Any) -> str | None:
    with pytest.raises(Unsupported) as caught:
        render(request, model, **fields)
    assert "acme" in caught.value.message
    return caught.value.param
