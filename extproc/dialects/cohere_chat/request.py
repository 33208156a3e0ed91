"""Cohere requests: the body of `/v2/chat` to the canonical `Chat`.

What the canonical model holds goes there; all the rest stays in `extra` (see
`_extras`). Documents that the answer shall rest on go before the last question,
where any other provider can read them too.

Source: Cohere's API reference, POST /v2/chat; the types of its SDK.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from extproc.dialects import _reading as read
from extproc.dialects._extras import BOUND, refuse_shapes
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.dialects._tools import usual_tool
from extproc.dialects.cohere_chat.messages import parse_documents, parse_messages
from extproc.dialects.cohere_chat.words import BARE, NAME, OPTIONS, residue
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
    for name in ("model", "messages"):
        if x.get(name) in (None, ""):
            raise read.missing(name)
    extra: Object = {}
    for name, value in x.items():
        if name not in _KNOWN or value is None or value == []:
            extra[name] = value
    if BODY_MEMBER in extra:
        del extra[BODY_MEMBER]
        extra[OPTIONS] = True
    stream = read.optional_bool(x.get("stream"), "stream")
    if stream is False:
        extra["stream"] = False
    strict = read.optional_bool(x.get("strict_tools"), "strict_tools")
    tools = _tools(x, True if strict else None)
    if strict is False or (strict and not tools):
        extra["strict_tools"] = strict
    return Chat(
        dialect=NAME,
        model=read.expect_string(x["model"], "model"),
        messages=_messages(x, extra),
        stream=stream is True,
        tools=tools,
        tool_choice=_tool_choice(x),
        sampling=read.sampling(x, _SAMPLED),
        output=_output(x),
        reasoning=_reasoning(x),
        options=read_options(headers, x.get(BODY_MEMBER)),
        extra=Extra(NAME, extra) if extra else NOTHING,
        raw=body,
    )


_KNOWN = frozenset(
    {
        "model",
        "messages",
        "stream",
        "tools",
        "strict_tools",
        "tool_choice",
        "documents",
        "response_format",
        "thinking",
        "max_tokens",
        "stop_sequences",
        "temperature",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "k",
        "p",
        "logprobs",
    }
)


def _messages(x: Object, extra: Object) -> tuple[Message, ...]:
    messages = parse_messages(read.expect_list(x["messages"], "messages"))
    if not messages:
        raise InvalidRequest("messages must not be empty", param="messages", code="empty_array")
    value = x.get("documents")
    if value is None:
        return messages
    documents = parse_documents(read.expect_list(value, "documents"))
    asked = max((i for i, m in enumerate(messages) if m.role is Role.USER), default=-1)
    if documents and asked < 0:
        # Nobody asks anything: only Cohere knows what they are for.
        extra.update({"documents": value, BOUND: ["documents"]})
        return messages
    before = messages[asked]
    told = replace(before, parts=(*documents, *before.parts))
    return (*messages[:asked], told, *messages[asked + 1 :])


# --- settings -------------------------------------------------------------------------------


_SAMPLED: read.Settings = {
    "temperature": ("temperature", read.optional_number),
    "p": ("top_p", read.optional_number),
    "k": ("top_k", read.optional_int),
    "max_tokens": ("max_tokens", read.optional_int),
    "stop_sequences": ("stop", read.strings),
    "seed": ("seed", read.optional_int),
    "frequency_penalty": ("frequency_penalty", read.optional_number),
    "presence_penalty": ("presence_penalty", read.optional_number),
    "logprobs": ("logprobs", read.optional_bool),
}


def _output(x: Object) -> Output | None:
    value = x.get("response_format")
    if value is None:
        return None
    shape = read.expect_object(value, "response_format")
    extra = residue(shape, ("type", "json_schema"))
    match shape.get("type"):
        case "text":
            return Output(OutputKind.TEXT, extra=residue(shape, ("type",)))
        case "json_object" if shape.get("json_schema") is None:
            return Output(OutputKind.JSON, extra=extra)
        case "json_object":
            schema = read.expect_object(shape["json_schema"], "response_format.json_schema")
            return Output(OutputKind.SCHEMA, schema, extra=extra)
        case _:
            raise _one_of("response_format.type", "text", "json_object")


def _reasoning(x: Object) -> Reasoning | None:
    """`enabled` without a budget leaves the amount to the model."""
    value = x.get("thinking")
    if value is None:
        return None
    shape = read.expect_object(value, "thinking")
    budget = read.optional_int(shape.get("token_budget"), "thinking.token_budget")
    match shape.get("type"):
        case "disabled":
            return Reasoning(effort="none", extra=residue(shape, ("type",)))
        case "enabled":
            extra = residue(shape, ("type", "token_budget"))
            return Reasoning(budget=-1 if budget is None else budget, extra=extra)
        case _:
            raise _one_of("thinking.type", "enabled", "disabled")


def _one_of(path: str, *words: str) -> InvalidRequest:
    message = f"{path} must be one of {', '.join(words)}"
    return InvalidRequest(message, param=path, code="invalid_value")


# --- tools ----------------------------------------------------------------------------------


def _tools(x: Object, strict: bool | None) -> tuple[Tool, ...]:
    value = x.get("tools")
    if value is None:
        return ()
    items = enumerate(read.expect_list(value, "tools"))
    return tuple(
        [usual_tool(item, strict) or _tool(item, f"tools[{i}]", strict) for i, item in items]
    )


def _tool(value: Json, path: str, strict: bool | None) -> Tool:
    shape = read.expect_object(value, path)
    if shape.get("type", "function") != "function":
        return Tool("", extra=Extra(NAME, shape))
    if "function" not in shape:
        raise read.missing(path + ".function")
    function = read.expect_object(shape["function"], path + ".function")
    path += ".function"
    if "name" not in function:
        raise read.missing(path + ".name")
    name = read.expect_string(function["name"], path + ".name")
    if not name:
        raise InvalidRequest(f"{path}.name must not be empty", param=path + ".name")
    extra = residue(shape, ("type",), {"function": ("name", "description", "parameters")})
    if "type" not in shape:
        extra = Extra(NAME, {**extra.fields, BARE: True})
    return Tool(
        name=name,
        description=read.optional_string(function.get("description"), path + ".description"),
        parameters=function.get("parameters"),
        strict=strict,
        extra=extra,
    )


def _tool_choice(x: Object) -> ToolChoice | None:
    match x.get("tool_choice"):
        case None:
            return None
        case "REQUIRED":
            return ToolChoice(ToolMode.REQUIRED)
        case "NONE":
            return ToolChoice(ToolMode.NONE)
        case _:
            raise _one_of("tool_choice", "REQUIRED", "NONE")
