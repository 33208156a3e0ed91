"""What is said in reply to an OpenAI-shaped chat request, without its wire shape.

Takes the request's fields, gives choices as pieces of text or tool calls, with
token counts by words. Pure and deterministic; never looks at a header or clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import orjson

from extproc.mock import writer
from extproc.mock.faults import Faults
from extproc.mock.schema_fill import fill

_MOST_CHOICES = 16
_CALLED_BY = ("tool", "function")
_AGAIN = "then use"
"""in what a tool gave: the model calls on, rather than answering"""
_REFUSED_BY = "please refuse"
_REFUSAL = ("I", " am", " sorry,", " but", " I", " cannot", " help", " with", " that.")
_THOUGHTS = ("First", " I", " look", " at", " what", " was", " asked.")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call; `arguments` is a JSON document, or free text for a custom tool."""

    name: str
    arguments: str
    kind: Literal["function", "custom"] = "function"

    @property
    def field(self) -> str:
        """The wire's name of what the call carries."""
        return "arguments" if self.kind == "function" else "input"


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer: pieces that join to its text, or calls. `refused`: the text says no."""

    pieces: tuple[str, ...]
    calls: tuple[ToolCall, ...]
    finish: Literal["stop", "length", "tool_calls"]
    logprobs: bool
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """All choices, and tokens counted by words."""

    choices: tuple[Choice, ...]
    prompt_tokens: int
    completion_tokens: int


def answer(
    fields: Mapping[str, object], messages: Sequence[Mapping[str, object]], faults: Faults
) -> Said:
    """The choices for this request; every field of a wrong type counts as absent."""
    texts = [_text(message.get("content")) for message in messages]
    prompt = _prompt(messages, texts)
    number = fields.get("n")
    wanted = number if isinstance(number, int) and 1 <= number <= _MOST_CHOICES else 1
    calls = () if faults.giant is not None else _calls(fields, messages, prompt)
    choices = tuple(_choice(fields, prompt, calls, faults, variant) for variant in range(wanted))
    made = sum(
        len(choice.pieces) + sum(1 + writer.count(call.arguments) for call in choice.calls)
        for choice in choices
    )
    return Said(choices, sum(map(writer.count, texts)) + 3 * len(messages), made)


def thoughts(fields: Mapping[str, object]) -> tuple[str, ...]:
    """What is thought before the answer: only when the request asks for an effort."""
    return () if fields.get("reasoning_effort") in (None, "none") else _THOUGHTS


def grouped(pieces: Sequence[str], groups: int | None) -> Iterator[Sequence[str]]:
    """The pieces one by one, or spread over `groups` groups as evenly as they go."""
    number = groups or len(pieces)
    for at in range(number):
        yield pieces[at * len(pieces) // number : (at + 1) * len(pieces) // number]


def slices(text: str, parts: int | None) -> Iterator[str]:
    """A call's arguments as they arrive: a few characters at a time, or in `parts`."""
    number = parts or -(-len(text) // 6)
    for at in range(number):
        yield text[at * len(text) // number : (at + 1) * len(text) // number]


def _text(content: object) -> str:
    if isinstance(content, str):
        return writer.clean(content)
    if not isinstance(content, list):
        return ""
    parts = [part for part in cast("list[object]", content) if isinstance(part, dict)]
    texts = [cast("dict[str, object]", part).get("text") for part in parts]
    return writer.clean(" ".join(text for text in texts if isinstance(text, str)))


def _prompt(messages: Sequence[Mapping[str, object]], texts: Sequence[str]) -> str:
    """The text of the last message that the caller wrote."""
    for message, text in zip(reversed(messages), reversed(texts), strict=True):
        if message.get("role") in ("user", "tool", "function"):
            return text
    return texts[-1]


def _choice(
    fields: Mapping[str, object],
    prompt: str,
    calls: tuple[ToolCall, ...],
    faults: Faults,
    variant: int,
) -> Choice:
    logprobs = fields.get("logprobs") is True
    if calls:
        return Choice((), calls, "tool_calls", logprobs=False)
    if faults.giant is not None:
        return Choice((writer.filler(faults.giant),), (), "stop", logprobs=False)
    if _REFUSED_BY in prompt.lower():
        return Choice(_REFUSAL, (), "stop", logprobs=False, refused=True)
    words = faults.events if faults.words is None else faults.words
    pieces = writer.write(prompt, words, variant)
    document = faults.say or _document(fields.get("response_format"), "".join(pieces))
    if document is not None:
        pieces = list(slices(document, None))
    pieces = _stop(pieces, fields.get("stop"))
    limit = fields.get("max_completion_tokens", fields.get("max_tokens"))
    if isinstance(limit, int) and 0 < limit < len(pieces):
        return Choice(tuple(pieces[:limit]), (), "length", logprobs)
    return Choice(tuple(pieces), (), "stop", logprobs)


def _document(form: object, text: str) -> str | None:
    """The JSON that a response format asks for."""
    if not isinstance(form, dict):
        return None
    asked = cast("dict[str, object]", form)
    if asked.get("type") == "json_object":
        return orjson.dumps({"answer": text}).decode()
    wrapped = asked.get("json_schema")
    if asked.get("type") != "json_schema" or not isinstance(wrapped, dict):
        return None
    return orjson.dumps(fill(cast("dict[str, object]", wrapped).get("schema", {}), text)).decode()


def _stop(pieces: list[str], stop: object) -> list[str]:
    """The pieces up to the first stop sequence, which may lie across two of them."""
    marks = [stop] if isinstance(stop, str) else stop
    if not isinstance(marks, list):
        return pieces
    text = "".join(pieces)
    found = [
        text.find(mark) for mark in cast("list[object]", marks) if isinstance(mark, str) and mark
    ]
    left = min((at for at in found if at >= 0), default=len(text))
    kept: list[str] = []
    for piece in pieces:
        if left <= 0:
            break
        kept.append(piece[:left])
        left -= len(piece)
    return kept


def _calls(
    fields: Mapping[str, object], messages: Sequence[Mapping[str, object]], prompt: str
) -> tuple[ToolCall, ...]:
    offered = fields.get("tools")
    tools = (
        [_tool(tool) for tool in cast("list[object]", offered)] if isinstance(offered, list) else []
    )
    known = [tool for tool in tools if tool is not None]
    if not known:
        return ()
    lowered = prompt.lower()
    chosen = fields.get("tool_choice", "auto")
    match chosen:
        case "none":
            return ()
        case "required":
            wanted = known
        case {"function": {"name": name}} | {"custom": {"name": name}}:
            wanted = [tool for tool in known if tool[0] == name]
        case _:
            answered = _is_answered(messages) and _AGAIN not in lowered
            words = (*(tool[0].lower() for tool in known), *_CALLED_BY)
            if answered or not any(word in lowered for word in words):
                return ()
            wanted = [tool for tool in known if tool[0].lower() in lowered] or known
    if "parallel" in lowered and fields.get("parallel_tool_calls") is not False and wanted:
        wanted = wanted if len(wanted) > 1 else wanted * 2
    else:
        wanted = wanted[:1]
    return tuple(_call(tool, prompt) for tool in wanted)


def _is_answered(messages: Sequence[Mapping[str, object]]) -> bool:
    """Whether a tool gave something since the model spoke last."""
    for message in reversed(messages):
        match message.get("role"):
            case "tool" | "function":
                return True
            case "assistant":
                return False
            case _:
                pass
    return False


def _tool(tool: object) -> tuple[str, object, Literal["function", "custom"]] | None:
    """Name, schema and kind of one offered tool."""
    match tool:
        case {"type": "custom", "custom": {"name": str(name)}}:
            return name, None, "custom"
        case {"function": {"name": str(name), "parameters": parameters}}:
            return name, parameters, "function"
        case {"function": {"name": str(name)}}:
            return name, {}, "function"
        case _:
            return None


def _call(tool: tuple[str, object, Literal["function", "custom"]], prompt: str) -> ToolCall:
    name, schema, kind = tool
    short = " ".join(prompt.split()[:4])
    if kind == "custom":
        return ToolCall(name, short, kind)
    filled = fill(schema, short)
    return ToolCall(name, orjson.dumps(filled if isinstance(filled, dict) else {}).decode())
