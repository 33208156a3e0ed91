"""Ollama requests: the bodies of `/api/chat` and `/api/generate` to the canonical `Chat`.

What the canonical model holds goes there; all the rest stays in `extra` (see
`_extras`). What only Ollama can do with a prompt (a suffix, a template, the
context of an earlier reply, loading a model) becomes an opaque part, so that no
other provider is asked for half of it.

Source: Ollama's API reference and the request types of its server.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from extproc.dialects import _reading as read
from extproc.dialects._extras import BOUND, refuse_shapes, residue
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.dialects._tools import usual_tool
from extproc.dialects.ollama_chat.messages import images, parse_messages
from extproc.dialects.ollama_chat.words import (
    GENERATE,
    LOAD,
    NAME,
    OPTIONS,
    UNTYPED,
)
from extproc.model.chat import (
    NO_SAMPLING,
    NOTHING,
    Chat,
    Extra,
    Json,
    Message,
    OpaquePart,
    Output,
    OutputKind,
    Part,
    Reasoning,
    Role,
    Sampling,
    Text,
    Tool,
)
from extproc.model.dialect import Headers
from extproc.model.errors import InvalidRequest

Object: TypeAlias = dict[str, Json]

LEVELS = ("low", "medium", "high", "xhigh", "max")
"""what `think` may be beside true and false"""


def parse_chat(headers: Headers, body: bytes) -> Chat:
    """The request in a body of `/api/chat`, with `raw` set to it.

    Raises `InvalidRequest` whose `param` is the path of the member at fault.
    """
    x = read.read_object(body)
    refuse_shapes(x, body)
    extra: Object = {}
    value = x.get("messages")
    messages: tuple[Message, ...] = ()
    if value is None or value == []:
        extra.update({"messages": value} if "messages" in x else {})
        extra[BOUND] = ["messages"]
        messages = (_loading(),)
    else:
        messages = parse_messages(read.expect_list(value, "messages"))
    return _chat(headers, body, x, messages, extra, _CHAT)


def parse_generate(headers: Headers, body: bytes) -> Chat:
    """The request in a body of `/api/generate`, as a conversation of one prompt."""
    x = read.read_object(body)
    refuse_shapes(x, body)
    extra: Object = {GENERATE: True}
    messages: list[Message] = []
    system = read.optional_string(x.get("system"), "system")
    if system:
        messages.append(Message(Role.SYSTEM, (Text(system),)))
    elif "system" in x:
        extra["system"] = system
    prompt = read.optional_string(x.get("prompt"), "prompt")
    parts: list[Part] = []
    if prompt:
        parts.append(Text(prompt))
    elif "prompt" in x:
        extra["prompt"] = prompt
    parts.extend(images(x, "", extra))
    only_here = {name: x[name] for name in _PROMPT if x.get(name)}
    extra.update((name, x[name]) for name in _PROMPT if name in x and not x[name])
    if only_here:
        parts.append(OpaquePart(Extra(NAME, only_here)))
    if only_here or not parts:
        extra[BOUND] = list(only_here) or ["prompt"]
    messages.append(Message(Role.USER, tuple(parts)) if parts else _loading())
    return _chat(headers, body, x, tuple(messages), extra, _GENERATE)


def _loading() -> Message:
    return Message(Role.USER, (OpaquePart(Extra(NAME, {LOAD: True})),))


_PROMPT = ("suffix", "template", "context", "raw")
_SHARED = frozenset(
    {"model", "stream", "options", "format", "think", "tools", "logprobs", "top_logprobs"}
)
_CHAT = _SHARED | {"messages"}
_GENERATE = _SHARED | {"system", "prompt", "images", *_PROMPT}


def _chat(
    headers: Headers,
    body: bytes,
    x: Object,
    messages: tuple[Message, ...],
    extra: Object,
    known: frozenset[str],
) -> Chat:
    model = read.expect_string(x["model"], "model") if "model" in x else ""
    if not model:
        raise read.missing("model")
    stream = read.optional_bool(x.get("stream"), "stream")
    for name, value in x.items():
        if name not in known or (value is None and name in _SHARED):
            extra[name] = value
    if stream is True:
        extra["stream"] = True
    if BODY_MEMBER in extra:
        del extra[BODY_MEMBER]
        extra[OPTIONS] = True
    return Chat(
        dialect=NAME,
        model=model,
        messages=messages,
        stream=stream is not False,
        tools=_tools(x, extra),
        sampling=_sampling(x, extra),
        output=_output(x, extra),
        reasoning=_reasoning(x),
        options=read_options(headers, x.get(BODY_MEMBER)),
        extra=Extra(NAME, extra) if extra else NOTHING,
        raw=body,
    )


# --- settings -------------------------------------------------------------------------------


def _integer(value: Json, path: str) -> int | None:
    """The server takes 40.0 for 40, as JSON knows one kind of number only."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return read.optional_int(value, path)


def _limit(value: Json, path: str) -> int | None:
    """-1 is "without end" and -2 "until the context is full": no limit either."""
    limit = _integer(value, path)
    return None if limit is None or limit < 1 else limit


_SAMPLED: read.Settings = {
    "temperature": ("temperature", read.optional_number),
    "top_p": ("top_p", read.optional_number),
    "top_k": ("top_k", _integer),
    "num_predict": ("max_tokens", _limit),
    "stop": ("stop", read.strings),
    "seed": ("seed", _integer),
    "frequency_penalty": ("frequency_penalty", read.optional_number),
    "presence_penalty": ("presence_penalty", read.optional_number),
}


def _sampling(x: Object, extra: Object) -> Sampling:
    found = NO_SAMPLING
    value = x.get("options")
    if value is not None:
        options = read.expect_object(value, "options")
        found = read.sampling(options, _SAMPLED, "options.")
        rest = {k: v for k, v in options.items() if k not in _SAMPLED or _is_odd(k, v)}
        if rest or not options:
            extra["options"] = rest
    logprobs = read.optional_bool(x.get("logprobs"), "logprobs")
    most = read.optional_int(x.get("top_logprobs"), "top_logprobs")
    if logprobs is None and most is None:
        return found
    return replace(found, logprobs=logprobs, top_logprobs=most)


def _is_odd(name: str, value: Json) -> bool:
    """Values that the canonical model cannot tell from their absence."""
    if name == "num_predict":
        return not isinstance(value, int | float) or value < 1
    return value is None or value == []


def _output(x: Object, extra: Object) -> Output | None:
    match x.get("format"):
        case None:
            return None
        case "":
            extra["format"] = ""
            return None
        case "json":
            return Output(OutputKind.JSON)
        case dict() as schema:
            return Output(OutputKind.SCHEMA, schema=schema)
        case str():
            message = 'format must be "json" or a JSON Schema'
            raise InvalidRequest(message, param="format", code="invalid_value")
        case other:
            raise read.type_error(other, "format", '"json" or a JSON Schema')


def _reasoning(x: Object) -> Reasoning | None:
    """True leaves the amount to the model."""
    match x.get("think"):
        case None:
            return None
        case True:
            return Reasoning(budget=-1)
        case False:
            return Reasoning(effort="none")
        case str(word) if word in LEVELS:
            return Reasoning(effort=word)
        case _:
            message = f"think must be true, false or one of {', '.join(LEVELS)}"
            raise InvalidRequest(message, param="think", code="invalid_value")


def _tools(x: Object, extra: Object) -> tuple[Tool, ...]:
    value = x.get("tools")
    if value is None:
        return ()
    items = read.expect_list(value, "tools")
    if not items:
        extra["tools"] = []
    return tuple([usual_tool(item) or _tool(item, f"tools[{i}]") for i, item in enumerate(items)])


def _tool(value: Json, path: str) -> Tool:
    shape = read.expect_object(value, path)
    if "function" not in shape:
        raise read.missing(path + ".function")
    function = read.expect_object(shape["function"], path + ".function")
    path += ".function"
    if "name" not in function:
        raise read.missing(path + ".name")
    name = read.expect_string(function["name"], path + ".name")
    if not name:
        raise InvalidRequest(f"{path}.name must not be empty", param=path + ".name")
    typed = shape.get("type") == "function"
    extra = residue(NAME, shape, ("type",) if typed else (), {"function": _FUNCTION})
    if "type" not in shape:
        extra = Extra(NAME, {UNTYPED: True, **extra.fields})
    return Tool(
        name=name,
        description=read.optional_string(function.get("description"), path + ".description"),
        parameters=function.get("parameters"),
        extra=extra,
    )


_FUNCTION = frozenset({"name", "description", "parameters"})
