"""What OpenAI's Responses API refuses, and what a request of it means in the words of `choices.py`.

Takes the body's fields, gives the first thing that is wrong with them, or the
same request with messages and tools as Chat has them. Messages are worded as
OpenAI words them. Pure; knows no reply.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import cast

from extproc.mock.speakers.openai_rules import Fields, Wrong

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_THOUGHTLESS = re.compile(r"gpt-[34]|gpt-5-chat|chatgpt")
_KNOWN = frozenset(
    [
        "background",
        "background_options",
        "context_management",
        "conversation",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "moderation",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    ]
)
_CONTENT = {
    "user": frozenset({"input_text", "input_image", "input_file"}),
    "system": frozenset({"input_text", "input_image", "input_file"}),
    "developer": frozenset({"input_text", "input_image", "input_file"}),
    "assistant": frozenset({"output_text", "refusal"}),
}
_CALLS = ("function_call", "custom_tool_call")
_OUTPUTS = ("function_call_output", "custom_tool_call_output")
ENCRYPTED = "reasoning.encrypted_content"
SEAL = "gAAAA"
"""how encrypted reasoning begins; any other is not ours"""


def wrong(fields: Fields) -> Wrong | None:
    """The first thing that is wrong, if any."""
    return next(_faults(fields), None)


def items_of(fields: Fields) -> list[Fields]:
    """The input as items; one string is one message."""
    said = fields.get("input")
    if isinstance(said, str):
        return [{"role": "user", "content": said}]
    listed = cast("list[object]", said) if isinstance(said, list) else []
    return [cast("Fields", item) for item in listed if isinstance(item, dict)]


def _faults(fields: Fields) -> Iterator[Wrong]:
    for name in fields.keys() - _KNOWN:
        yield Wrong(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    model, said = fields.get("model"), fields.get("input")
    if not isinstance(model, str) or not model:
        yield _missing("model")
    if fields.get("previous_response_id") is not None:
        gone = f"Previous response with id '{fields['previous_response_id']}' not found."
        yield Wrong(gone, "previous_response_id", "previous_response_not_found")
    if said is None:
        yield _missing("input")
    if not isinstance(said, str | list):
        yield Wrong("Invalid type for 'input': expected a string or an array.", "input")
    include, reasoning = fields.get("include"), _object(fields.get("reasoning"))
    if _THOUGHTLESS.match(str(model)):
        if isinstance(include, list) and ENCRYPTED in include:
            yield Wrong("Encrypted content is not supported with this model.", "include")
        for name in reasoning.keys() & {"effort", "summary"}:
            if reasoning[name] is not None:
                text = (
                    f"Unsupported parameter: 'reasoning.{name}' is not supported with this model."
                )
                yield Wrong(text, f"reasoning.{name}", "unsupported_parameter")
    yield from _numbers(fields)
    yield from _tools(fields)
    yield from _items(items_of(fields))


def _missing(name: str) -> Wrong:
    text = f"Missing required parameter: '{name}'."
    return Wrong(text, name, "missing_required_parameter")


def _numbers(fields: Fields) -> Iterator[Wrong]:
    most = fields.get("max_output_tokens")
    if isinstance(most, int) and most < 16:
        text = (
            "Invalid 'max_output_tokens': integer below minimum value."
            f" Expected a value >= 16, but got {most} instead."
        )
        yield Wrong(text, "max_output_tokens", "integer_below_min_value")
    heat = fields.get("temperature")
    if isinstance(heat, int | float) and not 0 <= heat <= 2:
        word = "below minimum" if heat < 0 else "above maximum"
        text = f"Invalid 'temperature': decimal {word} value."
        yield Wrong(text, "temperature", f"decimal_{word.split()[0]}_{word.split()[1][:3]}_value")


def _tools(fields: Fields) -> Iterator[Wrong]:
    names: list[str] = []
    for i, tool in enumerate(_list(fields.get("tools"))):
        kind, name = tool.get("type"), tool.get("name")
        if not isinstance(kind, str):
            yield _missing(f"tools[{i}].type")
        if kind in ("function", "custom"):
            if not isinstance(name, str):
                yield _missing(f"tools[{i}].name")
            elif not _NAME.fullmatch(name):
                text = (
                    f"Invalid 'tools[{i}].name': string does not match pattern."
                    " Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
                )
                yield Wrong(text, f"tools[{i}].name", "invalid_value")
            else:
                names.append(name)
        if kind == "function" and "parameters" not in tool:
            yield _missing(f"tools[{i}].parameters")
    choice = fields.get("tool_choice")
    if isinstance(choice, dict):
        named = cast("Fields", choice).get("name")
        if isinstance(named, str) and named not in names:
            yield Wrong(f"Tool choice '{named}' not found in 'tools' parameter.", "tool_choice")


def _items(items: Sequence[Fields]) -> Iterator[Wrong]:
    called: dict[object, bool] = {}
    for i, item in enumerate(items):
        kind, path = item.get("type", "message"), f"input[{i}]"
        if kind == "message":
            yield from _content(item, path)
        elif kind in _CALLS:
            call_id = item.get("call_id")
            if not isinstance(call_id, str) or not _fits(call_id):
                yield Wrong(f"Invalid '{path}.call_id': string too long or missing.", path)
            called[call_id] = False
        elif kind in _OUTPUTS:
            if item.get("call_id") not in called:
                text = "No tool call found for function call output with call_id"
                yield Wrong(f"{text} {item.get('call_id')}.", "input")
            called[item.get("call_id")] = True
        elif kind == "reasoning":
            yield from _reasoning(item, items[i + 1 :])
    for call_id, answered in called.items():
        if not answered:
            yield Wrong(f"No tool output found for function call {call_id}.", "input")


def _fits(call_id: str) -> bool:
    return 0 < len(call_id) <= 64


def _reasoning(item: Fields, after: Sequence[Fields]) -> Iterator[Wrong]:
    sealed = item.get("encrypted_content")
    if isinstance(sealed, str) and not sealed.startswith(SEAL):
        text = "The encrypted content for item could not be verified."
        yield Wrong(text, None, "invalid_encrypted_content")
    if not after or after[0].get("role") == "user" or after[0].get("type") in _OUTPUTS:
        name = item.get("id", "")
        text = (
            f"Item '{name}' of type 'reasoning' was provided without its required following item."
        )
        yield Wrong(text, "input")


def _content(item: Fields, path: str) -> Iterator[Wrong]:
    role, content = item.get("role"), item.get("content")
    known = _CONTENT.get(role) if isinstance(role, str) else None
    if known is None:
        text = f"Invalid value: '{role}'. Supported values are: 'assistant', 'system', 'developer', and 'user'."
        yield Wrong(text, f"{path}.role", "invalid_value")
    elif content is None:
        yield _missing(f"{path}.content")
    elif isinstance(content, list):
        for j, part in enumerate(_list(cast("object", content))):
            if part.get("type") not in known:
                where = f"{path}.content[{j}]"
                text = f"Invalid value: '{part.get('type')}'. Supported values are: "
                yield Wrong(text + ", ".join(sorted(known)) + ".", where, "invalid_value")


def _list(value: object) -> list[Fields]:
    listed = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("Fields", item) for item in listed if isinstance(item, dict)]


# --- in the words of Chat -------------------------------------------------------------------


def as_chat(fields: Fields) -> tuple[dict[str, object], list[Fields]]:
    """Settings and messages, as `choices.answer` reads them."""
    include = fields.get("include")
    reasoning, text = _object(fields.get("reasoning")), _object(fields.get("text"))
    settings: dict[str, object] = {
        "tools": [_tool(tool) for tool in _list(fields.get("tools"))],
        "tool_choice": _choice(fields.get("tool_choice", "auto")),
        "parallel_tool_calls": fields.get("parallel_tool_calls"),
        "max_tokens": fields.get("max_output_tokens"),
        "reasoning_effort": reasoning.get("effort")
        or ("low" if reasoning.get("summary") else None),
        "response_format": _format(_object(text.get("format"))),
        "logprobs": isinstance(include, list) and "message.output_text.logprobs" in include,
    }
    messages: list[Fields] = []
    if isinstance(fields.get("instructions"), str):
        messages.append({"role": "system", "content": fields["instructions"]})
    for item in items_of(fields):
        if item.get("type", "message") == "message":
            messages.append(item)
        elif item.get("type") in _OUTPUTS:
            messages.append({"role": "tool", "content": item.get("output")})
    return settings, messages or [{"role": "user", "content": ""}]


def _object(value: object) -> Fields:
    return cast("Fields", value) if isinstance(value, dict) else {}


def _tool(tool: Fields) -> Fields:
    kind = str(tool.get("type"))
    return {"type": kind, kind: {"name": tool.get("name"), "parameters": tool.get("parameters")}}


def _choice(choice: object) -> object:
    named = _object(choice)
    if named.get("type") in ("function", "custom"):
        return {str(named["type"]): {"name": named.get("name")}}
    return named.get("mode", "auto") if named else choice


def _format(form: Fields) -> object:
    if form.get("type") != "json_schema":
        return form
    return {"type": "json_schema", "json_schema": {"schema": form.get("schema", {})}}
