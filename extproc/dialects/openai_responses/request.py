"""OpenAI Responses requests: a JSON body to the canonical `Chat`.

What the canonical model holds goes there; all the rest stays in `extra` of the
object it was found in, and fills gaps when the request is written again
(`words`). What only OpenAI's own store or servers can serve is named in
the member `_extras.BOUND`: another target must refuse it.

Source: OpenAI's API reference, POST /v1/responses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from extproc.dialects import _reading as read
from extproc.dialects._extras import BOUND, CARRIED, refuse_shapes
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.dialects.openai_chat.members import SETTINGS, Members, Table, sort_members
from extproc.dialects.openai_responses.items import parse_items
from extproc.dialects.openai_responses.words import (
    ENCRYPTED,
    FOREIGN,
    INSTRUCTIONS,
    LOGPROBS,
    NAME,
    PLAIN,
    residue,
)
from extproc.model.chat import (
    NOTHING,
    Chat,
    Extra,
    Json,
    Message,
    Output,
    OutputKind,
    Reasoning,
    Role,
    Sampling,
    Text,
    Tool,
    ToolChoice,
    ToolMode,
)
from extproc.model.dialect import Headers
from extproc.model.errors import InvalidRequest

Object: TypeAlias = dict[str, Json]


def parse_chat(headers: Headers, body: bytes) -> Chat:
    """The request in `body`, with `raw` set to it.

    Raises `InvalidRequest` whose `param` is the path of the member at fault.
    """
    x = read.read_object(body)
    refuse_shapes(x, body)
    model = read.optional_string(x.get("model"), "model")
    if not model and x.get("prompt") is None:
        raise read.missing("model")
    found = sort_members(x, _TABLE)
    rest = found.rest
    messages = _messages(x, found)
    return Chat(
        dialect=NAME,
        model=model or "",
        messages=messages,
        stream=read.optional_bool(x.get("stream"), "stream") is True,
        tools=_tools(x, found),
        tool_choice=_tool_choice(x, found),
        sampling=_sampling(found),
        output=_output(x, found),
        options=read_options(headers, x.get(BODY_MEMBER)),
        raw=body,
        **found.settings,
        extra=Extra(NAME, rest) if rest else NOTHING,
    )


def _string_or_object(value: Json, path: str) -> None:
    if not isinstance(value, str | dict):
        raise read.type_error(value, path, "a string or an object")


def _reasoning(value: Json, path: str) -> Reasoning:
    shape = read.expect_object(value, path)
    effort = read.optional_string(shape.get("effort"), path + ".effort")
    summary = read.optional_string(shape.get("summary"), path + ".summary")
    return Reasoning(effort, summary=summary, extra=residue(shape, ("effort", "summary")))


_TABLE = Table(
    settings={**SETTINGS, "reasoning": ("reasoning", _reasoning)},
    sampling={
        "temperature": ("temperature", read.optional_number),
        "top_p": ("top_p", read.optional_number),
        "max_output_tokens": ("max_tokens", read.optional_int),
        "top_logprobs": ("top_logprobs", read.optional_int),
    },
    apart=frozenset({"model", "input", "instructions", "stream", "tools", "tool_choice", "text"}),
    others={
        "background": read.optional_bool,
        "context_management": read.expect_list,
        "conversation": _string_or_object,
        "include": read.expect_list,
        "max_tool_calls": read.optional_int,
        "moderation": read.expect_object,
        "previous_response_id": read.expect_string,
        "prompt": read.expect_object,
        "prompt_cache_options": read.expect_object,
        "stream_options": read.expect_object,
        "truncation": read.expect_string,
    },
)


def _gives_all(include: Json) -> bool:
    """Whether replies of every provider have all that is to be included."""
    return isinstance(include, list) and all(item in (LOGPROBS, ENCRYPTED) for item in include)


def _cuts_nothing(truncation: Json) -> bool:
    return truncation == "disabled"


_USUAL: Mapping[str, Callable[[Json], bool]] = {
    "include": _gives_all,
    "truncation": _cuts_nothing,
}
"""members that any dialect's reply fulfils, by what they say"""

_STORED = ("previous_response_id", "conversation", "prompt")


def _bound(rest: Object) -> list[Json]:
    """What needs the provider's own store."""
    named: list[Json] = [name for name in _STORED if rest.get(name) is not None]
    return [*named, "background"] if rest.get("background") is True else named


_INSTRUCTIONS = Extra(NAME, {INSTRUCTIONS: True})


def _messages(x: Object, found: Members) -> tuple[Message, ...]:
    rest = found.rest
    usual: list[Json] = [name for name in rest.keys() & _USUAL.keys() if _USUAL[name](rest[name])]
    if usual:
        rest[CARRIED] = usual
    instructions = read.optional_string(x.get("instructions"), "instructions")
    said = x.get("input")
    if said is None:
        if all(x.get(name) is None for name in _STORED):
            raise read.missing("input")
        messages, bound = (), ()
    else:
        messages, foreign, bound = parse_items(said)
        if isinstance(said, str):
            rest[PLAIN] = True
        elif not said:
            found.keep("input")
        if foreign:
            rest[FOREIGN] = True
    named: list[Json] = [*_bound(rest), *bound]
    if named:
        rest[BOUND] = named
    if instructions:
        return (Message(Role.SYSTEM, (Text(instructions),), None, _INSTRUCTIONS), *messages)
    if instructions is not None:
        found.keep("instructions")
    return messages


def _sampling(found: Members) -> Sampling:
    include = found.rest.get("include")
    if isinstance(include, list) and LOGPROBS in include:
        found.sampled["logprobs"] = True
    return found.sampling()


def _output(x: Object, found: Members) -> Output | None:
    value = x.get("text")
    if value is None:
        return None
    text = read.expect_object(value, "text")
    form, verbosity = text.get("format"), text.get("verbosity")
    if verbosity is not None:
        found.settings["verbosity"] = read.expect_string(verbosity, "text.verbosity")
    others = dict(residue(text, ("format", "verbosity")).fields)
    if others or form is None:
        found.rest["text"] = others
    if form is None:
        return None
    shape = read.expect_object(form, "text.format")
    match shape.get("type"):
        case "text":
            return Output(OutputKind.TEXT, extra=residue(shape, ("type",)))
        case "json_object":
            return Output(OutputKind.JSON, extra=residue(shape, ("type",)))
        case "json_schema":
            return _schema_output(shape)
        case str():
            found.keep("text")
            return None
        case other:
            raise read.type_error(other, "text.format.type", "a string")


def _schema_output(shape: Object) -> Output:
    path = "text.format"
    for member in ("name", "schema"):
        if member not in shape:
            raise read.missing(f"{path}.{member}")
    return Output(
        OutputKind.SCHEMA,
        schema=read.expect_object(shape["schema"], path + ".schema"),
        name=read.expect_string(shape["name"], path + ".name"),
        description=read.optional_string(shape.get("description"), path + ".description"),
        strict=read.optional_bool(shape.get("strict"), path + ".strict"),
        extra=residue(shape, ("type", "schema", "name", "description", "strict")),
    )


# --- tools ----------------------------------------------------------------------------------


def _tools(x: Object, found: Members) -> tuple[Tool, ...]:
    value = x.get("tools")
    if value is None:
        return ()
    items = read.expect_list(value, "tools")
    if not items:
        found.keep("tools")
    tools: list[Tool] = []
    for i, item in enumerate(items):
        tools.append(_usual_tool(item) or _tool(item, f"tools[{i}]"))
    return tuple(tools)


def _usual_tool(shape: Json) -> Tool | None:
    """A function with all that a function has; None for any other tool."""
    if (
        not isinstance(shape, dict)
        or len(shape) != len(_FUNCTION)
        or shape.get("type") != "function"
    ):
        return None
    name, about = shape.get("name"), shape.get("description")
    parameters, strict = shape.get("parameters"), shape.get("strict")
    if not isinstance(name, str) or not name or not isinstance(about, str):
        return None
    if not isinstance(parameters, dict) or not isinstance(strict, bool):
        return None
    return Tool(name, about, parameters, strict)


_FUNCTION = ("type", "name", "description", "parameters", "strict")


def _tool(value: Json, path: str) -> Tool:
    shape = read.expect_object(value, path)
    if "type" not in shape:
        raise read.missing(path + ".type")
    if read.expect_string(shape["type"], path + ".type") != "function":
        return Tool(name="", extra=Extra(NAME, shape))
    if "name" not in shape:
        raise read.missing(path + ".name")
    name = read.expect_string(shape["name"], path + ".name")
    if not name:
        raise InvalidRequest(f"{path}.name must not be empty", param=path + ".name")
    parameters = shape.get("parameters")
    if parameters is not None:
        read.expect_object(parameters, path + ".parameters")
    return Tool(
        name=name,
        description=read.optional_string(shape.get("description"), path + ".description"),
        parameters=parameters,
        strict=read.optional_bool(shape.get("strict"), path + ".strict"),
        extra=residue(shape, _FUNCTION),
    )


_MODES = {"auto": ToolMode.AUTO, "none": ToolMode.NONE, "required": ToolMode.REQUIRED}


def _tool_choice(x: Object, found: Members) -> ToolChoice | None:
    value = x.get("tool_choice")
    if value is None:
        return None
    if isinstance(value, str):
        if value in _MODES:
            return ToolChoice(_MODES[value])
        found.keep("tool_choice")
        return None
    choice = _chosen(read.expect_object(value, "tool_choice"))
    if choice is None:
        found.keep("tool_choice")
    return choice


def _chosen(shape: Object) -> ToolChoice | None:
    """None for a choice that only this dialect has a word for."""
    name, tools, mode = shape.get("name"), shape.get("tools"), shape.get("mode")
    match shape.get("type"):
        case "function":
            if "name" not in shape:
                raise read.missing("tool_choice.name")
            named = read.expect_string(name, "tool_choice.name")
            return ToolChoice(ToolMode.NAMED, (named,), residue(shape, ("type", "name")))
        case "allowed_tools" if isinstance(tools, list) and isinstance(mode, str):
            names = [_allowed(tool) for tool in tools]
            known = tuple(word for word in names if word)
            if mode not in _MODES or not known or len(known) != len(names) or len(shape) != 3:
                return None
            return ToolChoice(_MODES[mode], known)
        case _:
            return None


def _allowed(tool: Json) -> str | None:
    if not isinstance(tool, dict) or tool.keys() != {"type", "name"}:
        return None
    name = tool["name"]
    return name if tool["type"] == "function" and isinstance(name, str) else None
