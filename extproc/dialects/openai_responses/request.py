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
from extproc.dialects.openai_responses.items import parse_items
from extproc.dialects.openai_responses.words import (
    ENCRYPTED,
    FOREIGN,
    INSTRUCTIONS,
    LOGPROBS,
    NAME,
    OPTIONS,
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
    for name in _OTHERS.keys() & x.keys():
        if x[name] is not None:
            _OTHERS[name](x[name], name)
    model = read.optional_string(x.get("model"), "model")
    if not model and x.get("prompt") is None:
        raise read.missing("model")
    rest = Rest(x)
    if _gives_all(x.get("include")):
        rest.mark(CARRIED, ["include"])
    messages = _messages(x, rest)
    return Chat(
        dialect=NAME,
        model=model or "",
        messages=messages,
        stream=read.optional_bool(x.get("stream"), "stream") is True,
        tools=_tools(x, rest),
        tool_choice=_tool_choice(x, rest),
        parallel_tools=read.optional_bool(x.get("parallel_tool_calls"), "parallel_tool_calls"),
        sampling=_sampling(x),
        output=_output(x, rest),
        reasoning=_reasoning(x),
        user=read.optional_string(x.get("user"), "user"),
        metadata=_metadata(x),
        service_tier=read.optional_string(x.get("service_tier"), "service_tier"),
        options=read_options(headers, x.get(BODY_MEMBER)),
        extra=rest.extra(),
        raw=body,
    )


class Rest:
    """What goes to `extra` of the request: filled while the canonical fields are read."""

    __slots__ = ("_fields", "_x")

    def __init__(self, x: Object) -> None:
        self._x = x
        self._fields: Object = {
            name: value
            for name, value in x.items()
            if name not in _CANONICAL or value is None or (name in _FALSE and value is False)
        }
        if BODY_MEMBER in self._fields:
            del self._fields[BODY_MEMBER]
            self._fields[OPTIONS] = True

    def keep(self, name: str) -> None:
        """The canonical model could not hold this member."""
        self._fields[name] = self._x[name]

    def mark(self, name: str, value: Json) -> None:
        self._fields[name] = value

    def extra(self) -> Extra:
        return Extra(NAME, self._fields) if self._fields else NOTHING


_FALSE = frozenset({"stream"})
_CANONICAL = frozenset(
    {
        "model",
        "input",
        "instructions",
        "stream",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "temperature",
        "top_p",
        "max_output_tokens",
        "top_logprobs",
        "text",
        "reasoning",
        "user",
        "metadata",
        "service_tier",
    }
)

_Check: TypeAlias = Callable[[Json, str], object]


def _string_or_object(value: Json, path: str) -> None:
    if not isinstance(value, str | dict):
        raise read.type_error(value, path, "a string or an object")


_OTHERS: Mapping[str, _Check] = {
    "background": read.optional_bool,
    "context_management": read.expect_list,
    "conversation": _string_or_object,
    "include": read.expect_list,
    "max_tool_calls": read.optional_int,
    "moderation": read.expect_object,
    "previous_response_id": read.expect_string,
    "prompt": read.expect_object,
    "prompt_cache_key": read.expect_string,
    "prompt_cache_options": read.expect_object,
    "prompt_cache_retention": read.expect_string,
    "safety_identifier": read.expect_string,
    "store": read.optional_bool,
    "stream_options": read.expect_object,
    "truncation": read.expect_string,
}
"""members of today's API that only this dialect knows"""


def _gives_all(include: Json) -> bool:
    """Whether replies of every provider have all that is to be included."""
    return isinstance(include, list) and all(item in (LOGPROBS, ENCRYPTED) for item in include)


_STORED = ("previous_response_id", "conversation", "prompt")


def _bound(x: Object) -> tuple[str, ...]:
    """What needs the provider's own store. `store: false`, and silence, need none."""
    named = [name for name in _STORED if x.get(name) is not None]
    return (*named, *(name for name in ("store", "background") if x.get(name) is True))


def _messages(x: Object, rest: Rest) -> tuple[Message, ...]:
    instructions = read.optional_string(x.get("instructions"), "instructions")
    said = x.get("input")
    if said is None:
        if all(x.get(name) is None for name in _STORED):
            raise read.missing("input")
        messages, bound = (), ()
    else:
        messages, foreign, bound = parse_items(said)
        if isinstance(said, str):
            rest.mark(PLAIN, True)
        elif not said:
            rest.keep("input")
        if foreign:
            rest.mark(FOREIGN, True)
    named: list[Json] = [*_bound(x), *bound]
    if named:
        rest.mark(BOUND, named)
    if instructions:
        mark = Extra(NAME, {INSTRUCTIONS: True})
        return (Message(Role.SYSTEM, (Text(instructions),), extra=mark), *messages)
    if instructions is not None:
        rest.keep("instructions")
    return messages


def _sampling(x: Object) -> Sampling:
    if _SAMPLING.isdisjoint(x):
        return _PLAIN_SAMPLING
    include = x.get("include")
    return Sampling(
        temperature=read.optional_number(x.get("temperature"), "temperature"),
        top_p=read.optional_number(x.get("top_p"), "top_p"),
        max_tokens=read.optional_int(x.get("max_output_tokens"), "max_output_tokens"),
        logprobs=True if isinstance(include, list) and LOGPROBS in include else None,
        top_logprobs=read.optional_int(x.get("top_logprobs"), "top_logprobs"),
    )


_PLAIN_SAMPLING = Sampling()
_SAMPLING = frozenset({"temperature", "top_p", "max_output_tokens", "top_logprobs", "include"})


def _metadata(x: Object) -> Mapping[str, str] | None:
    value = x.get("metadata")
    if value is None:
        return None
    members = read.expect_object(value, "metadata").items()
    return {name: read.expect_string(word, f"metadata.{name}") for name, word in members}


def _reasoning(x: Object) -> Reasoning | None:
    value = x.get("reasoning")
    if value is None:
        return None
    shape = read.expect_object(value, "reasoning")
    effort = read.optional_string(shape.get("effort"), "reasoning.effort")
    summary = read.optional_string(shape.get("summary"), "reasoning.summary")
    return Reasoning(effort, summary=summary, extra=residue(shape, ("effort", "summary")))


def _output(x: Object, rest: Rest) -> Output | None:
    value = x.get("text")
    if value is None:
        return None
    text = read.expect_object(value, "text")
    form = text.get("format")
    others = dict(residue(text, ("format",)).fields)
    if others or form is None:
        rest.mark("text", others)
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
            rest.keep("text")
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


def _tools(x: Object, rest: Rest) -> tuple[Tool, ...]:
    value = x.get("tools")
    if value is None:
        return ()
    items = read.expect_list(value, "tools")
    if not items:
        rest.keep("tools")
    found: list[Tool] = []
    for i, item in enumerate(items):
        found.append(_tool(read.expect_object(item, f"tools[{i}]"), f"tools[{i}]"))
    return tuple(found)


_FUNCTION = ("type", "name", "description", "parameters", "strict")


def _tool(shape: Object, path: str) -> Tool:
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


def _tool_choice(x: Object, rest: Rest) -> ToolChoice | None:
    value = x.get("tool_choice")
    if value is None:
        return None
    if isinstance(value, str):
        if value in _MODES:
            return ToolChoice(_MODES[value])
        rest.keep("tool_choice")
        return None
    choice = _chosen(read.expect_object(value, "tool_choice"))
    if choice is None:
        rest.keep("tool_choice")
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
