"""How many tokens a request's prompt has, roughly, where no provider counts for us.

Takes a request, gives a number. A tokenizer of each vendor's would cost more than it gives:
whoever shows the number marks it as an estimate, and never bills it.
"""

from __future__ import annotations

from extproc.model.chat import (
    Audio,
    Chat,
    Document,
    Image,
    OpaquePart,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from extproc.model.embed import Count, Embed, Opaque, Rerank, Routed

_CHARACTERS = 4
"""of English text in a token, on average"""
_MESSAGE = 4
_IMAGE = 800
_BASE64 = 12
"""characters of base64 in a token of a document, on average"""


def estimate_tokens(chat: Chat) -> int:
    """Tokens of the prompt: text, tools and their results, pictures at a flat rate."""
    size = sum(_MESSAGE * _CHARACTERS + sum(map(_size, m.parts)) for m in chat.messages)
    for tool in chat.tools:
        size += len(tool.name) + len(tool.description or "") + len(str(tool.parameters or ""))
    return _tokens(size)


def prompt_tokens(request: Routed) -> int:
    """As `estimate_tokens`, of any request. What is carried unread counts by its bytes, if it is JSON."""
    match request:
        case Chat():
            return estimate_tokens(request)
        case Count(chat):
            return estimate_tokens(chat)
        case Embed():
            return sum(len(i) if isinstance(i, tuple) else _tokens(len(i)) for i in request.inputs)
        case Rerank():
            return _tokens(len(request.query) + sum(map(len, request.documents)))
        case Opaque():
            return _tokens(len(request.raw)) if "json" in request.content_type else 0


def _tokens(characters: int) -> int:
    return -(-characters // _CHARACTERS)


def _size(part: Part) -> int:
    match part:
        case Text(text) | Refusal(text):
            return len(text)
        case Thinking():
            return len(part.text)
        case ToolCall():
            return len(part.name) + len(part.arguments)
        case ToolResult():
            return sum(map(_size, part.parts))
        case Image():
            return _IMAGE * _CHARACTERS
        case Audio() | Document():
            return len(part.source.data or "") * _CHARACTERS // _BASE64
        case OpaquePart():
            return len(str(part.extra.fields))
