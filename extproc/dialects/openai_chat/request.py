"""OpenAI Chat requests: a JSON body to the canonical `Chat`.

What the canonical model holds goes there; all the rest stays in `extra` of the
object it was found in. `extra` *fills gaps*: when the request is written again
(`render`), the canonical fields are written first and a member of
`extra` is added only where nothing stands yet. So a stage that changes a
canonical field is never overruled by what the client once sent.

Shapes that the canonical model has no word for (a content list of one text,
the older names of a field) are kept as members of `extra` whose names start
with a NUL; a client's own members must not.

Source: OpenAI's API reference, POST /v1/chat/completions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from extproc.dialects import _reading as read
from extproc.dialects._extras import BOUND, refuse_shapes
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.dialects.openai_chat.messages import parse_messages
from extproc.dialects.openai_chat.tools import parse_tool_choice, parse_tools
from extproc.dialects.openai_chat.words import (
    LIMIT,
    NAME,
    OPTIONS,
    STOP,
    residue,
)
from extproc.model.chat import (
    NOTHING,
    Chat,
    Extra,
    Json,
    Output,
    OutputKind,
    Reasoning,
    Sampling,
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
    _check_types(x)
    model = read.expect_string(x["model"], "model") if "model" in x else ""
    if not model:
        raise read.missing("model")
    if "messages" not in x:
        raise read.missing("messages")
    stream = read.optional_bool(x.get("stream"), "stream") is True
    rest = Rest(x)
    return Chat(
        dialect=NAME,
        model=model,
        messages=parse_messages(x["messages"]),
        stream=stream,
        tools=parse_tools(x, rest.keep),
        tool_choice=parse_tool_choice(x, rest.keep),
        parallel_tools=read.optional_bool(x.get("parallel_tool_calls"), "parallel_tool_calls"),
        sampling=_sampling(x, rest),
        output=_output(x, rest),
        reasoning=_reasoning(x),
        user=read.optional_string(x.get("user"), "user"),
        metadata=_metadata(x),
        service_tier=read.optional_string(x.get("service_tier"), "service_tier"),
        include_usage=_include_usage(x, stream),
        options=read_options(headers, x.get(BODY_MEMBER)),
        extra=rest.extra(),
        raw=body,
    )


class Rest:
    """What goes to `extra` of the request: filled while the canonical fields are read."""

    __slots__ = ("_fields", "_x")

    def __init__(self, x: Object) -> None:
        self._x = x
        self._fields: Object = {}
        for name, value in x.items():
            if name not in _CANONICAL or value is None:
                self._fields[name] = value
        if x.get("stream") is False:
            self._fields["stream"] = False
        if BODY_MEMBER in self._fields:
            del self._fields[BODY_MEMBER]
            self._fields[OPTIONS] = True

    def keep(self, name: str) -> None:
        """The canonical model could not hold this member."""
        self._fields[name] = self._x[name]

    def mark(self, name: str, value: Json) -> None:
        self._fields[name] = value

    def extra(self) -> Extra:
        bound: list[Json] = [name for name in _BOUND if _is_bound(name, self._fields.get(name))]
        if bound:
            self._fields[BOUND] = bound
        return Extra(NAME, self._fields) if self._fields else NOTHING


_BOUND = (
    "audio",
    "modalities",
    "response_format",
    "search_parameters",
    "tool_choice",
    "web_search_options",
)
"""what changes the answer, and no other dialect has"""


def _is_bound(name: str, value: Json) -> bool:
    if name == "modalities":
        return isinstance(value, list) and value != ["text"] and bool(value)
    return value is not None


_CANONICAL = frozenset(
    {
        "model",
        "messages",
        "stream",
        "tools",
        "functions",
        "tool_choice",
        "function_call",
        "parallel_tool_calls",
        "temperature",
        "top_p",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "n",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "response_format",
        "reasoning_effort",
        "user",
        "metadata",
        "service_tier",
    }
)

_Check: TypeAlias = Callable[[Json, str], object]

_OTHERS: Mapping[str, _Check] = {
    "audio": read.expect_object,
    "modalities": read.expect_list,
    "moderation": read.expect_object,
    "prediction": read.expect_object,
    "prompt_cache_key": read.expect_string,
    "prompt_cache_options": read.expect_object,
    "prompt_cache_retention": read.expect_string,
    "safety_identifier": read.expect_string,
    "store": read.optional_bool,
    "stream_options": read.expect_object,
    "verbosity": read.expect_string,
    "web_search_options": read.expect_object,
}
"""members of today's API that only this dialect knows"""


def _check_types(x: Object) -> None:
    for name in _OTHERS.keys() & x.keys():
        if x[name] is not None:
            _OTHERS[name](x[name], name)


def _include_usage(x: Object, stream: bool) -> bool:
    """Whether the client wants usage. A whole reply always has it."""
    options = x.get("stream_options")
    if not isinstance(options, dict):
        return not stream
    wanted = read.optional_bool(options.get("include_usage"), "stream_options.include_usage")
    return wanted is True or not stream


def _sampling(x: Object, rest: Rest) -> Sampling:
    if _SAMPLING.isdisjoint(x):
        return _PLAIN_SAMPLING
    old = read.optional_int(x.get("max_tokens"), "max_tokens")
    new = read.optional_int(x.get("max_completion_tokens"), "max_completion_tokens")
    if old is not None and new is not None:
        message = "max_tokens and max_completion_tokens must not be sent together; use the latter"
        raise InvalidRequest(message, param="max_tokens", code="invalid_parameter_combination")
    if old is not None or new is not None:
        rest.mark(LIMIT, "max_tokens" if new is None else "max_completion_tokens")
    return Sampling(
        temperature=read.optional_number(x.get("temperature"), "temperature"),
        top_p=read.optional_number(x.get("top_p"), "top_p"),
        max_tokens=old if new is None else new,
        stop=_stop(x, rest),
        seed=read.optional_int(x.get("seed"), "seed"),
        frequency_penalty=read.optional_number(x.get("frequency_penalty"), "frequency_penalty"),
        presence_penalty=read.optional_number(x.get("presence_penalty"), "presence_penalty"),
        n=read.optional_int(x.get("n"), "n"),
        logprobs=read.optional_bool(x.get("logprobs"), "logprobs"),
        top_logprobs=read.optional_int(x.get("top_logprobs"), "top_logprobs"),
        logit_bias=_logit_bias(x),
    )


_PLAIN_SAMPLING = Sampling()
_SAMPLING = frozenset(
    {
        "temperature",
        "top_p",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "n",
        "logprobs",
        "top_logprobs",
        "logit_bias",
    }
)


def _stop(x: Object, rest: Rest) -> tuple[str, ...]:
    stop = x.get("stop")
    if stop is None:
        return ()
    if isinstance(stop, str):
        rest.mark(STOP, "string")
        return (stop,)
    if not isinstance(stop, list):
        raise read.type_error(stop, "stop", "a string or an array of strings")
    if not stop:
        rest.keep("stop")
    return tuple(read.expect_string(word, f"stop[{i}]") for i, word in enumerate(stop))


def _logit_bias(x: Object) -> Mapping[str, float] | None:
    value = x.get("logit_bias")
    if value is None:
        return None
    biases: dict[str, float] = {}
    for token, bias in read.expect_object(value, "logit_bias").items():
        number = read.optional_number(bias, f"logit_bias.{token}")
        if number is None:
            raise read.type_error(bias, f"logit_bias.{token}", "a number")
        biases[token] = number
    return biases


def _metadata(x: Object) -> Mapping[str, str] | None:
    value = x.get("metadata")
    if value is None:
        return None
    members = read.expect_object(value, "metadata").items()
    return {name: read.expect_string(word, f"metadata.{name}") for name, word in members}


def _reasoning(x: Object) -> Reasoning | None:
    effort = read.optional_string(x.get("reasoning_effort"), "reasoning_effort")
    return None if effort is None else Reasoning(effort=effort)


def _output(x: Object, rest: Rest) -> Output | None:
    value = x.get("response_format")
    if value is None:
        return None
    shape = read.expect_object(value, "response_format")
    match shape.get("type"):
        case "text":
            return Output(OutputKind.TEXT, extra=residue(shape, ("type",)))
        case "json_object":
            return Output(OutputKind.JSON, extra=residue(shape, ("type",)))
        case "json_schema":
            return _schema_output(shape)
        case str():
            rest.keep("response_format")
            return None
        case other:
            raise read.type_error(other, "response_format.type", "a string")


def _schema_output(shape: Object) -> Output:
    path = "response_format.json_schema"
    if "json_schema" not in shape:
        raise read.missing(path)
    schema = read.expect_object(shape["json_schema"], path)
    return Output(
        OutputKind.SCHEMA,
        schema=schema.get("schema"),
        name=read.optional_string(schema.get("name"), path + ".name"),
        description=read.optional_string(schema.get("description"), path + ".description"),
        strict=read.optional_bool(schema.get("strict"), path + ".strict"),
        extra=residue(shape, ("type",), {"json_schema": _SCHEMA}),
    )


_SCHEMA = ("schema", "name", "description", "strict")
