"""How many tokens a prompt has, roughly, where no provider counts for us.

A tokenizer of each vendor's would cost more than it gives: the answer is marked
as an estimate, and never billed.
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
from extproc.model.embed import Count
from extproc.model.reply import Counted, Event, Finished, Started

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
    return -(-size // _CHARACTERS)


def estimated(asked: Count) -> tuple[Event, ...]:
    """The answer to a question that the provider cannot be asked."""
    count = Counted(estimate_tokens(asked.chat), estimated=True)
    return (Started("", asked.model), count, Finished())


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
